"""Pictures of a mesh from all sides, without a display or OpenGL."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh

from ..files import writing
from .extract import mesh_from_field
from .field import Field
from .read import surface_of
from .scan import rasterise
from .surface import Surface, normals

BACKGROUND = 1.0
GREY = 0.72  # of surfaces without colour
BACK = (0.45, 0.05, 0.05)  # faces seen from behind
AMBIENT = 0.35
LIGHT = np.array([0.35, 0.55, 0.76])  # to the right, above, towards the viewer
OVERSAMPLED = 2  # pixels per edge of a pixel
TURN_SECONDS = 3


def turntable(
    shape: Surface | trimesh.Trimesh, views: int = 8, size: int = 256, elevation: float = 20.0
) -> np.ndarray:
    """Parallel views of a shape from all around its y axis, the first from +z.

    Back faces are dark red, so that wrong winding and holes are seen.

    Args:
        views: number of pictures, evenly spread over one turn.
        size: pixels per edge.
        elevation: degrees above the horizon.

    Returns:
        uint8 `[views, size, size, 3]`, a film of one turn as well.
    """
    surface = surface_of(shape) if isinstance(shape, trimesh.Trimesh) else shape
    triangles = surface.triangles
    low, high = surface.vertices.min(0), surface.vertices.max(0)
    triangles = (triangles - (low + high) / 2) / np.linalg.norm(high - low) * 2
    angles = np.arange(views) * (2 * np.pi / views)
    return np.stack([view(surface, triangles @ camera(a, elevation).T, size) for a in angles])


def write_turntable(shape: Surface | trimesh.Trimesh, path: str | Path, views: int = 24) -> None:
    """Write `turntable` as a `.webp` that turns once in `TURN_SECONDS`, again and again."""
    from PIL import Image

    first, *others = (Image.fromarray(picture) for picture in turntable(shape, views))
    each_ms = round(1000 * TURN_SECONDS / views)
    with writing(path) as partial:
        how = {"save_all": True, "append_images": others, "duration": each_ms, "loop": 0}
        first.save(partial, "webp", **how)


def shape_picture(field: Field, size: int = 192) -> np.ndarray:
    """One view of a field's surface, uint8 `[size, size, 3]`; white where nothing is inside."""
    mesh = mesh_from_field(field)
    if not len(mesh.faces):
        return np.full((size, size, 3), 255, np.uint8)
    return turntable(mesh, 1, size)[0]


def contact_sheet(pictures: np.ndarray, columns: int = 4) -> np.ndarray:
    """Pictures `[n, H, W, 3]` in rows: uint8 `[H', W', 3]`."""
    count, height, width, _ = pictures.shape
    rows = -(-count // columns)
    sheet = np.full((rows * columns, height, width, 3), 255, np.uint8)
    sheet[:count] = pictures
    sheet = sheet.reshape(rows, columns, height, width, 3)
    return sheet.swapaxes(1, 2).reshape(rows * height, columns * width, 3)


def camera(angle: float, elevation: float) -> np.ndarray:
    """Rows: right, up and towards the viewer, who stands `angle` radians from +z, and `elevation`
    degrees above the horizon."""
    tilt = np.radians(elevation)
    towards = [np.sin(angle) * np.cos(tilt), np.sin(tilt), np.cos(angle) * np.cos(tilt)]
    right = np.array([np.cos(angle), 0, -np.sin(angle)])
    return np.stack([right, np.cross(towards, right), towards])


def view(
    surface: Surface,
    triangles: np.ndarray,
    size: int,
    light: np.ndarray = LIGHT,
    background: float | np.ndarray = BACKGROUND,
) -> np.ndarray:
    """One picture of a surface, uint8 `[size, size, 3]`.

    Args:
        triangles: of the surface `[F, 3, 3]` in camera axes, the picture from -1 to 1.
        light: towards it, in camera axes `[3]`; as long as it is bright.
        background: in [0, 1]; a number, a colour, or `[H, W, 3]` with twice as many pixels a side.
    """
    fine = size * OVERSAMPLED
    face, weights = _nearest(triangles, fine)
    shown = face >= 0
    face, weights = face[shown], weights[shown]
    normal = normals(triangles)
    bright = AMBIENT + (1 - AMBIENT) * np.clip(normal @ light, 0, 1)
    colour = np.full((len(face), 3), GREY)
    coloured = surface.coloured[face]
    if coloured.any():
        colour[coloured] = surface.colours(face[coloured], weights[coloured])
    colour *= bright[face][:, None]
    colour[normal[face, 2] < 0] = BACK
    picture = np.broadcast_to(background, (fine, fine, 3)).reshape(-1, 3).astype(float)
    picture[shown] = np.minimum(colour, 1)
    picture = picture.reshape(size, OVERSAMPLED, size, OVERSAMPLED, 3).mean((1, 3))
    return np.round(picture * 255).astype(np.uint8)


def _nearest(triangles: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """For each pixel, row by row: the face nearest to the viewer (-1: none) and where on it."""
    flat = (triangles[..., :2] * [1, -1] + 1) * (size / 2)
    depth = np.full(size * size, -np.inf)
    nearest, weights = np.full(size * size, -1), np.zeros((size * size, 3))
    for face, pixel, weight in rasterise(flat, size):
        z = np.einsum("nk,nk->n", weight, triangles[face, :, 2])
        place = pixel[:, 1] * size + pixel[:, 0]
        order = np.argsort(z, kind="stable")  # so that the nearest of a pixel is written last
        order = order[z[order] > depth[place[order]]]
        place = place[order]
        depth[place], nearest[place], weights[place] = z[order], face[order], weight[order]
    return nearest, weights
