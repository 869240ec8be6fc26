"""How close two shapes are: volumes, surfaces and colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import trimesh

from .band import BLOCK, Band
from .extras import needed
from .field import Field

PEAK = 255.0
GREY = np.full((BLOCK, BLOCK, BLOCK, 3), PEAK / 2)  # of a block that is not there


def volume_iou(a: np.ndarray, b: np.ndarray) -> float:
    """Voxels inside both over voxels inside either; 1 where both are empty.

    Args:
        a, b: distances of one shape, negative inside.
    """
    if a.shape != b.shape:
        raise ValueError(
            f"volumes have shapes {list(a.shape)} and {list(b.shape)}; they must agree"
        )
    either = np.count_nonzero((a < 0) | (b < 0))
    return float(np.count_nonzero((a < 0) & (b < 0)) / either) if either else 1.0


def colour_psnr(reference: Field, colour: np.ndarray, reach_voxels: float = 1.0) -> float:
    """PSNR in dB, after rounding to 8 bits, of colours near the surface of a reference.

    Args:
        reference: taken where its colour is known, at most `reach_voxels` from its surface.
        colour: `[3, X, Y, Z]` in [-1, 1].

    Returns:
        Infinite where the pixels are equal, NaN where no colour of the reference is known.
    """
    here = _shown(reference, reach_voxels)
    a, b = (np.round((c[:, here].clip(-1, 1) + 1) * (PEAK / 2)) for c in (reference.colour, colour))
    return _psnr(a, b)


def band_colour_psnr(reference: Band, other: Band, reach_voxels: float = 1.0) -> float:
    """The same of bands of one resolution; where the other knows no colour, its is a mid-grey."""
    here = _shown(reference, reach_voxels)
    row = other.table[tuple(reference.blocks.T)]
    found = np.append(np.where(other.known[..., None], other.colour, PEAK / 2), [GREY], 0)[row]
    return _psnr(reference.colour[here], found[here])


def _shown(reference: Field | Band, reach_voxels: float) -> np.ndarray:
    """Where a reference has colours to compare."""
    return (np.abs(reference.distance) * reference.band_voxels <= reach_voxels) & reference.known


def _psnr(a: np.ndarray, b: np.ndarray) -> float:
    if not a.size:
        return float("nan")
    error = np.square(a - b, dtype=np.float64).mean()
    return float(10 * np.log10(PEAK**2 / error)) if error else float("inf")


@dataclass(frozen=True)
class SurfaceDistance:
    """Two surfaces compared at points spread evenly over them.

    Attributes:
        completeness: mean distance from points of the reference to the nearest of the other.
        accuracy: mean distance the other way.
        f_scores: by threshold: the harmonic mean of the shares of points of either surface that
            lie within it of the other.
        normal_consistency: mean absolute cosine between the normals of nearest points, both ways.
    """

    completeness: float
    accuracy: float
    f_scores: dict[float, float]
    normal_consistency: float

    @property
    def chamfer(self) -> float:
        """Mean of both distances, not squared, in the units of the meshes."""
        return (self.completeness + self.accuracy) / 2


def compare_surfaces(
    reference: trimesh.Trimesh,
    other: trimesh.Trimesh,
    thresholds: Sequence[float],
    points: int = 100_000,
    seed: int = 0,
) -> SurfaceDistance:
    """Chamfer distance, F-scores and normal consistency (as in Mescheder et al. 2019).

    Distances are between points: of equal surfaces they are not 0, but about half the square root
    of area / points.

    Args:
        thresholds: of the F-scores, in the units of the meshes.

    Raises:
        ValueError: a mesh is empty.
    """
    if not len(reference.faces) or not len(other.faces):
        raise ValueError("a surface without faces cannot be compared")
    (a, normal_a), (b, normal_b) = (
        _spread(mesh, points, seed + i) for i, mesh in enumerate((reference, other))
    )
    tree = needed("scipy.spatial").cKDTree
    to_b, nearest_b = tree(b).query(a)
    to_a, nearest_a = tree(a).query(b)
    cosines = [
        np.abs(np.einsum("nk,nk->n", normal_a, normal_b[nearest_b])).mean(),
        np.abs(np.einsum("nk,nk->n", normal_b, normal_a[nearest_a])).mean(),
    ]
    scores = {t: _f_score((to_a <= t).mean(), (to_b <= t).mean()) for t in thresholds}
    return SurfaceDistance(float(to_b.mean()), float(to_a.mean()), scores, float(np.mean(cosines)))


def _f_score(precision: float, recall: float) -> float:
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def _spread(mesh: trimesh.Trimesh, points: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points over a surface `[n, 3]`, with its normals there."""
    found, face = trimesh.sample.sample_surface(mesh, points, seed=seed)
    return np.asarray(found), mesh.face_normals[face]
