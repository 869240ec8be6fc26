"""What a unit of work may take of the size that a whole data set is limited to.

A unit has the share of the limit that its sources have of the bytes of all sources, so that nobody
has to know what others do. How many pixels these are is not known before they are read, so a unit
is read twice: first to count.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

from torch import Tensor

from ..bits.coding import BitBudget
from ..checkpoint import Model
from ..media.base import Medium
from ..media.codes import Code
from ..media.encoder import About
from .inputs import Input, fetch
from .job import Job
from .prefetch import prefetch
from .reader import Piece, Reader

FILE_BYTES, ENTRY_BYTES = 200, 100  # of safetensors beside names and content, at most


class Count:
    """Counts what would be encoded: a sink, its items and their encoders in one.

    Attributes:
        pixels: of all frames, as the model reads them.
        names: of the items.
    """

    def __init__(self) -> None:
        self.pixels, self.names = 0, []

    def item(self, about: About) -> Count:
        self.names.append(about.name)
        return self

    def push(self, x: Tensor) -> list[Code]:
        self.pixels += math.prod(x.shape[2:])
        return []

    def end(self, size: Sequence[int] = ()) -> list[Code]:
        return []

    def append(self, codes: Sequence[Code]) -> None:
        """Nothing is encoded."""

    def fail(self, source: str, stage: str, reason: str) -> None:
        """Whoever encodes will say so."""


def unit_budget(
    medium: Medium, model: Model, job: Job, reader: Reader, inputs: Sequence[Input], folder: Path
) -> BitBudget:
    """The budget of a unit of these inputs.

    Args:
        reader: of its own, which reads nothing else meanwhile.
        folder: where copies of inputs may lie for a while.
    """
    count, limit = Count(), job.record.header.coding.target.size_bytes
    encoder = medium.encoder(model, job.record.options, count, False, lambda size: count)
    with closing(prefetch(fetch(inputs, folder), 1)) as local:
        for event in reader.read(local):
            if isinstance(event, Piece):
                encoder.piece(event.source, event.about, event.values)
    encoder.finish()
    own = sum(one.bytes for one in inputs)
    share = limit * own // max(job.record.source_bytes or 0, 1)
    share -= len(job.record.header.levels) * _file_bytes(count.names)
    return BitBudget(8 * max(share, 0) / max(count.pixels, 1))


def _file_bytes(names: Iterable[str]) -> int:
    """That a file of a level has beside what it holds of these items, at most."""
    return FILE_BYTES + sum(ENTRY_BYTES + len(json.dumps(name)) for name in names)
