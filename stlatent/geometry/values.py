"""What a model of shapes reads and gives: fields as tensors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..model.config import ModelConfig
from .cube import Placement
from .field import COLOUR_BAND_VOXELS, Field, Route

CHANNELS = (1, 4)  # distance; distance, r, g, b
PLAIN = 0.5  # of shapes without any colour: a light grey, which no colour of 8 bits is


@dataclass(frozen=True)
class Values:
    """Fields as `[C, X, Y, Z]` in [-1, 1]: the distance, or 1 inside and -1 outside, then colours.

    An unknown colour is 0 in all three channels, which no colour of 8 bits is; a shape without any
    is plain by its surface, so that it comes back so.
    """

    coloured: bool
    occupancy: bool

    @classmethod
    def of(cls, model: ModelConfig) -> Values:
        """What a model over domain `voxel`, or one of triplanes with a field, reads.

        Raises:
            ValueError: it has another domain or number of channels.
        """
        volumes = len(model.axes.space) == 3 and not model.axes.has_time
        if not (volumes or model.field) or model.read_channels not in CHANNELS:
            raise ValueError(
                f"a model of domain '{model.domain}' with {model.channels} channels reads no "
                "shapes; give domain voxel and 1 channel (distance) or 4 (distance, r, g, b), "
                "or domain triplane and a field"
            )
        return cls(model.read_channels == 4, model.likelihood.kind == "occupancy")

    def from_field(self, field: Field) -> Tensor:
        """float32 `[C, X, Y, Z]`."""
        first = np.where(field.inside, np.float32(1), np.float32(-1))
        first = first if self.occupancy else field.distance
        if not self.coloured:
            return torch.from_numpy(first[None])
        plain = by_surface(field.distance, field.band_voxels) * np.float32(PLAIN)
        colour = field.colour if field.known.any() else [plain] * 3
        return torch.from_numpy(np.stack([first, *colour]))

    def to_field(
        self,
        values: Tensor,
        band_voxels: float,
        placement: Placement | None = None,
        route: Route | None = None,
    ) -> Field:
        """A decoded shape; of occupancies, the distance is only right in its sign."""
        array = values.detach().float().cpu().numpy().clip(-1, 1)
        distance = -array[0] if self.occupancy else array[0]
        colour = array[1:] if self.coloured else np.zeros((3, *distance.shape), np.float32)
        known = by_surface(distance, band_voxels) & (colour != 0).any(0) & (colour != PLAIN).any(0)
        colour = colour * known
        return Field(
            distance, colour, known, band_voxels, placement or Placement(), route or Route()
        )


def by_surface(distance: np.ndarray, band_voxels: float) -> np.ndarray:
    """Where a colour means something, bool `[X, Y, Z]`."""
    return np.abs(distance) * band_voxels < COLOUR_BAND_VOXELS
