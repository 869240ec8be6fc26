"""A folder of videos and pictures, or of meshes -> a data set of multi-level latents."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from ..ladder import Ladder
from .device import autocast, native_precision
from .inputs import Input, fetch
from .job import EncodeOptions, Job, check_free, read_job
from .manifest import FAILED, Failure, Header, UnitRecord
from .media import Medium, medium
from .place import Place
from .prefetch import prefetch
from .reader import Done, Piece, Reader
from .replace import Replacement
from .scratch import scratch
from .summary import LevelSummary, level_summaries, merged, table
from .unit import UnitWriter

FETCHED_AHEAD = 1  # inputs from elsewhere that are copied while another one is read


@dataclass(frozen=True)
class EncodeResult:
    """What one call of `encode_folder` did, and what the data set holds now.

    Attributes:
        sources: that this call went through.
        frames: that it encoded; of shapes, each is one.
        parts: what these are called.
        seconds: that it took.
        items: of the data set, or of the part of it that is done.
        failed: sources that are missing in it.
        left: units of work that are left to other processes.
        levels: of the data set, coarsest first.
    """

    out: str
    sources: int
    frames: int
    parts: str
    seconds: float
    items: int
    failed: tuple[Failure, ...]
    left: int
    levels: tuple[LevelSummary, ...]

    def __str__(self) -> str:
        rate = self.frames / self.seconds
        done = f"{self.sources} sources, {self.frames} {self.parts}, {rate:.1f} {self.parts}/s"
        lines = [f"{self.out}: {done}", table(self.levels)]
        if self.failed:
            lines.append(f"left out: {len(self.failed)}, named with the reason in {FAILED}")
        if self.left:
            lines.append(f"not complete: {self.left} units are left to other shards")
        return "\n".join(lines)


def encode_folder(
    model: Ladder,
    root: str | Path,
    out: str | Path,
    reference: str,
    options: EncodeOptions | None = None,
    *,
    shard: tuple[int, int] = (0, 1),
    replace: bool = False,
    retry_failed: bool = False,
    limit_seconds: float = 120.0,
) -> EncodeResult:
    """Encode every video and picture, or every mesh and volume, below `root` with `model`, on the
    device where it lies.

    `out` becomes a job: the same call goes on after whatever has interrupted it, re-does nothing
    that is done, and gives the same data set, byte for byte. Videos of any length go through in
    constant memory. A child process reads the next frames or meshes while the network is busy;
    a source that cannot be read, or that crashes or hangs the child, costs nothing but a line in
    the log, the result and `failed.jsonl`.

    Args:
        root, out: folders, here or behind URLs that `fsspec` opens, such as `s3://bucket/latents`.
        reference: what to load the model by again; decoding looks it up.
        shard: `(i, n)`: do only the i-th of n equal parts of the work, counted from 0. Whoever
            finds all parts done makes the data set complete.
        replace: put the result in the place of a former data set, which stays until this one is
            complete; only of this machine.
        retry_failed: try the sources again that failed in a job that is there.
        limit_seconds: after which a decoder that does not answer is given up.

    Raises:
        ValueError: nothing readable lies at `root`, it does not suit the model, or `out` holds
            something else: other things, another data set, or a job that differs.
    """
    options, start = options or EncodeOptions(), time.perf_counter()
    if not 0 <= shard[0] < shard[1]:
        raise ValueError(f"shard is {shard[0]}/{shard[1]}; the first of {shard[1]} is 0/{shard[1]}")
    kind = medium(model)
    options = kind.resolve(options)
    with Reader(kind.plan(options), limit_seconds) as reader:
        check_free(Place(out), replace)
        job = _plan(kind, root, Place(out), reference, options)
        swap = Replacement(job) if replace else None
        job = swap.job if swap else job
        with scratch(job.place, shard) as job.place, _folder(job.place) as folder:
            job.begin(retry_failed)
            run = _Run(kind, job, reader)
            with (
                logging_redirect_tqdm(),
                torch.inference_mode(),
                autocast(run.device, job.record.options.precision),
            ):
                run.encode(folder, job.todo(shard, retry_failed))
                left = job.record.units - len(job.done())
                if not left and not job.complete():
                    _finish(run, folder, root)
        if swap and not left:
            job = swap.settle()
    total = merged(job.records(), job.record.header)
    return EncodeResult(
        out=str(out),
        sources=run.sources,
        frames=run.frames,
        parts=kind.parts,
        seconds=time.perf_counter() - start,
        items=total.items,
        failed=tuple(total.failed),
        left=left,
        levels=level_summaries(total, job.record.header),
    )


class _Run:
    """What one process does of a job."""

    def __init__(self, kind: Medium, job: Job, reader: Reader) -> None:
        self.kind, self.job, self.reader = kind, job, reader
        self.device = next(kind.model.parameters()).device
        self.start, self.sources, self.frames, self.bytes = time.perf_counter(), 0, 0, 0

    def encode(self, folder: Path, todo: dict[int, UnitRecord | None]) -> None:
        """Do some units, each with what it held before, if sources of it are tried again."""
        inputs = {unit: self.job.inputs(unit, former) for unit, former in todo.items()}
        everything = list(chain.from_iterable(inputs.values()))
        with (
            closing(prefetch(fetch(everything, folder), FETCHED_AHEAD)) as local,
            tqdm(total=len(everything), unit="file", disable=None) as bar,
        ):
            events = self.reader.read(local)  # goes on decoding while a unit is written
            for unit, former in todo.items():
                with UnitWriter(self.job.place, self.job.record.header, unit, former) as writer:
                    self._unit(writer, events, inputs[unit], bar)
                    writer.commit([source.name for source in self.job.units[unit]])

    def _unit(
        self,
        writer: UnitWriter,
        events: Iterator[Piece | Done | Failure],
        inputs: Sequence[Input],
        bar: tqdm,
    ) -> None:
        encoder, parts = self.kind.unit(self.job.record.options, writer), self.kind.parts
        for source in inputs:
            for event in events:
                self.frames += encoder.take(event)
                if not isinstance(event, Piece):
                    break
                rate = self.frames / (time.perf_counter() - self.start)
                bar.set_postfix_str(f"{rate:.3g} {parts}/s, {self.bytes / 1e9:.2f} GB", False)
                bar.update(0)
            self.sources, self.bytes = self.sources + 1, self.bytes + source.bytes
            bar.update()
        encoder.finish()


def _plan(
    kind: Medium, root: str | Path, place: Place, reference: str, options: EncodeOptions
) -> Job:
    """The job that is asked for, as it would be at `place`."""
    there = None
    with suppress(ValueError):  # of another version, which will be complained about, or replaced
        there = read_job(place)
    precision = options.precision or (there and there.options.precision)
    precision = precision or native_precision(next(kind.model.parameters()).device)
    options = options.model_copy(update={"precision": precision})
    header = Header.of(kind.model, reference, options.tile, options.dtype, options.std)
    return Job.plan(place, header, options, kind.find(root))


def _finish(run: _Run, folder: Path, root: str | Path) -> None:
    """Make the data set complete, or take it away if it holds nothing."""
    job = run.job
    total = merged(job.records(), job.record.header)
    if not total.items:
        job.remove()
        first = total.failed[0]
        raise ValueError(
            f"nothing in {root} can be read (files tried: {len(total.failed)}); "
            f"the first, {first.name}: {first.reason}"
        )
    run.kind.preview(job, run.reader, folder)
    job.finish(total)


@contextmanager
def _folder(place: Place) -> Iterator[Path]:
    """Where copies of inputs may lie for a while."""
    if place.local is not None:
        yield place.local / place.scratch
    else:
        with tempfile.TemporaryDirectory(prefix="stlatent-") as folder:
            yield Path(folder)
