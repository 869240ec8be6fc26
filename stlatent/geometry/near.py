"""From a mesh to a band: distance and colour on the blocks of voxels near the surface.

Patches that enclose a solid give a signed distance, all others an unsigned one: an open surface is
not closed, and a wall thinner than a voxel not thickened. What part of the surface is unsigned is
said in `Route.sheets`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from . import kernels
from .band import BLOCK, Band
from .cube import Placement, from_index, voxel_size
from .extras import needed
from .field import COLOUR_BAND_VOXELS, FieldSettings, Route
from .orient import enclosing, wound_outwards
from .scan import lattice
from .surface import Surface, area_vectors, areas

REACH = 3.0  # voxels from the surface up to which there are blocks
AT_ONCE = 2**19  # voxels that are measured at a time, which bounds the memory
AROUND = np.ones((3, 3, 3), bool)


def band_from_surface(surface: Surface, settings: FieldSettings | None = None) -> Band:
    """Truncated distance and colour of a surface on the blocks near it.

    Raises:
        ValueError: the resolution is no multiple of 4, or the packages of the extra `shapes` are
            missing.
    """
    settings = settings or FieldSettings()
    if settings.resolution % BLOCK:
        raise ValueError(f"resolution is {settings.resolution}; give a multiple of {BLOCK}")
    placement = Placement.around(surface.vertices, settings.margin, settings.axes)
    vertices = placement.to_cube(surface.vertices)
    faces, turned = wound_outwards(vertices, surface.faces, placement.mirrors)
    solid = enclosing(vertices, faces)
    blocks = _blocks(vertices[faces], settings.resolution)
    distance, colour, known = _measured(
        surface, vertices, faces[solid], blocks, settings.resolution
    )
    kept = _seen(blocks, (distance >= 0).any((1, 2, 3)), settings.resolution)
    area = areas(vertices[faces])
    return Band(
        settings.resolution,
        blocks[kept],
        np.clip(distance[kept] / np.float32(settings.band_voxels), -1, 1),
        colour[kept],
        known[kept],
        settings.band_voxels,
        placement,
        Route(
            turned=int(turned.sum()),
            sheets=float(area @ ~solid / area.sum()),
            coloured=bool(known.any()),
        ),
    )


def barycentric(triangles: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Weights of the corners `[n, 3]` at points on triangles `[n, 3, 3]`; those of needles, which
    have no area, are equal."""
    whole = area_vectors(triangles)
    parts = [np.cross(triangles[:, i - 2] - points, triangles[:, i - 1] - points) for i in range(3)]
    weights = np.stack([np.einsum("nk,nk->n", part, whole) for part in parts], 1).clip(0)
    total = weights.sum(1, keepdims=True)
    return np.where(total > 0, weights / np.maximum(total, np.finfo(float).tiny), 1 / 3)


def _measured(
    surface: Surface,
    vertices: np.ndarray,
    solid: np.ndarray,
    blocks: np.ndarray,
    resolution: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of all voxels of blocks: distance in voxels, `[K, 4, 4, 4]`, negative inside of the faces
    that enclose a `solid` `[F, 3]`; colour, and where it is known."""
    shape = (len(blocks), *[BLOCK] * 3)
    distance = np.empty(shape, np.float32)
    colour, known = np.zeros((*shape, 3), np.uint8), np.zeros(shape, bool)
    nearest = kernels.Nearest(vertices, surface.faces)  # wound as the colours are
    for some in _parts(len(blocks)):
        centres = _centres(blocks[some], resolution)
        away, face, spot = nearest(centres)
        away /= voxel_size([resolution])
        shown = (away < COLOUR_BAND_VOXELS) & surface.coloured[face]
        pixels = surface.colours(
            face[shown], barycentric(nearest.triangles[face[shown]], spot[shown])
        )
        known[some].reshape(-1)[shown] = True
        colour[some].reshape(-1, 3)[shown] = np.round(pixels * 255)
        distance[some] = away.reshape(-1, *shape[1:])
        if len(solid):
            inside = _by_region(
                lambda points: kernels.winding_number(vertices, solid, points) > 0.5,
                distance[some],
                centres,
            )
            distance[some] *= np.where(inside, -1, 1)
    return distance, colour, known


def _blocks(triangles: np.ndarray, resolution: int) -> np.ndarray:
    """The blocks within `REACH` of the surface, in order `[K, 3]`."""
    side, voxel = resolution // BLOCK, voxel_size([resolution])
    near = np.zeros((side,) * 3, bool)
    steps = np.indices((3, 3, 3)).reshape(3, -1).T - 1  # of less than a block each
    for face, weights in lattice(triangles, voxel):
        points = np.einsum("nk,nkc->nc", weights, triangles[face])
        index = (points + 1) / voxel  # in voxels, their borders whole
        for step in steps:
            at = np.floor((index + REACH * step) / BLOCK).astype(np.int64).clip(0, side - 1)
            near[tuple(at.T)] = True
    return np.argwhere(near)


def _by_region(
    holds: Callable[[np.ndarray], np.ndarray], distance: np.ndarray, centres: np.ndarray
) -> np.ndarray:
    """What changes only at the surface, for all voxels of blocks `[K, 4, 4, 4]`, asked for once per
    region: the surface does not come between neighbours whose distances to it add up to more than
    the voxel that they are apart."""
    region = np.arange(distance.size).reshape(distance.shape)
    before = None
    while before is None or (region != before).any():
        before = region.copy()
        for axis in (1, 2, 3):
            low, high = (np.moveaxis(region, axis, 0)[part] for part in (np.s_[:-1], np.s_[1:]))
            near = np.moveaxis(distance, axis, 0)
            joined = near[:-1] + near[1:] > 1
            least = np.minimum(low, high)
            low[joined] = least[joined]
            high[joined] = np.minimum(high, least)[joined]
    asked, back = np.unique(region, return_inverse=True)
    return holds(centres[asked])[back].reshape(distance.shape)


def _seen(blocks: np.ndarray, outside: np.ndarray, resolution: int) -> np.ndarray:
    """Which blocks are not buried in a solid: all but those that only border on such blocks."""
    grid = np.zeros((resolution // BLOCK,) * 3, bool)
    grid[tuple(blocks[outside].T)] = True
    return needed("scipy.ndimage").binary_dilation(grid, AROUND)[tuple(blocks.T)]


def _parts(count: int) -> Iterator[slice]:
    step = AT_ONCE // BLOCK**3
    return (slice(i, i + step) for i in range(0, count, step))


def _centres(blocks: np.ndarray, resolution: int) -> np.ndarray:
    """Of all voxels of blocks, in the cube `[n, 3]`."""
    inside = np.indices((BLOCK,) * 3).reshape(3, -1).T
    index = (blocks[:, None] * BLOCK + inside).reshape(-1, 3)
    return from_index(index, (resolution,) * 3)
