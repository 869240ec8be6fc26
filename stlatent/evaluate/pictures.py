"""Pictures and short videos as bytes, to be written to files or into a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np

SMALLEST_PX, LARGEST_PX = 128, 256
GAP_PX = 4
GREY = 128


def fitted(frames: np.ndarray) -> np.ndarray:
    """uint8 `[T, H, W, 3]` brought to a size to look at.

    The longer side of a video's frames comes to 128 to 256 pixels, of a picture to 128 to 512.
    """
    from PIL import Image

    height, width = frames.shape[1:3]
    longer = max(height, width)
    largest = LARGEST_PX * (2 if len(frames) == 1 else 1)
    if longer > largest:
        size = max(1, round(width * largest / longer)), max(1, round(height * largest / longer))
        resized = [Image.fromarray(f).resize(size, Image.Resampling.LANCZOS) for f in frames]
        return np.stack([np.asarray(frame) for frame in resized])
    times = -(-SMALLEST_PX // longer)
    return frames.repeat(times, axis=1).repeat(times, axis=2)


def side_by_side(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Join uint8 `[..., H, W, 3]` along W, with a grey gap between."""
    first = pictures[0]
    gap = np.full((*first.shape[:-2], GAP_PX, 3), GREY, np.uint8)
    parts = [part for picture in pictures for part in (gap, picture)]
    return np.concatenate(parts[1:], axis=-2)


def jpeg(picture: np.ndarray, quality: int = 85) -> bytes:
    """uint8 `[H, W, 3]` as a JPEG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "jpeg", quality=quality)
    return buffer.getvalue()


def mp4(frames: np.ndarray, fps: float, crf: int = 20) -> bytes:
    """uint8 `[T, H, W, 3]` as an H.264 file that every browser plays (4:2:0, even sizes).

    Odd sizes are filled up by repeating the last row or column.
    """
    from fractions import Fraction

    import av

    frames = np.pad(frames, [(0, 0), *((0, n % 2) for n in frames.shape[1:3]), (0, 0)], "edge")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.options = "yuv420p", {"crf": str(crf), "preset": "veryfast"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def data_uri(content: bytes, kind: str) -> str:
    """`content` of a MIME type, such as `image/png`, to stand in a page."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
