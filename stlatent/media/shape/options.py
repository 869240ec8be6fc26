"""How meshes and volumes may be read."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ...geometry.cube import Axes
from ...geometry.field import FieldSettings
from ...geometry.volumes import MAX_VOXELS
from ...model.config import Positive, Strict


class ShapeOptions(Strict):
    """What the latents of shapes depend on beside the model and the sources.

    Attributes:
        fields: what meshes are turned into; None is what the model reads, 64 voxels per
            edge where that is any, or no meshes.
        refine: steps of gradient descent by which the latents of shapes are improved.
        turned: whether each mesh is also encoded turned and mirrored, in the 8 ways that leave the
            vertical alone.
        volume_axes: the direction in a volume's asset along which each of its axes runs.
        max_voxels: of a volume that is read; a larger one is named, and left out.
    """

    fields: FieldSettings | None = None
    refine: Annotated[int, Field(ge=0)] = 0
    turned: bool = False
    volume_axes: Axes = ("x", "y", "z")
    max_voxels: Positive = MAX_VOXELS
