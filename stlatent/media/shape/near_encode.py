"""Meshes through a sparse model, into the items of a data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ...checkpoint import Model
from ...geometry.whereabouts import Shape
from ...model.gaussian import BITS_PER_NAT
from ...sparse.blocks import Blocks
from ..codes import Code
from ..encoder import About, Named, Sink, SourceEncoder
from .near import as_blocks


class Coder(Protocol):
    """See `bits/blocks.py`."""

    def push(self, x: Blocks) -> list[Code]:
        """Of one shape, per level, its whole grid and its stream."""


def read_blocks(about: Mapping[str, Any], values: np.ndarray) -> Blocks:
    """What the reader gives, as one shape."""
    blocks = values[:, 3:].reshape(len(values), -1, *[about["side"]] * 3).copy()
    return as_blocks(values[:, :3], blocks, about["resolution"])


class NearEncoder(SourceEncoder):
    """Encodes meshes, one after the other.

    Args:
        coder: what entropy-codes a shape of some size; None where latents are stored themselves.
    """

    def __init__(
        self, model: Model, sink: Sink, coder: Callable[[Sequence[int]], Coder] | None = None
    ) -> None:
        super().__init__(model, sink)
        self.coder = coder

    def encode(self, source: Named, about: Mapping[str, Any], values: np.ndarray) -> int:
        where = Shape(**{name: about[name] for name in Shape.model_fields})
        item = self.sink.item(About(source.name, source.name, 0, "mesh", shape=where))
        blocks = read_blocks(about, values).to(self.device)
        size = (blocks.resolution,) * 3
        codes = self.coder(size).push(blocks) if self.coder else self._codes(blocks)
        item.append([code.sample(0) for code in codes])
        item.end(size)
        return 1

    def _codes(self, blocks: Blocks) -> list[Code]:
        latents = self.model.encode(blocks)
        bits = [BITS_PER_NAT * nats.double().sum(1).cpu() for nats in latents.kl]
        grids = self.model.grids(latents)
        return [Code(z.cpu(), b) for z, b in zip(grids, bits, strict=True)]
