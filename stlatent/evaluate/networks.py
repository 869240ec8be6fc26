"""LPIPS and FVD by networks that are given as ONNX graphs: their weights do not come along.

LPIPS (Zhang et al. 2018): a graph of two batches of pictures `[B, 3, H, W]` in [-1, 1] that gives
one distance each. FVD (Unterthiner et al. 2018): a graph of a clip `[B, 3, T, H, W]` in [-1, 1],
such as I3D of 224x224 pixels, that gives features `[B, D]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..runtime import session

LEAST_CLIPS = 2  # that a Gaussian is fitted to


class PictureDistance:
    """LPIPS, the mean over the frames of a clip."""

    def __init__(self, path: str | Path) -> None:
        self.graph = session(path, inputs=2)
        self.names = [given.name for given in self.graph.get_inputs()]

    def __call__(self, x: Tensor, y: Tensor) -> float:
        """Of clips `[1, 3, T, H, W]` in [-1, 1]."""
        found = []
        for pair in zip(_frames(x), _frames(y), strict=True):
            found.append(self.graph.run(None, dict(zip(self.names, pair, strict=True)))[0])
        return float(np.mean(found))


class ClipFeatures:
    """What FVD compares, of one clip at a time."""

    def __init__(self, path: str | Path) -> None:
        self.graph = session(path, inputs=1)
        (given,) = self.graph.get_inputs()
        self.name, sides = given.name, list(given.shape)[-2:]
        self.size = tuple(sides) if all(isinstance(n, int) for n in sides) else None

    def __call__(self, x: Tensor) -> np.ndarray:
        """Features `[D]` of a clip `[1, 3, T, H, W]` in [-1, 1], resized if the graph asks so."""
        clip = x[0].transpose(0, 1).float().clamp(-1, 1)
        if self.size:
            clip = F.interpolate(clip, self.size, mode="bilinear", antialias=True)
        given = clip.transpose(0, 1)[None].contiguous().cpu().numpy()
        return np.asarray(self.graph.run(None, {self.name: given})[0], np.float64).reshape(-1)


def check_clips(count: int) -> None:
    """ValueError if FVD cannot be taken of so many clips."""
    if count < LEAST_CLIPS:
        raise ValueError(
            f"FVD compares sets of clips, {LEAST_CLIPS} or more; {count} is here: give more, or "
            "leave FVD out"
        )


def frechet_distance(real: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    """Between Gaussians fitted to two sets of features `[D]` (Dowson & Landau 1982).

    Raises:
        ValueError: there are fewer than two of each.
    """
    check_clips(min(len(real), len(other)))
    a, b = (torch.from_numpy(np.stack(features)) for features in (real, other))
    apart = (a.mean(0) - b.mean(0)).square().sum()
    # tr sqrt(A^T A B^T B), of factors with as many rows as the fewer of clips and features
    a, b = ((x - x.mean(0)) / (len(x) - 1) ** 0.5 for x in (a, b))
    a, b = (torch.linalg.qr(x, mode="r").R for x in (a, b))
    both = torch.linalg.svdvals(a @ b.T).sum()
    return float(apart + a.square().sum() + b.square().sum() - 2 * both)


def _frames(x: Tensor) -> list[np.ndarray]:
    clip = x[0].transpose(0, 1).float().clamp(-1, 1).cpu().numpy()
    return [frame[None] for frame in np.ascontiguousarray(clip)]
