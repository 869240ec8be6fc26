"""What the latents of a shape do not hold."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field as Limit

from ..model.config import Strict
from .cube import Placement
from .field import Route


class Shape(Strict):
    """Where a shape lies, the distance at which it is truncated, and how its field was made."""

    placement: Placement
    band_voxels: Annotated[float, Limit(gt=0, allow_inf_nan=False)]
    route: Route
