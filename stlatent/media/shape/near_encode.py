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
from .encode import copies
from .near import as_blocks, turned
from .refine import refine_blocks


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
        std, refine, turned: see `ShapeEncoder`.
        coder: what entropy-codes a shape of some size; None where latents are stored themselves.
    """

    def __init__(
        self,
        model: Model,
        sink: Sink,
        std: bool = False,
        refine: int = 0,
        turned: bool = False,
        coder: Callable[[Sequence[int]], Coder] | None = None,
    ) -> None:
        super().__init__(model, sink, std)
        self.refine, self.turned, self.coder = refine, turned, coder

    def encode(self, source: Named, about: Mapping[str, Any], values: np.ndarray) -> int:
        where = Shape(**{name: about[name] for name in Shape.model_fields})
        blocks = read_blocks(about, values).to(self.device)
        shown = copies(About(source.name, source.name, 0, "mesh", shape=where), self.turned)
        for one, axes in shown:
            item, x = self.sink.item(one), turned(blocks, axes)
            size = (x.resolution,) * 3
            codes = self.coder(size).push(x) if self.coder else self._codes(x)
            item.append([code.sample(0) for code in codes])
            item.end(size)
        return len(shown)

    def _codes(self, blocks: Blocks) -> list[Code]:
        latents = self.model.encode(blocks)
        if self.refine:
            better = refine_blocks(self.model, blocks, latents, self.refine)
            latents = self.model.encode(blocks, self.model.given(better)).recentred()
        bits = [BITS_PER_NAT * nats.double().sum(1).cpu() for nats in latents.kl]
        grids = [z.cpu() for z in self.model.grids(latents)]
        stds = self.model.std_grids(latents) if self.std else []
        stds = [std.cpu() for std in stds] or [None] * len(grids)
        return [Code(z, b, std) for z, b, std in zip(grids, bits, stds, strict=True)]
