"""Volumes brought to another resolution and direction."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .cube import Placement, by_slab, sample
from .field import Field, FieldSettings
from .volumes import Volumes


def volume_field(volumes: Volumes, index: int, settings: FieldSettings) -> Field:
    """One of the volumes of a file as a field of `settings.resolution`.

    It is the distance that is interpolated, linearly, so that walls one voxel thick survive.

    Raises:
        ValueError: its distances are truncated too near the surface for so coarse a grid.
    """
    own = volumes[index]
    finer = settings.resolution / max(own.distance.shape)  # new voxels per old one
    if own.route.source == "occupancy" and finer < 1:
        own = replace(volumes, band_voxels=settings.band_voxels / finer)[index]
    reach = own.band_voxels * finer
    if reach < settings.band_voxels * 0.999:
        raise ValueError(
            f"distances reach {reach:.2g} voxels of a grid of {settings.resolution}; "
            f"{settings.band_voxels:g} are needed: give a finer grid, or occupancies"
        )
    grid = (settings.resolution,) * 3
    if own.distance.shape == grid:
        return own
    whole = _cube(own.distance)
    distance = by_slab(lambda centres, _: sample(whole, centres), grid)
    distance = np.clip(distance * (reach / settings.band_voxels), -1, 1).astype(np.float32)
    none = np.zeros(grid, bool)
    colour = np.zeros((3, *grid), np.float32)
    return Field(distance, colour, none, settings.band_voxels, own.placement, own.route)


def straightened(field: Field) -> Field:
    """The same field with the axes of its cube along those of the asset."""
    order = [int(np.flatnonzero(row)[0]) for row in field.placement.turn.T]  # cube axis of each
    back = [i for i, axis in enumerate(order) if field.placement.turn[axis, i] < 0]

    def turned(volume: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(np.flip(volume.transpose(order), back))

    placement = Placement(scale=field.placement.scale, offset=field.placement.offset)
    return replace(
        field,
        distance=turned(field.distance),
        colour=np.stack([turned(channel) for channel in field.colour]),
        known=turned(field.known),
        placement=placement,
    )


def _cube(distance: np.ndarray) -> np.ndarray:
    """A volume in the middle of a cube as large as its longest axis, with outside around it."""
    free = [max(distance.shape) - n for n in distance.shape]
    margins = [(n // 2, n - n // 2) for n in free]
    return np.pad(distance, margins, constant_values=1.0)
