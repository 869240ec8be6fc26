"""How volumes over time may be read."""

from __future__ import annotations

from ...model.config import Positive, Strict


class VolumesOptions(Strict):
    """What the latents of volumes depend on beside the model and the sources.

    Attributes:
        tile: cut larger volumes into overlapping tiles of so many voxels a side, at most; None is
            128, or what is next to it in the model's strides.
    """

    tile: Positive | None = None
