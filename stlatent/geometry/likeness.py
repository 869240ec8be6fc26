"""How near one set of shapes comes to another (Achlioptas et al. 2018; Yang et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .extras import needed

NOTHING = "there are no shapes to compare with"


@dataclass(frozen=True)
class Likeness:
    """Of samples to references; distances in voxels.

    Attributes:
        coverage: share of the references that are the nearest one of some sample.
        mmd: minimum matching distance: from a reference to the nearest sample, mean.
        neighbour: accuracy of telling samples from references by the nearest other one of both;
            0.5 where the two cannot be told apart.
    """

    coverage: float
    mmd: float
    neighbour: float


def likeness(samples: Iterable[np.ndarray], references: Iterable[np.ndarray]) -> Likeness:
    """Of two sets of solids, bool `[n, n, n]` each, by the Chamfer distance of their surfaces.

    Raises:
        ValueError: a set is empty.
    """
    a, b = _Surfaces.of(samples), _Surfaces.of(references)
    across, within_a, within_b = a.chamfer(b), a.chamfer(a), b.chamfer(b)
    np.fill_diagonal(within_a, np.inf)
    np.fill_diagonal(within_b, np.inf)
    right = (within_a.min(1) < across.min(1)).sum() + (within_b.min(1) < across.min(0)).sum()
    return Likeness(
        coverage=len(np.unique(across.argmin(1))) / across.shape[1],
        mmd=float(across.min(0).mean()),
        neighbour=float(right) / sum(across.shape),
    )


def nearest(samples: Iterable[Iterable[np.ndarray]], references: Iterable[np.ndarray]) -> float:
    """Distance in voxels from a sample to the nearest reference, mean; of copies it is 0.

    Args:
        samples: each as all that counts as the same, such as its turns.
        references: solids, bool `[n, n, n]`.

    Raises:
        ValueError: a set is empty.
    """
    b = _Surfaces.of(references)
    apart = [_Surfaces.of(turns).chamfer(b).min() for turns in samples]
    if not apart:
        raise ValueError(NOTHING)
    return float(np.mean(apart))


@dataclass(frozen=True)
class _Surfaces:
    """Voxels on the surface as shares that add up to 1, and distances to it `[N, n^3]`; a shape
    that is empty is twice the cube's edge, `far`, away from everything."""

    share: np.ndarray
    distance: np.ndarray
    far: float

    @staticmethod
    def of(shapes: Iterable[np.ndarray]) -> _Surfaces:
        image = needed("scipy.ndimage")
        share, distance, far = [], [], 0.0
        for inside in shapes:
            far = 2.0 * max(inside.shape)
            surface = inside & ~image.binary_erosion(inside, border_value=0)
            away = image.distance_transform_edt(~surface) if surface.any() else inside + far
            share.append(surface.ravel() / np.float32(max(surface.sum(), 1)))
            distance.append(away.ravel().astype(np.float32))
        if not share:
            raise ValueError(NOTHING)
        return _Surfaces(np.stack(share), np.stack(distance), far)

    def chamfer(self, other: _Surfaces) -> np.ndarray:
        """Mean distance from one surface to the other and back `[N, M]`."""
        there, back = self.share @ other.distance.T, self.distance @ other.share.T
        empty = (self.share.sum(1) == 0)[:, None] | (other.share.sum(1) == 0)
        return np.where(empty, self.far, 0.5 * (there + back))
