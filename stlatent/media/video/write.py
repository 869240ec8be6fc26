"""Frames to files: H.264 in mp4, numbered PNGs, one npy array, or a single picture.

A writer takes frames as they come and keeps none of them. The file gets its name when it is
complete; if something fails before, nothing is left.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from PIL import Image

from ...files import put, remove, temporary

FORMATS = ("mp4", "png", "npy")
FPS = 24.0  # of an mp4 made from frames that have no rate of their own
LEAST_FPS = 1 / 3600  # of an mp4; FFmpeg writes none that is slower
CRF = 12  # nearly transparent, so that what one sees is the autoencoder's doing
BT709 = 1  # as ITU-T H.273 numbers primaries, transfer and matrix alike


class FrameWriter(ABC):
    """What all writers share: a context in which `write` takes uint8 RGB `[t, H, W, 3]`.

    Args:
        path: of the file or folder to make; what is there already is replaced.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.partial = path, temporary(path)

    @abstractmethod
    def write(self, frames: np.ndarray) -> None:
        """Add some frames."""

    def close(self) -> None:  # noqa: B027  (most have nothing left to do)
        """Complete what lies at `self.partial`."""

    def __enter__(self) -> FrameWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        try:
            self.close()
            if failure is None:
                put(self.partial, self.path)
        finally:
            remove(self.partial)


class Mp4Writer(FrameWriter):
    """H.264 at any size: 4:2:0, which everything plays, for even sizes, and 4:4:4 for odd ones.

    Colours are BT.709, and the file says so.
    """

    def __init__(self, path: Path, size: tuple[int, int], fps: float) -> None:
        super().__init__(path)
        if fps < LEAST_FPS:
            raise ValueError(f"{path} has {fps:.3g} frames/s, too few for mp4; write png or npy")
        self.size, self.fps = size, fps

    def __enter__(self) -> Mp4Writer:
        super().__enter__()
        flags = {"movflags": "+faststart"}  # the index first, so that a browser starts at once
        self._container = av.open(str(self.partial), "w", format="mp4", options=flags)
        rate = Fraction(self.fps).limit_denominator(1001)  # 29.97 is 30000/1001
        rate = rate or Fraction(1, round(1 / self.fps))
        self._stream = self._container.add_stream("libx264", rate=rate)
        self._stream.height, self._stream.width = self.size
        self._stream.pix_fmt = "yuv444p" if any(n % 2 for n in self.size) else "yuv420p"
        self._stream.options = {"crf": str(CRF)}
        codec = self._stream.codec_context
        codec.color_primaries = codec.color_trc = codec.colorspace = BT709
        codec.color_range = ColorRange.MPEG
        return self

    def write(self, frames: np.ndarray) -> None:
        for pixels in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame = frame.reformat(
                format=self._stream.pix_fmt,
                dst_colorspace=Colorspace.ITU709,
                dst_color_range=ColorRange.MPEG,
            )
            self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        self._container.mux(self._stream.encode())
        self._container.close()


class PngWriter(FrameWriter):
    """A folder of numbered pictures."""

    def __enter__(self) -> PngWriter:
        super().__enter__()
        self.partial.mkdir()
        self._count = 0
        return self

    def write(self, frames: np.ndarray) -> None:
        for pixels in frames:
            Image.fromarray(pixels).save(self.partial / f"{self._count:06d}.png")
            self._count += 1


class NpyWriter(FrameWriter):
    """One uint8 array, such as `[T, H, W, 3]`.

    No memory map: to write to one where the disk is full ends the process.

    Args:
        shape: of the array; frames come in its order.
    """

    def __init__(self, path: Path, shape: Sequence[int]) -> None:
        super().__init__(path)
        self.shape = tuple(shape)

    def __enter__(self) -> NpyWriter:
        super().__enter__()
        self._file = open(self.partial, "wb")
        about = {"descr": "|u1", "fortran_order": False, "shape": self.shape}
        np.lib.format.write_array_header_1_0(self._file, about)
        return self

    def write(self, frames: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(frames, np.uint8).data)

    def close(self) -> None:
        self._file.close()


class PictureWriter(FrameWriter):
    """A single picture, as PNG."""

    def write(self, frames: np.ndarray) -> None:
        (pixels,) = frames
        Image.fromarray(pixels).save(self.partial, format="png")


def suffix(format: str, still: bool) -> str:
    """What the name of an output ends in; `still` is a picture, not a video.

    Raises:
        ValueError: there is no such format.
    """
    if format not in FORMATS:
        raise ValueError(f"format is '{format}'; it can be {', '.join(FORMATS)}")
    if format == "npy":
        return ".npy"
    if still:
        return ".png"
    return ".mp4" if format == "mp4" else ""


def frame_writer(
    path: Path, format: str, still: bool, size: tuple[int, int, int], fps: float | None
) -> FrameWriter:
    """The writer for `size` `(T, H, W)` in `format`."""
    if format == "npy":
        return NpyWriter(path, (*size, 3))
    if still:
        return PictureWriter(path)
    return Mp4Writer(path, size[1:], fps or FPS) if format == "mp4" else PngWriter(path)
