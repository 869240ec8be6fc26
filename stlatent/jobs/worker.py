"""Does units of a job, one after the other."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path

import torch
from tqdm import tqdm

from ..bits.blocks import BlockEncoder
from ..bits.coding import BitBudget
from ..bits.encoder import StreamEncoder
from ..checkpoint import Model
from ..media.base import Medium
from ..media.encoder import SourceEncoder
from ..model.device import autocast
from ..store.header import Header
from ..store.place import Place
from ..store.records import Failure, UnitRecord
from .budget import unit_budget
from .inputs import Input, fetch
from .job import Job
from .options import EncodeOptions
from .prefetch import prefetch
from .reader import Done, Piece, Reader
from .unit import UnitWriter

FETCHED_AHEAD = 1  # inputs from elsewhere that are copied while another one is read
PAUSE = 60.0  # seconds between two lines of progress, where there is no bar


@dataclass
class Tally:
    """What has been gone through: sources, their frames or shapes, and their bytes."""

    sources: int = 0
    parts: int = 0
    bytes: int = 0
    began: float = field(default_factory=time.perf_counter)
    told: float = field(default_factory=time.perf_counter)

    def show(self, bar: tqdm, parts: str) -> None:
        """Move the bar; where no terminal shows it, print a line now and then."""
        now = time.perf_counter()
        rate = f"{self.parts / (now - self.began):.3g} {parts}/s, {self.bytes / 1e9:.2f} GB"
        bar.set_postfix_str(rate, False)
        bar.update(self.sources - bar.n)
        if bar.disable and now - self.told > PAUSE:
            self.told = now
            done = f"{self.sources} of {bar.total} files, {self.parts} {parts}"
            bar.write(f"{done}: {rate}", file=sys.stderr)


def encode_units(
    medium: Medium,
    model: Model,
    job: Job,
    reader: Reader,
    todo: Mapping[int, UnitRecord | None],
    quiet: bool | None = None,
) -> Tally:
    """Do some units, each with what it held before, if sources of it are tried again.

    Args:
        quiet: show no bar; None is to show it on a terminal, and lines elsewhere.
    """
    inputs = {unit: job.inputs(unit, former) for unit, former in todo.items()}
    header, tables = job.record.header, job.record.header.tables(model)
    everything, tally = list(chain.from_iterable(inputs.values())), Tally()
    with (
        copies(job.place) as folder,
        running(model, job.record.options),
        closing(prefetch(fetch(everything, folder), FETCHED_AHEAD)) as local,
        tqdm(total=len(everything), unit="file", disable=quiet) as bar,
        _budgets(medium, model, job, reader, folder) as budgets,
    ):
        events = reader.read(local)  # goes on decoding while a unit is written
        for unit, former in todo.items():
            captions = {source.name: source.caption for source in job.units[unit]}
            with UnitWriter(job.place, header, unit, former, tables, captions) as writer:
                budget = budgets and budgets(inputs[unit])
                coder = _coder(model, header, budget)
                encoder = medium.encoder(model, job.record.options, writer, header.std, coder)
                for _ in _followed(encoder, events, inputs[unit], tally):
                    tally.show(bar, medium.parts)
                writer.commit([source.name for source in job.units[unit]])
    return tally


def _followed(
    encoder: SourceEncoder,
    events: Iterator[Piece | Done | Failure],
    inputs: Sequence[Input],
    tally: Tally,
) -> Iterator[None]:
    """Encodes the sources of one unit; a step is a piece, or the end of a source."""
    for source in inputs:
        for event in events:
            if isinstance(event, Failure):
                encoder.fail(event.name, event.stage, event.reason)
            if not isinstance(event, Piece):
                break
            tally.parts += encoder.piece(event.source, event.about, event.values)
            yield
        tally.sources, tally.bytes = tally.sources + 1, tally.bytes + source.bytes
        yield
    encoder.finish()


@contextmanager
def _budgets(
    medium: Medium, model: Model, job: Job, reader: Reader, folder: Path
) -> Iterator[Callable[[Sequence[Input]], BitBudget] | None]:
    """What says how many bits a unit of some inputs may take, where the size is limited."""
    coding = job.record.header.coding
    if coding is None or coding.target is None or coding.target.size_bytes is None:
        yield None
        return
    with Reader(reader.plan, reader.limit_seconds) as counter:
        yield lambda inputs: unit_budget(medium, model, job, counter, inputs, folder)


def _coder(
    model: Model, header: Header, budget: BitBudget | None
) -> Callable[[Sequence[int]], StreamEncoder | BlockEncoder] | None:
    """What entropy-codes a clip of some size, where the data set holds bits."""
    if header.coding is None:
        return None
    if model.domain.sparse:
        return partial(BlockEncoder, model, coding=header.coding)
    return partial(StreamEncoder, model, coding=header.coding, tile=header.tile, budget=budget)


@contextmanager
def running(model: Model, options: EncodeOptions) -> Iterator[None]:
    """What follows runs without gradients, in the precision of a job."""
    device = next(model.parameters()).device
    with torch.inference_mode(), autocast(device, options.precision):
        yield


@contextmanager
def copies(place: Place) -> Iterator[Path]:
    """Where copies of inputs may lie for a while."""
    if place.local is not None:
        yield place.local / place.scratch
    else:
        with tempfile.TemporaryDirectory(prefix="stlatent-") as folder:
            yield Path(folder)
