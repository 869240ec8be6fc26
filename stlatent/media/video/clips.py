"""Clips of videos and pictures: random ones for training, central ones for measuring."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from ..rounds import Rounds
from ..source import Source
from .cache import FrameCache
from .pixels import to_float
from .readers import VideoReader


class Read(NamedTuple):
    """What one read of a source gives. clips: uint8 `[crops_per_read, T, crop, crop, 3]`.
    failed: (name, reason) of sources that turned out to be unreadable on the way."""

    clips: Tensor
    failed: tuple[tuple[str, str], ...]


class Batch(NamedTuple):
    """clips: uint8 `[B, T, crop, crop, 3]`. failed: reason by name of newly unreadable sources."""

    clips: Tensor
    failed: dict[str, str]


class ClipDataset(Dataset):
    """`dataset[i]` is the i-th read: some clips from one short stretch of one source.

    The clips are a function of (seed, i) and the files alone, so a resumed run that goes on at
    the next i sees what it would have seen. Sources come in rounds, see `Rounds`.

    frames: T of a clip. A source that is too short has its last frame repeated.
    crop: height and width of a clip in pixels.
    frame_step: least and greatest distance of a clip's frames in the source, in frames; less where
        the source is too short.
    scale: least and greatest size of a clip's picture over the source's, e.g. 0.5 shows twice as
        much of it in half the detail. Only a source smaller than `crop` is enlarged beyond this.
    flip: whether half of the clips are mirrored.
    crops_per_read: clips per read, which share their frames and differ in crop, scale and flip.
    length: of the data set, in reads; it has no natural end.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        frames: int = 9,
        crop: int = 128,
        frame_step: tuple[int, int] = (1, 2),
        scale: tuple[float, float] = (0.5, 1.0),
        flip: bool = True,
        seed: int = 0,
        cache: FrameCache | None = None,
        crops_per_read: int = 1,
        length: int = 2**40,
    ):
        if not sources:
            raise ValueError("there are no sources to take clips from")
        if min(frames, crop, crops_per_read, length) < 1:
            raise ValueError(
                f"frames ({frames}), crop ({crop}), crops_per_read ({crops_per_read}) "
                f"and length ({length}) must be at least 1"
            )
        if not 1 <= frame_step[0] <= frame_step[1]:
            raise ValueError(f"frame_step is {frame_step}; expected (least, greatest), from 1 on")
        if not 0 < scale[0] <= scale[1]:
            raise ValueError(f"scale is {scale}; expected (least, greatest), above 0")
        if seed < 0:
            raise ValueError(f"seed is {seed}; it must be 0 or more")
        self.sources = list(sources)
        self.frames, self.crop, self.frame_step, self.scale = frames, crop, frame_step, scale
        self.flip, self.seed, self.cache = flip, seed, cache
        self.crops_per_read, self.length = crops_per_read, length
        self.rounds = Rounds([source.name for source in self.sources], seed)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, i: int) -> Read:
        if not 0 <= i < self.length:
            raise IndexError(f"read {i} of {self.length}")
        return Read(*self.rounds.read(i, lambda which: self._clips(self.sources[which], i)))

    def _clips(self, source: Source, i: int) -> Tensor:
        rng = np.random.default_rng((self.seed, 1, i))
        if self.cache is not None:
            longest = (self.frames - 1) * self.frame_step[1] + 1
            kept = self.cache.open(source.path, window=max(33, longest))
            video, indices = kept[rng.integers(len(kept))], self._indices(kept.shape[1], rng)
        else:
            with VideoReader(source.path) as reader:
                rng.integers(1)  # the draw of a window: both ways give the same clips
                video = reader.read(self._indices(reader.frames, rng))
                indices = np.arange(len(video))
        return torch.stack([self._cut(video, indices, rng) for _ in range(self.crops_per_read)])

    def _indices(self, available: int, rng: np.random.Generator) -> np.ndarray:
        """Which of the available frames a clip shows, `[T]`."""
        step = int(rng.integers(self.frame_step[0], self.frame_step[1] + 1))
        gaps = self.frames - 1
        step = min(step, max(1, (available - 1) // max(gaps, 1)))
        start = rng.integers(max(available - gaps * step, 1))
        return np.minimum(start + step * np.arange(self.frames), available - 1)

    def _cut(self, video: np.ndarray, indices: np.ndarray, rng: np.random.Generator) -> Tensor:
        """A random square of `video` `[n, H, W, 3]`, `[T, crop, crop, 3]`; it reads no more."""
        height, width = video.shape[1:3]
        least = max(self.scale[0], self.crop / min(height, width))
        scale = rng.uniform(least, max(self.scale[1], least))
        side = max(1, min(round(self.crop / scale), height, width))
        y, x = rng.integers(height - side + 1), rng.integers(width - side + 1)
        mirrored = self.flip and rng.random() < 0.5
        clip = video[:, y : y + side, x : x + side][indices]
        clip = torch.from_numpy(np.ascontiguousarray(clip)).permute(0, 3, 1, 2)
        if side != self.crop:
            clip = F.interpolate(clip, (self.crop, self.crop), mode="bicubic", antialias=True)
        clip = clip.flip(-1) if mirrored else clip
        return clip.permute(0, 2, 3, 1).contiguous()


def collate(reads: list[Read]) -> Batch:
    """The clips of several reads as one batch, those of one read side by side."""
    clips = torch.cat([read.clips for read in reads])
    return Batch(clips, {name: why for read in reads for name, why in read.failed})


def centre_clip(path: str | Path, size: Sequence[int]) -> tuple[Tensor, float | None]:
    """The beginning of a file: at most T frames, of them at most the central H x W pixels.

    Args:
        size: `(T, H, W)`.

    Returns:
        `[1, 3, T, H, W]` in [-1, 1], and the frames per second, if it has any.

    Raises:
        UnreadableError: the file cannot be read.
    """
    frames, height, width = size
    with VideoReader(path) as reader:
        clip = reader.read(range(min(frames, reader.frames)))
        top, left = (max(0, n - m) // 2 for n, m in zip(reader.size, (height, width), strict=True))
        clip = clip[:, top : top + height, left : left + width]
        return to_float(np.ascontiguousarray(clip))[None], reader.fps
