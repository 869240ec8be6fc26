"""From a band to a mesh: one way for solids, open sheets and walls thinner than a voxel.

The surface that marching cubes find is the one at a distance OUTWARDS of the shape, and every
vertex then goes back by it, along the gradient. It is closed without a crack, wound outwards, and
has room for what lies between samples: a wall of half a voxel has its two sides at their places,
and an open sheet comes back with two sides. The smaller the distance, the narrower the gaps that
stay open; but a sheet between samples can be half a voxel away from all of them.
"""

from __future__ import annotations

import numpy as np
import trimesh

from .band import Band
from .cube import from_index, voxel_size
from .extract import dressed, in_parts, march
from .field import Field

OUTWARDS = 0.75  # voxels
HAIR = 0.05  # voxels that are not gone back, so that the two sides of a sheet do not coincide
STEP = 0.3  # voxels that are gone back at a time, at most
REACH = 0.75  # voxels to either side, for gradients
MOST_VOXELS = 128  # per edge of what flaws are looked for in


def mesh_from_band(band: Band, outwards: float = OUTWARDS) -> trimesh.Trimesh:
    """The surface of a band in the asset's own coordinates, with vertex colours if it has any.

    outwards: voxels from the shape at which its surface is looked for, see above.

    No more than some layers of the grid are in memory at a time.

    Raises:
        ValueError: distances are not finite.
    """
    shape = (band.resolution,) * 3
    level = np.float32(outwards / band.band_voxels)
    index, faces = march(lambda start, stop: band.slab(start, stop) - level, shape)
    points = from_index(index, shape)
    if len(points):
        points = in_parts(lambda some: _gone_back(band, some, outwards), points)
    colour_at = band.colour_at if band.known.any() else None
    return dressed(points, faces, band.placement, colour_at)


def solid_around(band: Band, outwards: float = OUTWARDS) -> Field:
    """The solid whose surface marching cubes find, without colours, of a cube of at most
    `MOST_VOXELS` per edge: of finer bands on voxels twice as large, the last of an odd number with
    a repeated one.

    outwards: see `mesh_from_band`.
    """
    distance, voxels = band.slab(0, band.resolution), band.band_voxels
    while len(distance) > MOST_VOXELS and voxels > 2 * outwards:
        n = -(-len(distance) // 2)
        distance = np.pad(distance, (0, 2 * n - len(distance)), mode="edge")
        distance, voxels = distance.reshape(n, 2, n, 2, n, 2).mean((1, 3, 5)), voxels / 2
    distance = distance - np.float32(outwards / voxels)
    none = np.broadcast_to(np.float32(0), (3, *distance.shape))
    return Field(distance, none, none[0] > 0, voxels)


def _gone_back(band: Band, points: np.ndarray, outwards: float) -> np.ndarray:
    """From points so far outside of the surface to the surface `[n, 3]`, along the gradient. From
    further away than `OUTWARDS`, where sheets are blunter than measured ones, in small steps, and
    whoever meets a rising distance stays: what comes next is the other side."""
    voxel, blunt = voxel_size([band.resolution]), outwards > OUTWARDS
    beside, count = np.eye(3) * (REACH * voxel), int(np.ceil(outwards / STEP)) if blunt else 1
    length = (outwards - HAIR) * voxel / count
    at, some, away = points.copy(), np.arange(len(points)), band.distance_at(points)
    for _ in range(count):
        here = at[some]
        slope = [band.distance_at(here + b) - band.distance_at(here - b) for b in beside]
        slope = np.stack(slope, 1)
        norm = np.linalg.norm(slope, axis=1, keepdims=True)
        there = here - slope / np.maximum(norm, np.finfo(float).tiny) * length
        distance = band.distance_at(there)
        goes = (distance < away) | (not blunt)
        some, away = some[goes], distance[goes]
        at[some] = there[goes]
    return at
