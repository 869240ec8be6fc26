"""The chairs of `study_diffusion.py`: occupancy at 32^3, and how near two sets of shapes are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stlatent.geometry.likeness import Likeness, likeness

SIDE = 32
SIZE = (SIDE,) * 3
LADDER = {
    "domain": "voxel",
    "channels": 1,
    "stem": {"stride": [2, 2, 2], "width": 32, "blocks": 1},
    "levels": [
        {"stride": [16, 16, 16], "width": 128, "latent": 8, "blocks": 1, "attention": True},
        {"stride": [8, 8, 8], "width": 96, "latent": 6, "blocks": 1},
        {"stride": [4, 4, 4], "width": 64, "latent": 2, "blocks": 1},
    ],
    "likelihood": "occupancy",
}
LOSS = {
    "rate": {"weight": 1.0, "warmup_steps": 1000},
    "prefix": {"share": 0.3, "preview": 0.1},
}
MIRROR = 1  # of [C, x, y, z]: left and right
SHIFT = 2  # voxels, of the copies that are trained on


@dataclass(frozen=True)
class Chairs:
    """Shapes `[N, 1, 32, 32, 32]`: 1 inside, -1 outside; z is up."""

    train: Tensor
    held_out: Tensor


def chairs(path: Path, held_out: int, seed: int) -> Chairs:
    """Read an archive of packed bits; empty shapes are left out.

    Raises:
        ValueError: the file is no such archive.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            bits = np.unpackbits(file["occupancy"], axis=1)
            inside = bits.reshape(int(file["count"]), 1, *SIZE)
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as packed occupancy: {error}") from None
    shapes = torch.from_numpy(inside[inside.any((1, 2, 3, 4))]).float() * 2 - 1
    order = torch.randperm(len(shapes), generator=torch.Generator().manual_seed(seed))
    return Chairs(shapes[order[held_out:]], shapes[order[:held_out]])


def varied(shapes: Tensor, generator: torch.Generator) -> Tensor:
    """Each mirrored or not, and moved sideways by up to two voxels, where there is room."""
    out = []
    for x in shapes:
        if torch.rand((), generator=generator) < 0.5:
            x = x.flip(MIRROR)
        for dim in (1, 2):
            by = int(torch.randint(-SHIFT, SHIFT + 1, (), generator=generator))
            lost = x.narrow(dim, SIDE - by if by > 0 else 0, abs(by))
            if by and not (lost > 0).any():
                x = x.roll(by, dim)
        out.append(x)
    return torch.stack(out)


def scores(samples: Tensor, references: Tensor) -> Likeness:
    """Of two equally large sets `[N, 1, 32, 32, 32]`."""
    return likeness(*((shapes[:, 0] > 0).numpy() for shapes in (samples, references)))


def iou(a: Tensor, b: Tensor) -> float:
    """Voxels inside both over voxels inside either, mean over shapes."""
    a, b = (a > 0).flatten(1), (b > 0).flatten(1)
    return float(((a & b).sum(1) / (a | b).sum(1).clamp(min=1)).mean())
