"""The cube that shapes live in, where an asset lies in it, and volumes sampled on a grid.

The cube is [-1, 1]^3. A volume `[X, Y, Z]` (or `[C, X, Y, Z]`) holds one value per voxel, at the
voxel's centre; its longest axis spans the cube and the others lie centred in it. Of a cubic volume
with n voxels per edge, voxel i is centred at (2 i + 1) / n - 1: the convention of
`torch.nn.functional.grid_sample` with `align_corners=False`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator
from pydantic import Field as Limit

from ..model.config import Strict
from .extras import needed

SLAB = 2_000_000  # voxels looked at in one go, which bounds the memory
Direction = Literal["x", "y", "z", "-x", "-y", "-z"]


def _each_once(axes: tuple[Direction, ...]) -> tuple[Direction, ...]:
    if sorted(axis[-1] for axis in axes) != ["x", "y", "z"]:
        raise ValueError(f"axes are {' '.join(axes)}; name each of x, y, z once, or its negative")
    return axes


Axes = Annotated[tuple[Direction, Direction, Direction], AfterValidator(_each_once)]


class Placement(Strict):
    """Where the cube lies in the asset's own coordinates: asset = offset + scale * turn(cube).

    Attributes:
        scale: asset units per unit of the cube, half the length of the cube's edge.
        offset: the centre of the cube in asset coordinates.
        axes: the direction in the asset along which each axis of the cube runs: `x z -y` turns an
            asset whose z axis points up so that y points up in the cube. May mirror.
    """

    scale: Annotated[float, Limit(gt=0, allow_inf_nan=False)] = 1.0
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    axes: Axes = ("x", "y", "z")

    @classmethod
    def around(cls, points: np.ndarray, margin: float, axes: Axes = ("x", "y", "z")) -> Placement:
        """The cube centred on the bounding box of `points` `[n, 3]`.

        `margin` is the share of the cube's edge left free on each side of the box's longest edge.
        """
        low, high = points.min(0), points.max(0)
        scale = float((high - low).max()) / 2 / (1 - 2 * margin)
        return cls(scale=scale, offset=tuple(((low + high) / 2).tolist()), axes=axes)

    @property
    def turn(self) -> np.ndarray:
        """`[3, 3]`: row i is the direction in the asset of axis i of the cube."""
        rows = np.zeros((3, 3))
        for i, axis in enumerate(self.axes):
            rows[i, "xyz".index(axis[-1])] = -1 if axis.startswith("-") else 1
        return rows

    @property
    def mirrors(self) -> bool:
        """Whether front and back of triangles are exchanged."""
        return bool(np.linalg.det(self.turn) < 0)

    def turned(self, axes: Axes) -> Placement:
        """That of the same asset where the cube is turned: `axes` are the old directions along
        which its new axes run."""
        rows = Placement(axes=axes).turn @ self.turn
        names = ("-" * int(row.sum() < 0) + "xyz"[abs(row).argmax()] for row in rows)
        return self.model_copy(update={"axes": tuple(names)})

    def to_cube(self, points: np.ndarray) -> np.ndarray:
        """Asset coordinates `[n, 3]` to cube coordinates."""
        return (points - np.array(self.offset)) / self.scale @ self.turn.T

    def to_asset(self, points: np.ndarray) -> np.ndarray:
        """Cube coordinates `[n, 3]` to asset coordinates."""
        return points @ self.turn * self.scale + np.array(self.offset)


def voxel_size(shape: Sequence[int]) -> float:
    """Length of a voxel's edge in the cube, of volumes with `shape` voxels."""
    return 2 / max(shape)


def voxel_centres(shape: Sequence[int], start: int = 0, stop: int | None = None) -> np.ndarray:
    """Centres `[n, 3]` of voxels, first index in [start, stop), the last index running fastest."""
    stop = shape[0] if stop is None else stop
    index = np.indices((stop - start, *shape[1:])).reshape(3, -1).T + np.array([start, 0, 0])
    return from_index(index, shape)


def by_slab(
    function: Callable[[np.ndarray, slice], np.ndarray], shape: tuple[int, ...]
) -> np.ndarray:
    """A function of the centres of voxels and of which first indices these have, for a bounded
    number of them at a time: float32, of that shape."""
    values = np.empty(shape, np.float32)
    step = max(1, SLAB // (shape[1] * shape[2]))
    for start in range(0, shape[0], step):
        here = slice(start, min(start + step, shape[0]))
        found = function(voxel_centres(shape, here.start, here.stop), here)
        values[here] = found.reshape(-1, *shape[1:])
    return values


def from_index(index: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Voxel indices, whole or not, `[n, 3]` to cube coordinates."""
    return (index - (np.array(shape) - 1) / 2) * voxel_size(shape)


def to_index(points: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Cube coordinates `[n, 3]` to voxel indices, whole at the centres of voxels."""
    return points / voxel_size(shape) + (np.array(shape) - 1) / 2


def sample(volume: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Trilinear values, float32 `[n]`, of `[X, Y, Z]` at cube coordinates; the edge is repeated."""
    interpolate = needed("scipy.ndimage").map_coordinates
    index = to_index(points, volume.shape).T
    return interpolate(volume, index, np.float32, order=1, mode="nearest")
