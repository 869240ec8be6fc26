"""What streams along time as it is read: chunk in, latents out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from ..model.ladder import Ladder
from ..model.passes import Encoded
from ..model.stream import State, encode_chunk, encode_end
from .codes import codes_of, on_cpu, stored
from .encoder import About, Named, Sink, SinkItem, SourceEncoder
from .source import Kind


@dataclass
class UnderWay:
    """A source: its item, what the network remembers of it, and how long it is so far."""

    item: SinkItem
    state: State | None = None
    count: int = 0


class ChunkEncoder(SourceEncoder):
    """Encodes sources of any length, one after the other, in constant memory. Their reader says of
    each chunk whether it is the `last`.

    Args:
        kind: of the items.
        enter: from a chunk as it is read to what the model reads, `[1, C, t, ...]`.
        rate: steps of time per second, where it is known.
    """

    def __init__(
        self,
        model: Ladder,
        sink: Sink,
        std: bool,
        kind: Kind,
        enter: Callable[[np.ndarray], Tensor],
        rate: float | None = None,
    ) -> None:
        super().__init__(model, sink, std)
        self.kind, self.enter, self.rate = kind, enter, rate
        self._source: UnderWay | None = None

    def encode(self, source: Named, about: Mapping[str, Any], values: np.ndarray) -> int:
        x = self.enter(values.copy()).to(self.device)
        if not x.shape[2]:
            raise ValueError("it holds nothing")
        if self._source is None:
            item = self.sink.item(About(source.name, source.name, 0, self.kind, fps=self.rate))
            self._source = UnderWay(item)
        this = self._source
        encoded, this.state = encode_chunk(self.model, x, this.state, stored)
        self._append(this, encoded)
        this.count += x.shape[2]
        if about["last"]:
            self._append(this, encode_end(self.model, this.state, stored)[0])
            this.item.end((this.count, *x.shape[3:]))
            self._source = None
        return x.shape[2]

    def _append(self, source: UnderWay, encoded: Encoded) -> None:
        if encoded.steps:  # else nothing has become complete
            codes = codes_of(encoded, self.std)
            source.item.append([on_cpu(code).sample(0) for code in codes])

    def fail(self, source: str, stage: str, reason: str) -> None:
        super().fail(source, stage, reason)
        if self._source and self._source.item.about.source == source:
            self._source = None
