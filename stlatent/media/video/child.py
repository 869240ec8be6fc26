"""How the child of `jobs/reader.py` reads videos and pictures, without torch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...files import UnreadableError
from .display import WHITE, Colour
from .framing import framing
from .readers import VideoReader
from .scenes import scene_starts
from .timeline import check_size

SLOT_BYTES = 256 * 2**20  # of a chunk, unless a single frame is larger


@dataclass(frozen=True)
class ClipPlan:
    """How videos and pictures are read.

    Attributes:
        unit: frames that go through the network together at least.
        pixels: about so many go through the network at a time.
        still: whether only single pictures will do.
        short_side, size, buckets: how large pictures become, see `options.py`; resizing them is
            left to the one who reads.
        step: what sides of buckets are multiples of.
        fps: frames per second; None is the source's own.
        clip_frames: sources are cut into clips of so many; None leaves them whole.
        scenes: sources are cut where scenes change, too.
        background: RGB behind transparent pixels.
    """

    module: ClassVar[str] = __name__

    unit: int
    pixels: int
    still: bool = False
    short_side: int | None = None
    size: tuple[int, int] | None = None
    buckets: int | None = None
    step: int = 1
    fps: float | None = None
    clip_frames: int | None = None
    scenes: bool = False
    background: Colour = WHITE


def read(request: dict) -> Iterator[tuple[dict, np.ndarray]]:
    """The clips of a source, chunk by chunk: what a clip is, and some frames uint8 `[t, H, W, 3]`.

    `start` is the clip's first frame in the source, `count` its length, `fps` its rate, `size` the
    height and width that its frames are to have, and `moves` says whether the source has more than
    one frame.
    """
    with _open(request) as reader:
        if request["still"] and reader.frames > 1:
            held = f"it has {reader.frames} frames, an image model takes one"
            raise UnreadableError(reader.path, held)
        frame = framing(reader.size, request)
        check_size(reader.path, *frame.size)
        fps = request["fps"] if reader.fps else None
        indices = reader.at_rate(fps) if fps else np.arange(reader.frames)
        clips = cut(indices, request)
        about = {"fps": fps or reader.fps, "moves": reader.frames > 1, "size": frame.size}
        chunk = chunk_frames(reader.size, frame.size, request)
        for clip, frames in read_in_order(reader, indices, clips, chunk):
            kept = frames[:, slice(*frame.rows), slice(*frame.columns)]
            yield about | {"start": clip.start, "count": len(clip)}, kept


def _open(request: dict) -> VideoReader:
    background = tuple(request["background"])
    return VideoReader(request["path"], threads=0, in_order=True, background=background)


def cut(indices: np.ndarray, request: dict) -> list[range]:
    """The clips of a source, as stretches of the `indices` of its frames that are read; of them
    all, as many as hold the first frames that are asked for."""
    starts = [0]
    if request["scenes"] and len(indices) > 1:
        with _open(request) as reader:
            starts = np.searchsorted(indices, scene_starts(reader)).tolist()
    scenes = itertools.pairwise([*sorted({*starts} - {len(indices)}), len(indices)])
    length, end = request["clip_frames"] or len(indices), request["first"] or len(indices)
    return [
        range(first, min(first + length, stop, end))
        for start, stop in scenes
        for first in range(start, min(stop, end), length)
    ]


def chunk_frames(source: tuple[int, int], size: tuple[int, int], request: dict) -> int:
    """How many frames to read at a time: as many as go through the network at a time, unless they
    are so large that the memory is the limit."""
    units = max(1, request["pixels"] // (math.prod(size) * request["unit"]))
    limit = max(1, SLOT_BYTES // (3 * math.prod(source)))
    return min(units * request["unit"], limit)


def read_in_order(
    reader: VideoReader, indices: np.ndarray, clips: Sequence[range], chunk: int
) -> Iterator[tuple[range, np.ndarray]]:
    """Frames at rising `indices`, with repeats: the clip, and at most `chunk` frames of it. No
    frame is decoded twice."""
    before, last = -1, None
    for clip in clips:
        for first in range(clip.start, clip.stop, chunk):
            asked = indices[first : min(first + chunk, clip.stop)]
            wanted = np.unique(asked)
            new = reader.read(wanted[wanted > before])
            frames = new if wanted[0] > before else np.concatenate([last, new])
            before, last = wanted[-1], frames[-1:].copy()
            repeats = len(asked) > len(wanted)
            yield clip, frames[np.searchsorted(wanted, asked)] if repeats else frames
