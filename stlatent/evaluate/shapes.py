"""How close decoded shapes are to the original, prefix by prefix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from ..geometry.cube import Placement
from ..geometry.extract import mesh_from_field
from ..geometry.field import Field, FieldSettings
from ..geometry.metrics import colour_psnr, compare_surfaces, volume_iou
from ..geometry.preview import shape_picture
from ..geometry.values import Values
from ..model.gaussian import BITS_PER_NAT
from ..model.latents import Latents
from .figures import Figure

EDGE = 2.0  # of the cube
THRESHOLDS = (0.005, 0.01, 0.02)  # of the F-scores, in edges of the cube
POINTS = 30_000  # on either surface
PIXELS = 256

FIGURES = (
    Figure("volume_iou", "Volume IoU", 3, least_gain=0.005),
    Figure("chamfer_percent", "Chamfer distance, % of the edge", 3, none="–"),
    *(Figure(f"f_score_{i}", f"F-score at {t:.1%}", 3) for i, t in enumerate(THRESHOLDS)),
    Figure("normal_consistency", "Normal consistency", 3, none="–"),
    Figure("colour_psnr_db", "Colour PSNR, dB", 2, none="–"),
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


@dataclass(frozen=True)
class ShapeQuality:
    """One shape decoded from one prefix; NaN where there is no surface, or no colour.

    Attributes:
        chamfer_percent: of the cube's edge.
        f_score_0, f_score_1, f_score_2: at the `THRESHOLDS`.
        numbers: latent numbers that the prefix holds.
        values: values of the input, channels included.
        bits: KL of the prefix's levels, posterior against prior.
    """

    volume_iou: float
    chamfer_percent: float
    f_score_0: float
    f_score_1: float
    f_score_2: float
    normal_consistency: float
    colour_psnr_db: float
    numbers: int
    values: int
    bits: float


def shape_quality(
    x: Tensor,
    latents: Latents,
    kl: Sequence[Tensor],
    prefixes: Sequence[Tensor],
    values: Values,
) -> tuple[ShapeQuality, ...]:
    """One shape `[1, C, X, Y, Z]` decoded from each prefix; `kl` in nats per level `[1, C_l]`."""
    original, numbers, bits, row = field_of(x, values), 0, 0.0, []
    for z, nats, decoded in zip(latents.levels, kl, prefixes, strict=True):
        numbers += z.numel()
        bits += nats.sum().item() * BITS_PER_NAT
        found = compared(original, field_of(decoded, values))
        row.append(ShapeQuality(*found, numbers, x.numel(), bits))
    return tuple(row)


def compared(original: Field, other: Field) -> tuple[float, ...]:
    """The `FIGURES` of one field against another, both as they fill the cube."""
    original, other = (replace(field, placement=Placement()) for field in (original, other))
    iou = volume_iou(original.distance, other.distance)
    colour = colour_psnr(original, other.colour) if other.known.any() else float("nan")
    meshes = mesh_from_field(original), mesh_from_field(other)
    if not all(len(mesh.faces) for mesh in meshes):
        return iou, float("nan"), *(0.0 for _ in THRESHOLDS), float("nan"), colour
    found = compare_surfaces(*meshes, [t * EDGE for t in THRESHOLDS], POINTS)
    chamfer = 100 * found.chamfer / EDGE
    return iou, chamfer, *found.f_scores.values(), found.normal_consistency, colour


def field_of(x: Tensor, values: Values) -> Field:
    """`[1, C, X, Y, Z]` as a field that fills the cube."""
    return values.to_field(x[0], FieldSettings().band_voxels)


def shape_views(x: Tensor, values: Values) -> np.ndarray:
    """uint8 `[1, H, W, 3]`: a view of the surface; white where nothing is inside."""
    return shape_picture(field_of(x, values), PIXELS)[None]
