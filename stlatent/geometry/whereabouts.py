"""What the latents of a shape do not hold."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field as Limit

from ..model.config import Strict
from .cube import Placement
from .field import Route


class Shape(Strict):
    """Where a shape lies, and how its field was made.

    Attributes:
        placement: the cube [-1, 1]^3 in the asset's own coordinates.
        band_voxels: distance at which the field is truncated, in voxels.
        route: how the field came about.
    """

    placement: Placement
    band_voxels: Annotated[float, Limit(gt=0, allow_inf_nan=False)]
    route: Route
