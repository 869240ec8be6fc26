"""What libigl computes for us: consistent winding, winding numbers, exact distances.

libigl is under the Mozilla Public License 2.0; its separate `igl.copyleft` is never imported.
"""

from __future__ import annotations

import numpy as np
from trimesh.remesh import subdivide_to_size

from .extras import needed

LONG = 0.25  # edges, in the cube [-1, 1]^3


def consistent_winding(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn faces so that neighbours agree, within patches that are joined by manifold edges.

    Returns whether each face `[F]` was turned, and its patch `[F]`.
    """
    turned, patch = needed("igl").bfs_orient(faces)
    return (turned != faces).any(1), patch


def winding_number(vertices: np.ndarray, faces: np.ndarray, points: np.ndarray) -> np.ndarray:
    """How often the surface winds around each point `[n]`: 1 inside, 0 outside a closed one.

    Fast winding numbers for triangle soups (Barill et al. 2018), in float32. Long triangles are
    divided first: they keep the tree that speeds it up from having small nodes.
    """
    vertices, faces = subdivide_to_size(vertices, faces, LONG)
    return needed("igl").fast_winding_number(vertices, faces, points)


def distance(vertices: np.ndarray, faces: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Exact distance from each point `[n]` to the nearest face."""
    return np.sqrt(needed("igl").point_mesh_squared_distance(points, vertices, faces)[0])


class Nearest:
    """The nearest point of a mesh, found in a tree of its faces: from points `[n, 3]` to distances
    `[n]`, faces `[n]` and places on them `[n, 3]`."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray) -> None:
        self.vertices, self.faces = vertices, faces
        self.triangles = vertices[faces]
        self.tree = needed("igl").AABB()
        self.tree.init(vertices, faces)

    def __call__(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        squared, face, spot = self.tree.squared_distance(self.vertices, self.faces, points)
        return np.sqrt(squared), face, spot
