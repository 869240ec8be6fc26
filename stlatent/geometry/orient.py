"""Which side of each face is the outside."""

from __future__ import annotations

import numpy as np

from .kernels import consistent_winding, winding_number
from .scan import rasterise
from .surface import area_vectors, areas, normals

RAYS = 256  # per axis and side of the cube
TIGHT, TIGHT_SHARE = 0.1, 0.9  # of what encloses a solid: how nearly, and on how much of its area
STEP = 2e-4  # how far from a face its two sides are looked at, in the cube [-1, 1]^3


def wound_outwards(
    vertices: np.ndarray, faces: np.ndarray, mirrored: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Faces `[F, 3]` of a mesh in the cube that all face outwards, and which of them had to be
    turned for that `[F]`, beside all of them where the cube mirrors the asset."""
    faces = faces[:, ::-1] if mirrored else faces
    turned = turned_faces(vertices, faces)
    return np.where(turned[:, None], faces[:, ::-1], faces), turned


def turned_faces(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Which faces `[F]` must be turned for all to face outwards.

    Faces that are joined by manifold edges are made to agree with the larger part of them. Closed
    patches of positive volume then stand; of the others, those are turned that face the wrong way
    where rays meet them (`ray_votes`). Without any ray to decide, a patch stays as it came.

    Args:
        vertices: in the cube, corners that meet welded.
    """
    turned, patch = consistent_winding(faces)
    triangles = vertices[faces]
    turned ^= _sum(patch, areas(triangles) * np.where(turned, -1, 1)) < 0
    side = np.where(turned, -1.0, 1.0)
    volume = np.einsum("fk,fk->f", triangles[:, 0], np.cross(triangles[:, 1], triangles[:, 2]))
    centre = triangles.mean((0, 1))
    if (side * (volume - area_vectors(triangles) @ centre)).sum() < 0:  # all of it inside out
        turned, side = ~turned, -side
    doubtful = ~_closed(faces, patch) | (_sum(patch, side * volume) < 0)
    if doubtful.any():
        seen, parity = (_sum(patch, side * votes) for votes in ray_votes(triangles))
        turned ^= doubtful & (np.where(seen != 0, seen, parity) < 0)
    return turned


def ray_votes(triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rays along each axis that say for or against each face as it is wound, two counts `[F]`.

    The first counts a ray's first and last face, which are seen from outside. The second goes by
    parity along rays that meet an even number of faces: they enter, leave, enter, leave.
    """
    count = len(triangles)
    normal = area_vectors(triangles)
    seen, parity = np.zeros(count), np.zeros(count)
    for axis in range(3):
        plane = [i for i in range(3) if i != axis]
        hits = [
            (face, pixel @ [RAYS, 1], np.einsum("nk,nk->n", weight, triangles[face, :, axis]))
            for face, pixel, weight in rasterise((triangles[..., plane] + 1) * (RAYS / 2), RAYS)
        ]
        if not hits:
            continue
        face, ray, depth = map(np.concatenate, zip(*hits))
        order = np.lexsort((depth, ray))
        face, ray = face[order], ray[order]
        _, start, length = np.unique(ray, return_index=True, return_counts=True)
        rank = np.arange(len(ray)) - np.repeat(start, length)
        length = np.repeat(length, length)
        facing = np.sign(normal[face, axis])
        entering = np.where(rank % 2 == 0, -facing, facing)
        parity += np.bincount(face, entering * (length % 2 == 0), count)
        seen += np.bincount(face, -facing * (rank == 0) + facing * (rank == length - 1), count)
    return seen, parity


def sheets(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Which faces `[F]` have no inside: those of patches that separate no inside from an outside.

    Winding numbers on the two sides of a face are near 0 and 1 on a solid (or 1 and 2, ... where
    solids overlap), and near -1/2 and 1/2 on a sheet in free space. A patch is a sheet where that
    is so on most of its area.
    """
    _, patch = consistent_winding(faces)
    alone = _ajar(vertices, faces) > 0.25
    return _sum(patch, areas(vertices[faces]) * np.where(alone, 1, -1)) > 0


def enclosing(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Which faces `[F]` enclose a solid: those of closed patches, and of others around which the
    winding numbers are nearly whole on nearly all of their area, as a scan with small holes is and
    an open box is not."""
    _, patch = consistent_winding(faces)
    area = areas(vertices[faces])
    tight = _sum(patch, area * (_ajar(vertices, faces) < TIGHT))
    return _closed(faces, patch) | (tight >= TIGHT_SHARE * _sum(patch, area))


def _ajar(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """How far the winding numbers on the two sides of each face `[F]` are from whole ones, 0 on a
    solid to 1/2 on a sheet in free space."""
    triangles = vertices[faces]
    centre, step = triangles.mean(1), STEP * normals(triangles)
    both = np.concatenate([centre - step, centre + step])
    middle = winding_number(vertices, faces, both).reshape(2, -1).mean(0)
    return np.abs(middle - np.floor(middle) - 0.5)


def _sum(patch: np.ndarray, values: np.ndarray) -> np.ndarray:
    """For each face, the sum over its patch."""
    return np.bincount(patch, values)[patch]


def _closed(faces: np.ndarray, patch: np.ndarray) -> np.ndarray:
    """Whether the patch of each face has no boundary."""
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]], 2).reshape(-1, 2)
    keyed = np.concatenate([np.repeat(patch, 3)[:, None], edges], 1)
    unique, count = np.unique(keyed, axis=0, return_counts=True)
    return np.bincount(unique[:, 0], count != 2, patch.max() + 1)[patch] == 0
