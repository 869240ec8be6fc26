"""Public sets of videos and pictures, and how they are cut for figures that others publish."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..source import Source, UnreadableError
from .files import find_sources
from .framing import resized
from .pixels import to_float
from .readers import VideoReader

FPS = 30.0  # of the clips: every n-th frame of sources that are much faster

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Yardstick:
    """How a set is read.

    Attributes:
        count: of its files; None is any number.
        frames: first ones of each, at most.
        side: in pixels; the shorter side is brought to it, and the central square taken. None is
            whole pictures as they are.
        inside: folders of the set that hold its files, where others hold something else.
    """

    count: int | None = None
    frames: int = 17
    side: int | None = 256
    inside: tuple[str, ...] = ()


# MCL-JCV: Wang et al. 2016, cut as VidTok does (Tang et al. 2024: 17 frames, 256 x 256).
SETS = {
    "mcl-jcv": Yardstick(count=30),
    "davis": Yardstick(inside=("JPEGImages/480p", "JPEGImages/Full-Resolution")),
    "kodak": Yardstick(count=24, frames=1, side=None),
}


def read_yardstick(root: Path, name: str, still: bool) -> Iterator[tuple[str, Tensor]]:
    """Names and samples `[1, 3, T, H, W]` in [-1, 1] of a set; of any folder where the name is none
    of `SETS`.

    Args:
        root: the set's own folder, or one that holds a folder of its name.
        still: whether only pictures are read, each by itself.

    Raises:
        ValueError: nothing lies there, or a known set is not whole.
    """
    kind = SETS.get(name, Yardstick())
    places = (root / name / part for part in (*kind.inside, "."))
    places = [*places, *(root / part for part in (*kind.inside, "."))]
    place = next(place for place in places if place.is_dir() or place == root / ".")
    if name not in SETS and not (root / name).is_dir():
        raise ValueError(f"{root} holds no folder '{name}', and no set is called so; {legal()}")
    sources = find_sources(place.resolve(), frame_folders=not still)
    if kind.count not in (None, len(sources)):
        raise ValueError(f"{name} has {kind.count} files, and {place} holds {len(sources)}")
    for source in sources:
        try:
            yield source.name, _cut(source, kind)
        except UnreadableError as error:
            log.warning("left out %s: %s", source.name, error.reason)


def legal() -> str:
    """What may be asked for, in words."""
    return f"the sets are {', '.join(SETS)}, or give the name of a folder"


def _cut(source: Source, kind: Yardstick) -> Tensor:
    with VideoReader(source.path) as reader:
        step = max(1, round((reader.fps or FPS) / FPS))
        frames = reader.read(range(0, reader.frames, step)[: kind.frames])
    if kind.side is None:
        return to_float(frames)[None]
    size = resized(frames.shape[1:3], kind.side)
    clip = torch.from_numpy(frames).permute(0, 3, 1, 2)
    clip = F.interpolate(clip.float(), size, mode="bicubic", antialias=True).round().clamp(0, 255)
    top, left = ((n - kind.side) // 2 for n in size)
    clip = clip[:, :, top : top + kind.side, left : left + kind.side]
    return to_float(np.ascontiguousarray(clip.byte().permute(0, 2, 3, 1)))[None]
