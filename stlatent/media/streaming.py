"""Media that go on in time and are read as they are: chunk in, latents out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from ..checkpoint import Model
from .base import Medium
from .coder import CoderFor, TiledEncoder
from .codes import Code
from .encoder import About, Named, Sink, SinkItem, SourceEncoder
from .options import SourceOptions


class Streaming(Medium[np.ndarray]):
    """A medium whose sources are read a chunk of steps at a time, float32, and whose reader says of
    each chunk whether it is the `last`; a part is some steps."""

    coded = True

    @abstractmethod
    def where(self, source: Named, about: Mapping[str, Any]) -> About:
        """What is known of an item beside its latents, from what its reader says."""

    @abstractmethod
    def enter(self, values: np.ndarray, about: Mapping[str, Any]) -> Tensor:
        """A chunk as it is read, as the model reads it `[1, C, *axes]`.

        Raises:
            ValueError: it does not suit the model.
        """

    def encoder(
        self,
        model: Model,
        options: SourceOptions,
        sink: Sink,
        std: bool,
        coder: CoderFor | None,
    ) -> ChunkEncoder:
        return ChunkEncoder(self, model, sink, std, coder, options.tile)


@dataclass
class UnderWay:
    """A source: its item, what encodes it, and how long it is so far."""

    item: SinkItem
    encoder: TiledEncoder
    count: int = 0


class ChunkEncoder(SourceEncoder):
    """Encodes sources of any length, one after the other, in constant memory.

    Args:
        coder: see `Medium.encoder`.
        tile: as for `TiledEncoder`.
    """

    def __init__(
        self,
        medium: Streaming,
        model: Model,
        sink: Sink,
        std: bool,
        coder: CoderFor | None,
        tile: int | None,
    ) -> None:
        super().__init__(model, sink, std)
        self.medium, self.coder, self.tile = medium, coder, tile
        self._source: UnderWay | None = None

    def encode(self, source: Named, about: Mapping[str, Any], values: np.ndarray) -> int:
        x, axes = self.medium.enter(values.copy(), about).to(self.device), self.model.domain
        steps, space = axes.of_time(x.shape[2:]), axes.of_space(x.shape[2:])
        if not steps:
            raise ValueError("it holds nothing")
        this = self._source = self._source or self._begin(source, about, space)
        _append(this.item, this.encoder.push(x))
        this.count += steps
        if about["last"]:
            _append(this.item, this.encoder.end())
            this.item.end(axes.size(this.count, space))
            self._source = None
        return steps

    def _begin(self, source: Named, about: Mapping[str, Any], size: Sequence[int]) -> UnderWay:
        item = self.sink.item(self.medium.where(source, about))
        if self.coder:
            return UnderWay(item, self.coder(size))
        return UnderWay(item, TiledEncoder(self.model, size, self.std, self.tile))

    def fail(self, source: str, stage: str, reason: str) -> None:
        super().fail(source, stage, reason)
        if self._source and self._source.item.about.source == source:
            self._source = None


def _append(item: SinkItem, codes: Sequence[Code]) -> None:
    """Add what became complete, if anything did."""
    if codes:
        item.append([code.sample(0) for code in codes])
