"""How the child of `jobs/reader.py` reads meshes and volumes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from ...geometry.cube import Placement
from ...geometry.field import Field, FieldSettings
from ...geometry.read import read_surface
from ...geometry.resample import volume_field
from ...geometry.volumes import MAX_VOXELS, VOLUME_SUFFIXES, read_volumes
from ...geometry.voxelise import field_from_surface


@dataclass(frozen=True)
class ShapePlan:
    """How meshes and volumes are read.

    Attributes:
        settings: `FieldSettings` as plain values.
        volume_axes: the direction in a volume's asset along which each of its axes runs.
        max_voxels: of a volume.
    """

    module: ClassVar[str] = __name__

    settings: dict
    volume_axes: tuple[str, str, str] = ("x", "y", "z")
    max_voxels: int = MAX_VOXELS


def read(request: dict) -> Iterator[tuple[dict, np.ndarray]]:
    """The shapes of a file: what is known of each, and float32 `[4, X, Y, Z]`: distance, colour.

    `start` is the number of a volume in its file, of which there are `count`; the others are
    attributes of `Field`.
    """
    path, settings = Path(request["path"]), FieldSettings(**request["settings"])
    if path.suffix.lower() not in VOLUME_SUFFIXES:
        field = field_from_surface(read_surface(path), settings)
        yield _about(field, 0, 1), _array(field)
        return
    placement = Placement(axes=tuple(request["volume_axes"]))
    limit = request["max_voxels"]
    volumes = read_volumes(path, settings.band_voxels, placement, limit)
    for index in range(len(volumes))[: request["first"]]:
        field = volume_field(volumes, index, settings)
        yield _about(field, index, len(volumes)), _array(field)


def _about(field: Field, start: int, count: int) -> dict:
    return {
        "start": start,
        "count": count,
        "band_voxels": field.band_voxels,
        "placement": field.placement.model_dump(mode="json"),
        "route": field.route.model_dump(mode="json"),
    }


def _array(field: Field) -> np.ndarray:
    return np.concatenate([field.distance[None], field.colour])
