"""Meshes through a sparse model, into the items of a data set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...geometry.whereabouts import Shape
from ...model.gaussian import BITS_PER_NAT
from ...sparse.blocks import Blocks
from ..codes import Code
from ..encoder import About, Named, SourceEncoder
from .near import as_blocks


def read_blocks(about: Mapping[str, Any], values: np.ndarray) -> Blocks:
    """What the reader gives, as one shape."""
    blocks = values[:, 3:].reshape(len(values), -1, *[about["side"]] * 3).copy()
    return as_blocks(values[:, :3], blocks, about["resolution"])


class NearEncoder(SourceEncoder):
    """Encodes meshes, one after the other."""

    def encode(self, source: Named, about: Mapping[str, Any], values: np.ndarray) -> int:
        where = Shape(**{name: about[name] for name in Shape.model_fields})
        item = self.sink.item(About(source.name, source.name, 0, "mesh", shape=where))
        latents = self.model.encode(read_blocks(about, values).to(self.device))
        bits = [BITS_PER_NAT * nats.double().sum().cpu() for nats in latents.kl]
        grids = self.model.grids(latents)
        item.append([Code(z[0].cpu(), b) for z, b in zip(grids, bits, strict=True)])
        item.end(latents.size)
        return 1
