"""A triangle mesh with its colours, as one value: what every mesh file becomes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .extras import needed


@dataclass(frozen=True)
class Surface:
    """Triangles and the colour of every point on them.

    A colour is the colour of the corners, interpolated, times that of the texture, in linear light
    (glTF 2.0, 3.9.2), given back as it is shown on a screen (sRGB).

    Attributes:
        vertices: float64 `[V, 3]`, in the asset's own units; corners that meet share one.
        faces: int64 `[F, 3]`.
        corners: colour of each face's corners, float32 `[F, 3, 3]` in [0, 1], linear light.
        uv: texture coordinates of each face's corners, float32 `[F, 3, 2]`; v points up.
        texture: index of each face's texture, int `[F]`; -1 for none.
        coloured: whether anything is known about a face's colour, bool `[F]`.
        textures: uint8 pictures `[H, W, 3]`, sRGB.
    """

    vertices: np.ndarray
    faces: np.ndarray
    corners: np.ndarray
    uv: np.ndarray
    texture: np.ndarray
    coloured: np.ndarray
    textures: tuple[np.ndarray, ...]

    @property
    def triangles(self) -> np.ndarray:
        """Corners of the faces `[F, 3, 3]`."""
        return self.vertices[self.faces]

    def colours(self, face: np.ndarray, barycentric: np.ndarray) -> np.ndarray:
        """Colours `[n, 3]` in [0, 1], as shown on a screen, at points on faces `[n]`, `[n, 3]`."""
        light = np.einsum("nk,nkc->nc", barycentric, self.corners[face])
        uv = np.einsum("nk,nkc->nc", barycentric, self.uv[face])
        for i, picture in enumerate(self.textures):
            here = np.flatnonzero(self.texture[face] == i)
            if len(here):
                light[here] *= _look_up(picture, uv[here])
        return to_screen(light)


def to_light(screen: np.ndarray) -> np.ndarray:
    """sRGB values in [0, 1] to linear light (IEC 61966-2-1)."""
    return np.where(screen <= 0.04045, screen / 12.92, ((screen + 0.055) / 1.055) ** 2.4)


def to_screen(light: np.ndarray) -> np.ndarray:
    """Linear light in [0, 1] to sRGB values."""
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


LIGHT = to_light(np.arange(256) / 255).astype(np.float32)


def _look_up(picture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Linear light `[n, 3]` of a repeated picture between its four nearest pixels."""
    height, width = picture.shape[:2]
    x, y = uv[:, 0] * width - 0.5, (1 - uv[:, 1]) * height - 0.5
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    x, y = (x - left)[:, None], (y - top)[:, None]

    def at(row: np.ndarray, column: np.ndarray) -> np.ndarray:
        return LIGHT[picture[row % height, column % width]]

    above = at(top, left) * (1 - x) + at(top, left + 1) * x
    below = at(top + 1, left) * (1 - x) + at(top + 1, left + 1) * x
    return above * (1 - y) + below * y


def area_vectors(triangles: np.ndarray) -> np.ndarray:
    """Outward normals `[F, 3]` of triangles `[F, 3, 3]`, as long as twice their area."""
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    return np.cross(b - a, c - a)


def areas(triangles: np.ndarray) -> np.ndarray:
    """Areas `[F]` of triangles `[F, 3, 3]`."""
    return np.linalg.norm(area_vectors(triangles), axis=1) / 2


def normals(triangles: np.ndarray) -> np.ndarray:
    """Unit normals `[F, 3]` of triangles `[F, 3, 3]`; 0 of those without an area."""
    vector = area_vectors(triangles)
    return vector / np.maximum(np.linalg.norm(vector, axis=1, keepdims=True), np.finfo(float).tiny)


def weld(
    vertices: np.ndarray, faces: np.ndarray, step: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Join vertices within `step`; drop faces that lose a corner by it, and copies of faces.

    Returns the vertices, the faces, and the indices of the faces that were kept.
    """
    _, first, one = np.unique(
        np.round(vertices / step).astype(np.int64), axis=0, return_index=True, return_inverse=True
    )
    joined = one.reshape(-1)[faces]
    ordered = np.sort(joined, 1)
    proper = (np.diff(ordered, axis=1) > 0).all(1)
    _, kept = np.unique(ordered, axis=0, return_index=True)
    kept = np.sort(kept[proper[kept]])
    return vertices[first], joined[kept], kept


def pieces(vertices: np.ndarray, faces: np.ndarray) -> int:
    """Number of pieces that hang together at their vertices."""
    sparse, graph = needed("scipy.sparse"), needed("scipy.sparse.csgraph")
    ends = np.stack([faces[:, [0, 1]], faces[:, [1, 2]]]).reshape(-1, 2)
    links = sparse.coo_array(
        (np.ones(len(ends), bool), (ends[:, 0], ends[:, 1])), (len(vertices), len(vertices))
    )
    label = graph.connected_components(links, directed=False)[1]
    return len(np.unique(label[faces[:, 0]]))
