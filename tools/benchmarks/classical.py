"""Codecs of FFmpeg, as clips go through them: bare streams, and what these show again."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from curves import Point
from torch import Tensor

from stlatent.media.metrics import psnr
from stlatent.media.video.pixels import to_float, to_uint8

BT709 = 1  # as ITU-T H.273 numbers primaries, transfer and matrix alike


class Codec(NamedTuple):
    """An encoder of FFmpeg, the format of its bare stream, its options and its quality settings."""

    encoder: str
    format: str
    options: dict[str, str]
    crf: Sequence[int]
    without: str | None = None  # a filter that takes out what is not video

    def curve(self, x: Tensor, fps: float) -> list[Point]:
        """What it makes of a clip `[1, 3, T, H, W]` at all settings, the fewest bits first."""
        frames = to_uint8(x)[0]
        with _same_priority():
            points = [_coded(self, crf, frames, fps) | {"crf": crf} for crf in self.crf]
        return sorted(points, key=lambda point: point["bits_per_pixel"])


def x264(**options: str) -> Codec:
    """Without the note in which it names itself and its settings; on one thread, since more take
    more bits, as many as there are cores."""
    without, usual = "filter_units=remove_types=6", {"tune": "psnr", "threads": "1"}
    return Codec("libx264", "h264", usual | options, range(12, 52, 3), without)


def measured(x: Tensor, y: Tensor, bits: int) -> Point:
    """A clip `[1, 3, T, H, W]` that was told in so many bits, `y`, against itself, `x`."""
    pixels = math.prod(x.shape[2:])
    return {"psnr_db": psnr(x, y).item(), "bits_per_pixel": bits / pixels, "bits": bits}


def subsampled(x: Tensor) -> Tensor:
    """A clip that was only converted to 4:2:0 and back."""
    return to_float(np.stack([_to_rgb(_to_yuv(frame)) for frame in to_uint8(x)[0]]))[None]


@contextmanager
def _same_priority() -> Iterator[None]:
    """SVT-AV1 makes the thread that calls it a real-time one where it may, and leaves it so."""
    known = hasattr(os, "sched_getscheduler")
    before = (os.sched_getscheduler(0), os.sched_getparam(0)) if known else None
    try:
        yield
    finally:
        if before:
            os.sched_setscheduler(0, *before)


def _coded(codec: Codec, crf: int, frames: np.ndarray, fps: float) -> Point:
    count, height, width, _ = frames.shape
    file = io.BytesIO()
    with av.open(file, "w", format=codec.format) as container:
        stream = container.add_stream(codec.encoder, rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"g": str(count)} | codec.options | {"crf": str(crf)}
        made = stream.codec_context
        made.color_primaries = made.color_trc = made.colorspace = BT709
        made.color_range = ColorRange.MPEG
        packets = [packet for frame in map(_to_yuv, frames) for packet in stream.encode(frame)]
        packets += stream.encode()
        if codec.without:
            keep = av.BitStreamFilterContext(codec.without, stream)
            packets = [kept for packet in [*packets, None] for kept in keep.filter(packet)]
        container.mux(packets)
    bits = 8 * len(file.getvalue())
    file.seek(0)
    with av.open(file, format=codec.format) as container:
        shown = np.stack([_to_rgb(frame) for frame in container.decode(video=0)])
    if shown.shape != frames.shape:
        raise ValueError(f"{codec.encoder} gave back {len(shown)} of {count} frames")
    return measured(to_float(frames)[None], to_float(shown)[None], bits)


def _to_yuv(frame: np.ndarray) -> av.VideoFrame:
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
    colours = {"dst_colorspace": Colorspace.ITU709, "dst_color_range": ColorRange.MPEG}
    return picture.reformat(format="yuv420p", **colours)


def _to_rgb(frame: av.VideoFrame) -> np.ndarray:
    colours = {"src_colorspace": Colorspace.ITU709, "src_color_range": ColorRange.MPEG}
    return frame.reformat(format="rgb24", **colours).to_ndarray()
