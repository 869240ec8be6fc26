"""How the child of `jobs/reader.py` reads meshes for a sparse model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from ...geometry.field import FieldSettings
from ...geometry.near import band_from_surface
from ...geometry.read import read_surface


@dataclass(frozen=True)
class NearPlan:
    """How meshes are read.

    Attributes:
        settings: `FieldSettings` as plain values.
        side: voxels per edge of a block.
        coloured: whether the model reads colours.
    """

    module: ClassVar[str] = __name__

    settings: dict
    side: int
    coloured: bool


def read(request: dict) -> Iterator[tuple[dict, np.ndarray]]:
    """The shape of a file: what is known of it, and float32 `[K, 3 + C side^3]`, of every block its
    place and its values."""
    settings = FieldSettings(**request["settings"])
    band = band_from_surface(read_surface(Path(request["path"])), settings)
    index, values = band.in_blocks(request["side"], request["coloured"])
    about = {
        "start": 0,
        "side": request["side"],
        "resolution": band.resolution,
        "band_voxels": band.band_voxels,
        "placement": band.placement.model_dump(mode="json"),
        "route": band.route.model_dump(mode="json"),
    }
    yield about, np.concatenate([index.astype(np.float32), values.reshape(len(index), -1)], 1)
