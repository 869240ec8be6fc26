"""From what is read of sources to the items of a data set: what all media share."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from ..checkpoint import Model
from ..geometry.whereabouts import Scan, Shape
from ..model.device import out_of_memory
from .codes import Code
from .source import Kind

log = logging.getLogger(__name__)


class Named(Protocol):
    """A source, wherever it lies."""

    name: str
    kind: Kind


@dataclass(frozen=True)
class About:
    """What an item of a data set is, beside its latents; see `store.manifest.Item`."""

    name: str
    source: str
    start: int
    kind: Kind
    fps: float | None = None
    shape: Shape | None = None
    scan: Scan | None = None


class SinkItem(Protocol):
    """The latents of one item under way."""

    about: About

    def append(self, codes: Sequence[Code]) -> None:
        """Add a piece, per level, without a batch; ValueError if it cannot be stored."""

    def end(self, size: Sequence[int]) -> object:
        """It is complete; `size` is that of the input, along the axes of the domain."""


class Sink(Protocol):
    """Where items go."""

    def item(self, about: About) -> SinkItem:
        """A new item, to be filled."""

    def fail(self, source: str, stage: str, reason: str) -> object:
        """Forget what came of a source, and record why it is missing."""


class SourceEncoder(ABC):
    """Puts sources through a model, one after the other, and into `sink`.

    A source that cannot be encoded is named in the log and in the sink; the others go on.

    Args:
        std: whether the posteriors' standard deviations are stored, too.
    """

    too_large: ClassVar[str] = "it is too large for the memory"

    def __init__(self, model: Model, sink: Sink, std: bool = False) -> None:
        self.model, self.sink, self.std = model, sink, std
        self.device = next(model.parameters()).device
        self._lost: set[str] = set()

    def piece(self, source: Named, about: Mapping[str, Any], values: np.ndarray) -> int:
        """Take the next part of a source as its reader gives it; how many of the medium's parts
        have been encoded. `values` last until the next part is asked for."""
        if source.name not in self._lost:
            with self.failing(source.name):
                return self.encode(source, about, values)
        return 0

    @abstractmethod
    def encode(self, source: Named, about: Mapping[str, Any], values: np.ndarray) -> int:
        """The same; a ValueError is why this source is left out."""

    def finish(self) -> None:  # noqa: B027  (of most media nothing waits)
        """Encode what still waits."""

    def fail(self, source: str, stage: str, reason: str) -> None:
        """Leave a source out, and all that has come of it."""
        if source in self._lost:
            return
        log.warning("left out %s: %s", source, reason)
        self._lost.add(source)
        self.sink.fail(source, stage, reason)

    @contextmanager
    def failing(self, *sources: str) -> Iterator[None]:
        """What goes wrong inside is the matter of these sources alone."""
        try:
            yield
            return
        except ValueError as error:
            reason = str(error)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            reason = self.too_large
        for source in sources:
            self.fail(source, "encode", reason)
