"""Meshes through a sparse model, into the items of a data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from ...geometry.field import FieldSettings
from ...geometry.near import band_from_surface
from ...geometry.read import read_surface
from ...geometry.whereabouts import Shape
from ...model.gaussian import BITS_PER_NAT
from ...sparse.blocks import Blocks
from ..codes import Code
from ..encoder import About, Named, SourceEncoder
from .near import blocks_of


@dataclass(frozen=True)
class NearPlan:
    """How meshes are read.

    Attributes:
        settings: `FieldSettings` as plain values.
        side: voxels per edge of a block.
    """

    module: ClassVar[str] = __name__

    settings: dict
    side: int


def read(request: dict) -> Iterator[tuple[dict, np.ndarray]]:
    """The shape of a file: what is known of it, and float32 `[K, 3 + side^3]`, of every block its
    place and its values."""
    settings = FieldSettings(**request["settings"])
    band = band_from_surface(read_surface(Path(request["path"])), settings)
    blocks = blocks_of(band, request["side"])
    about = {
        "start": 0,
        "resolution": band.resolution,
        "band_voxels": band.band_voxels,
        "placement": band.placement.model_dump(mode="json"),
        "route": band.route.model_dump(mode="json"),
    }
    yield about, torch.cat([blocks.index[:, 1:].float(), blocks.values.flatten(1)], 1).numpy()


def read_blocks(about: Mapping[str, Any], values: np.ndarray) -> Blocks:
    """What the reader gives, as one shape."""
    side = round((values.shape[1] - 3) ** (1 / 3))
    index = np.insert(values[:, :3].astype(np.int64), 0, 0, axis=1)
    blocks = values[:, 3:].reshape(-1, side, side, side).copy()
    return Blocks(torch.from_numpy(index), torch.from_numpy(blocks), about["resolution"])


class NearEncoder(SourceEncoder):
    """Encodes meshes, one after the other."""

    def encode(self, source: Named, about: Mapping[str, Any], values: np.ndarray) -> int:
        where = Shape(**{name: about[name] for name in Shape.model_fields})
        item = self.sink.item(About(source.name, source.name, 0, "mesh", shape=where))
        latents = self.model.encode(read_blocks(about, values).to(self.device))
        bits = [BITS_PER_NAT * nats[0].double().cpu() for nats in latents.kl]
        grids = self.model.grids(latents)
        item.append([Code(z[0].cpu(), b) for z, b in zip(grids, bits, strict=True)])
        item.end(latents.size)
        return 1
