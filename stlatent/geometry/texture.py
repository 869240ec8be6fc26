"""Colours of a mesh as a picture: each triangle has its own corner of a texture."""

from __future__ import annotations

import numpy as np
import trimesh
from PIL import Image
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

from .cube import Placement
from .extract import Values, in_parts

MAX_SIZE = 8192  # pixels per edge of a texture
LEAST_TEXELS = 5


def bake_texture(
    mesh: trimesh.Trimesh, colour_at: Values, placement: Placement, texels: int = 6
) -> trimesh.Trimesh:
    """The same mesh with a texture in place of vertex colours.

    Two triangles share a square of `texels` x `texels`, a gap between them, so that nothing
    bleeds from one into another while a viewer shows the texture at its own size or larger.

    Args:
        mesh: in the asset's coordinates.
        colour_at: from points `[n, 3]` in the cube to colours `[n, 3]` in [-1, 1].
        placement: where the cube lies.
        texels: pixels per edge of a square, at least 5.

    Raises:
        ValueError: fewer texels, or a texture of more than 8192 pixels per edge.
    """
    squares = -(-len(mesh.faces) // 2)
    side = int(np.ceil(np.sqrt(squares)))
    if texels < LEAST_TEXELS:
        raise ValueError(f"texels is {texels}; give {LEAST_TEXELS} or more")
    if side * texels > MAX_SIZE:
        raise ValueError(
            f"{len(mesh.faces):,} triangles need a texture of {side * texels} pixels per edge, and "
            f"{MAX_SIZE} are the most: give a coarser resolution, or keep the colours at the "
            f"vertices"
        )
    i, j = (axis.ravel() for axis in np.indices((texels, texels)))
    i, j = i[i + j < texels - 1], j[i + j < texels - 1]  # of a square's lower triangle
    span = texels - 3  # from corner to corner; the texels beyond only serve interpolation
    weights = np.stack([1 - (i + j) / span, i / span, j / span], 1)
    points = np.einsum("tk,fkc->ftc", weights, mesh.triangles).reshape(-1, 3)
    colours = in_parts(colour_at, placement.to_cube(points))
    pixels = np.round((colours.clip(-1, 1) + 1) * 127.5).astype(np.uint8)

    picture = np.zeros((side * texels, side * texels, 3), np.uint8)
    at = _texel(np.arange(len(mesh.faces))[:, None], np.stack([i, j], 1), side, texels)
    picture[at[..., 1], at[..., 0]] = pixels.reshape(*at.shape[:2], 3)
    corners = np.array([[0, 0], [span, 0], [0, span]])
    uv = _texel(np.arange(len(mesh.faces))[:, None], corners, side, texels) + 0.5
    uv = uv.reshape(-1, 2) / (side * texels)
    uv[:, 1] = 1 - uv[:, 1]
    material = PBRMaterial(
        baseColorTexture=Image.fromarray(picture), metallicFactor=0.0, roughnessFactor=1.0
    )
    return trimesh.Trimesh(
        mesh.triangles.reshape(-1, 3),
        np.arange(3 * len(mesh.faces)).reshape(-1, 3),
        vertex_normals=mesh.vertex_normals[mesh.faces].reshape(-1, 3),
        visual=TextureVisuals(uv, material=material),
        process=False,
    )


def _texel(face: np.ndarray, offset: np.ndarray, side: int, texels: int) -> np.ndarray:
    """Column and row of texels of faces: odd ones lie upside down in the square of even ones."""
    square = face // 2
    turned = np.where((face % 2 == 1)[..., None], texels - 1 - offset, offset)
    return np.stack([square % side, square // side], -1) * texels + turned
