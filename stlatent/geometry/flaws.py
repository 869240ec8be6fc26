"""What is wrong with a shape that was drawn, as one sees it without knowing what it should be.

Data have next to none of it: each voxel of a solid is as wide as a voxel, and so is each gap. What
is drawn in doubt has, between its voxels: threads, strings of beads, torn walls, crumbs. Where a
block of voxels is missing, a shape ends in a bare flat face.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .extras import needed
from .field import Field

NARROW = 0.45  # voxels: half the width below which a part is too thin, and a gap a crack
SLACK = 0.75  # samples that edges and corners may be sharper than what is taken away and put back
JUMP = 2.0  # voxels that a distance changes by from a voxel to the next only where a block ends
LIMITS = {"loose": 0.01, "thin": 0.005, "gaps": 0.01, "cut": 0.01}  # that an eye sees
FINE = 96  # samples per edge at which a field is looked at, at least
LEAST = 3  # samples per voxel: of two, none is nearer to the outside than a part may be


@dataclass(frozen=True)
class Flaws:
    """Shares of a shape's volume, but for `cut`; of nothing at all, 1 each.

    Attributes:
        loose: what is not joined to the largest part.
        thin: what is thinner than 0.9 voxels, as far as samples tell.
        gaps: what it would take to fill holes and cracks narrower than 0.9 voxels.
        cut: of its surface, what is no surface: a distance changes by a voxel per voxel, and jumps
            where what comes next is missing. Only known of fields.
    """

    loose: float
    thin: float
    gaps: float
    cut: float = 0.0

    @property
    def gravest(self) -> float:
        """How many times its limit the gravest flaw is."""
        return max(getattr(self, name) / limit for name, limit in LIMITS.items())

    @property
    def valid(self) -> bool:
        """Whether an eye would take the shape: no flaw is above its limit."""
        return self.gravest <= 1

    @classmethod
    def of(cls, inside: np.ndarray, voxel: float) -> Flaws:
        """Of a solid, or of its outline in a picture.

        Args:
            inside: bool, with any number of axes.
            voxel: samples per voxel of what the shape was drawn on.
        """
        if not inside.any():
            return cls(1.0, 1.0, 1.0, 1.0)
        inside = np.pad(inside[_box(inside)], int(np.ceil(voxel)) + 1)
        reach = NARROW * voxel
        label, _ = needed("scipy.ndimage").label(inside, np.ones((3,) * inside.ndim))
        volume = np.count_nonzero(inside)
        opened = _grown(_shrunk(inside, reach), reach + SLACK) & inside
        closed = _shrunk(_grown(inside, reach), reach) | inside
        largest = np.bincount(label[inside]).max()
        return cls(
            loose=float(1 - largest / volume),
            thin=float(1 - opened.sum() / volume),
            gaps=float(closed.sum() / volume - 1),
        )

    @classmethod
    def of_field(cls, field: Field) -> Flaws:
        """Of a field, which is looked at between its voxels, too."""
        finer = max(LEAST, -(-FINE // max(field.distance.shape)))
        distance, zoom = field.distance[_box(field.inside)], needed("scipy.ndimage").zoom
        distance = zoom(distance, finer, order=1, mode="nearest", grid_mode=True)
        return replace(cls.of(distance < 0, finer), cut=_cut(field))


def _cut(field: Field) -> float:
    """The share of the faces between voxels inside and outside at which the distance jumps."""
    faces = jumps = 0
    for axis in range(3):
        step = np.abs(np.diff(field.distance, axis=axis)) * field.band_voxels
        border = np.diff(field.inside, axis=axis)
        faces += np.count_nonzero(border)
        jumps += np.count_nonzero(border & (step > JUMP))
    return float(jumps / faces) if faces else 0.0


def _box(inside: np.ndarray) -> tuple[slice, ...]:
    """The smallest one that holds all, and a sample more on every side."""
    found = []
    for axis in range(inside.ndim):
        at = np.flatnonzero(inside.any(tuple(k for k in range(inside.ndim) if k != axis)))
        found.append(slice(max(at[0] - 1, 0), at[-1] + 2) if len(at) else slice(0, None))
    return tuple(found)


def _grown(inside: np.ndarray, reach: float) -> np.ndarray:
    """What is within `reach` samples of it."""
    steps = np.indices((2 * int(reach) + 1,) * inside.ndim) - int(reach)
    ball = np.linalg.norm(steps, axis=0) <= reach
    return needed("scipy.ndimage").binary_dilation(inside, ball)


def _shrunk(inside: np.ndarray, reach: float) -> np.ndarray:
    """What is further than `reach` samples from what is outside."""
    return ~_grown(~inside, reach)
