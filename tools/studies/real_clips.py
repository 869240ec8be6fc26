"""Clips of real videos for studies: drawn once, kept beside the results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
import yaml
from torch import Tensor

from stlatent.media.source import Source
from stlatent.media.video.check import check_sources
from stlatent.media.video.clips import ClipDataset, centre_clip
from stlatent.media.video.files import find_sources
from stlatent.weights import read, write

HELD_OUT = Path(__file__).parents[2] / "assets" / "models" / "video" / "config.yaml"


def sides(root: Path) -> tuple[list[Source], list[Source]]:
    """Videos to train on, and those that the shipped model never saw."""
    names = yaml.safe_load(HELD_OUT.read_text())["data"]["validation"]["names"]
    found, _ = check_sources(find_sources(root))
    held = [source for source in found if source.name in names]
    if not held:
        raise ValueError(f"{root} has none of the held-out videos, {', '.join(names)}")
    return [source for source in found if source.name not in names], held


def drawn(
    sources: Sequence[Source],
    count: int,
    side: int,
    scale: tuple[float, float],
    file: Path,
    crops_per_read: int = 4,
    frames: int = 17,
) -> Tensor:
    """Random clips `[count, T, side, side, 3]`, uint8; they are kept in `file`."""
    if not file.exists():
        reads = ClipDataset(
            sources, frames, side, (1, 2), scale, seed=0, crops_per_read=crops_per_read
        )
        clips = torch.cat([reads[i].clips for i in range(-(-count // crops_per_read))])[:count]
        write(file, {"clips": clips}, {"names": json.dumps([s.name for s in sources])})
    return read(file)[0]["clips"]


def centred(sources: Sequence[Source], size: tuple[int, int, int]) -> dict[str, Tensor]:
    """First frames, central crop `[1, 3, *size]` in [-1, 1], by name."""
    return {source.name: centre_clip(source.path, size)[0] for source in sources}
