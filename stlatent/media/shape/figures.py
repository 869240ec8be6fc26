"""How close decoded shapes are to the original, prefix by prefix."""

from __future__ import annotations

from dataclasses import replace

from ...geometry.cube import Placement
from ...geometry.extract import mesh_from_field
from ...geometry.field import Field
from ...geometry.metrics import colour_psnr, compare_surfaces, volume_iou
from ..figures import Figure

EDGE = 2.0  # of the cube
THRESHOLDS = (0.005, 0.01, 0.02)  # of the F-scores, in edges of the cube
POINTS = 30_000  # on either surface

FIGURES = (
    Figure("volume_iou", "Volume IoU", 3, least_gain=0.005),
    Figure("chamfer_percent", "Chamfer distance, % of the edge", 3),
    *(Figure(f"f_score_{i}", f"F-score at {t:.1%}", 3) for i, t in enumerate(THRESHOLDS)),
    Figure("normal_consistency", "Normal consistency", 3),
    Figure("colour_psnr_db", "Colour PSNR, dB", 2),
)
DEFINITIONS = {
    "Volume IoU": "Voxels inside both shapes over voxels inside either; the mean over shapes.",
    "Chamfer distance": (
        f"Mean distance from {POINTS:,} points on one surface to the nearest of as many on the "
        "other, both ways, not squared, in per cent of the cube’s edge; of a decoded shape of "
        "which nothing is inside there is none."
    ),
    "F-score": (
        "Harmonic mean of the shares of points of either surface that lie within a distance of the "
        "other, which is given in per cent of the cube’s edge."
    ),
    "Normal consistency": (
        "Mean absolute cosine between the normals of nearest points, both ways (Mescheder et al. "
        "2019)."
    ),
    "Colour PSNR": "Where the original has colours, within a voxel of its surface.",
}


def compared(original: Field, other: Field) -> tuple[float, ...]:
    """The `FIGURES` of one field against another, both as they fill the cube; NaN where there is no
    surface, or no colour."""
    original, other = (replace(field, placement=Placement()) for field in (original, other))
    iou = volume_iou(original.distance, other.distance)
    colour = colour_psnr(original, other.colour) if other.known.any() else float("nan")
    meshes = mesh_from_field(original), mesh_from_field(other)
    if not all(len(mesh.faces) for mesh in meshes):
        return iou, float("nan"), *(0.0 for _ in THRESHOLDS), float("nan"), colour
    found = compare_surfaces(*meshes, [t * EDGE for t in THRESHOLDS], POINTS)
    chamfer = 100 * found.chamfer / EDGE
    return iou, chamfer, *found.f_scores.values(), found.normal_consistency, colour
