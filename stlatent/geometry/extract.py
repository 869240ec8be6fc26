"""From a field back to a mesh: marching cubes in slabs, at any resolution."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import trimesh

from .cube import Placement, from_index, voxel_centres
from .extras import needed
from .field import Field

Values = Callable[[np.ndarray], np.ndarray]
SLAB = 4_000_000  # samples of a field that are held at a time
POINTS = 262_144  # points that a function is asked for at a time


def mesh_from_field(field: Field) -> trimesh.Trimesh:
    """The surface of a field in the asset's own coordinates, with vertex colours if it has any."""

    def read(start: int, stop: int) -> np.ndarray:
        return field.distance[start:stop]

    colour_at = field.colour_at if field.known.any() else None
    return _mesh(read, field.distance.shape, field.placement, colour_at)


def mesh_from_function(
    distance_at: Values,
    resolution: int,
    placement: Placement | None = None,
    colour_at: Values | None = None,
) -> trimesh.Trimesh:
    """The surface of a function on the cube, at any resolution, in the asset's own coordinates.

    Memory grows with the surface, and holds no more than `SLAB` samples of the grid, or one layer.

    Args:
        distance_at: from points `[n, 3]` in the cube to any values `[n]` that are negative inside.
        resolution: voxels per edge of the cube.
        placement: where the cube lies in the asset's coordinates.
        colour_at: from points `[n, 3]` in the cube to colours `[n, 3]` in [-1, 1].

    Returns:
        A mesh that is closed, wound outwards, and empty where nothing is inside.

    Raises:
        ValueError: values are not finite, or the packages of the extra `shapes` are missing.
    """
    shape = (resolution,) * 3

    def read(start: int, stop: int) -> np.ndarray:
        return in_parts(distance_at, voxel_centres(shape, start, stop)).reshape(-1, *shape[1:])

    return _mesh(read, shape, placement or Placement(), colour_at)


def _mesh(
    read: Callable[[int, int], np.ndarray],
    shape: tuple[int, ...],
    placement: Placement,
    colour_at: Values | None,
) -> trimesh.Trimesh:
    index, faces = march(read, shape)
    return dressed(from_index(index, shape), faces, placement, colour_at)


def dressed(
    points: np.ndarray, faces: np.ndarray, placement: Placement, colour_at: Values | None
) -> trimesh.Trimesh:
    """A mesh of points in the cube `[n, 3]`, in the asset's own coordinates, with the colours that
    its vertices have there."""
    if placement.mirrors:
        faces = faces[:, ::-1]
    mesh = trimesh.Trimesh(placement.to_asset(points), faces, process=False)
    if colour_at is not None and len(points):
        colours = in_parts(colour_at, points)
        mesh.visual.vertex_colors = np.round((colours.clip(-1, 1) + 1) * 127.5).astype(np.uint8)
    return mesh


def march(
    read: Callable[[int, int], np.ndarray], shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Vertices in voxel indices `[V, 3]` and faces `[F, 3]`, wound outwards.

    The grid is taken as surrounded by a layer of outside, so that every surface is closed.
    """
    outside = np.ones((1, shape[1] + 2, shape[2] + 2), np.float32)
    step = max(1, SLAB // outside.size)
    vertices, faces, count = [np.zeros((0, 3))], [np.zeros((0, 3), np.int64)], 0
    starts = range(0, shape[0], step)
    last = outside
    for start in starts:
        values = _finite(read(start, min(start + step, shape[0])))
        slab = [last, np.pad(values, ((0, 0), (1, 1), (1, 1)), constant_values=1)]
        last = slab[-1][-1:]  # the next slab begins with it
        slab += [outside] if start == starts[-1] else []
        found, triangles = _march_slab(np.concatenate(slab))
        vertices.append(found + np.array([start - 1, -1, -1]))
        faces.append(triangles + count)
        count += len(found)
    seams = np.array(starts[1:]) - 1
    return _weld(np.concatenate(vertices), np.concatenate(faces), seams)


def _march_slab(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Marching cubes after Lewiner et al. 2003, as in scikit-image."""
    if not values.min() < 0 < values.max():
        return np.zeros((0, 3)), np.zeros((0, 3), np.int64)
    march = needed("skimage.measure").marching_cubes
    vertices, faces, _, _ = march(values, 0.0)
    return vertices.astype(np.float64), faces.astype(np.int64)


def _weld(
    vertices: np.ndarray, faces: np.ndarray, seams: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Join the vertices of two slabs on the layer that they share, where they are equal."""
    rows = np.flatnonzero(np.isin(vertices[:, 0], seams))
    if len(rows) == 0:
        return vertices, faces
    _, first, same = np.unique(vertices[rows], axis=0, return_index=True, return_inverse=True)
    target = np.arange(len(vertices))
    target[rows] = rows[first][same.reshape(-1)]
    faces = target[faces]
    faces = faces[(faces != np.roll(faces, 1, 1)).all(1)]
    used, faces = np.unique(faces, return_inverse=True)
    return vertices[used], faces.reshape(-1, 3)


def _finite(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float32)
    if not np.isfinite(values).all():
        raise ValueError("the field has values that are not finite; no surface can be taken")
    return np.where(values == 0, np.float32(1e-6), values)  # a vertex on a voxel would be many


def in_parts(function: Values, points: np.ndarray) -> np.ndarray:
    """A function of points, a bounded number of them at a time."""
    parts = [function(points[i : i + POINTS]) for i in range(0, len(points), POINTS)]
    return np.concatenate([np.asarray(part) for part in parts])
