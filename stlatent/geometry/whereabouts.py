"""What the latents of a shape, or of a scan, do not hold."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field as Limit

from ..model.config import Scaling, Strict
from .cube import Placement
from .field import Route

Coordinate = Annotated[float, Limit(allow_inf_nan=False)]


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


Row = tuple[Coordinate, Coordinate, Coordinate, Coordinate]


class Scan(Strict):
    """Where the voxels of a scan lie, and which numbers they stand for.

    Attributes:
        affine: from indices of voxels to mm to the right, to the front and upwards, as NIfTI has
            it: three rows of four; None where it is not known.
        scaling: from what the model reads to the scan's own numbers, where each scan has a range of
            its own; None where all have the model's.
    """

    affine: tuple[Row, Row, Row] | None = None
    scaling: Scaling | None = None
