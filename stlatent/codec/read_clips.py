"""How the child of `reader.py` reads videos and pictures, without torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..data.files import UnreadableError
from ..data.readers import VideoReader

SLOT_BYTES = 256 * 2**20  # of a chunk, unless a single frame is larger


@dataclass(frozen=True)
class ClipPlan:
    """How videos and pictures are read.

    Attributes:
        unit: frames that go through the network together at least.
        pixels: about so many go through the network at a time.
        still: whether only single pictures will do.
        short_side: of the pictures once they are resized, which is left to the one who reads.
        fps: frames per second; None is the source's own.
        clip_frames: sources are cut into clips of so many; None leaves them whole.
    """

    module: ClassVar[str] = "read_clips"

    unit: int
    pixels: int
    still: bool = False
    short_side: int | None = None
    fps: float | None = None
    clip_frames: int | None = None


def read(request: dict) -> Iterator[tuple[dict, np.ndarray]]:
    """The clips of a source, chunk by chunk: what a clip is, and some frames uint8 `[t, H, W, 3]`.

    `start` is the clip's first frame in the source, `count` its length, `fps` its rate, and `moves`
    says whether the source has more than one frame.
    """
    with VideoReader(request["path"], threads=0, in_order=True) as reader:
        if request["still"] and reader.frames > 1:
            held = f"it has {reader.frames} frames, an image model takes one"
            raise UnreadableError(reader.path, held)
        fps = request["fps"] if reader.fps else None
        indices = reader.at_rate(fps) if fps else np.arange(reader.frames)
        indices = indices[: request["first"]]
        length = request["clip_frames"] or len(indices)
        about = {"fps": fps or reader.fps, "moves": reader.frames > 1}
        pieces = read_in_order(reader, indices, length, chunk_frames(reader.size, request))
        for start, frames in pieces:
            count = min(length, len(indices) - start)
            yield about | {"start": start, "count": count}, frames


def chunk_frames(size: tuple[int, int], request: dict) -> int:
    """How many frames to read at a time: as many as go through the network at a time, unless they
    are so large that the memory is the limit."""
    height, width = resized(size, request["short_side"])
    units = max(1, request["pixels"] // (height * width * request["unit"]))
    limit = max(1, SLOT_BYTES // (3 * size[0] * size[1]))
    return min(units * request["unit"], limit)


def resized(size: tuple[int, int], short_side: int | None) -> tuple[int, int]:
    """Height and width when the shorter one is `short_side`."""
    if short_side is None:
        return size[0], size[1]
    scale = short_side / min(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def read_in_order(
    reader: VideoReader, indices: np.ndarray, length: int, chunk: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Frames at rising `indices`, with repeats, in clips of `length`: the start of the clip, and at
    most `chunk` frames of it. No frame is decoded twice."""
    before, last = -1, None
    for start in range(0, len(indices), length):
        clip = indices[start : start + length]
        for first in range(0, len(clip), chunk):
            asked = clip[first : first + chunk]
            wanted = np.unique(asked)
            new = reader.read(wanted[wanted > before])
            frames = new if wanted[0] > before else np.concatenate([last, new])
            before, last = wanted[-1], frames[-1:].copy()
            repeats = len(asked) > len(wanted)
            yield start, frames[np.searchsorted(wanted, asked)] if repeats else frames
