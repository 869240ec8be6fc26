"""A folder of sources of one medium -> a data set of multi-level latents."""

from __future__ import annotations

import time
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from tqdm.contrib.logging import logging_redirect_tqdm

from ..bits.bitstream import make_coding
from ..checkpoint import Model
from ..files import resumable
from ..media.base import Medium
from ..media.figures import PSNR
from ..model.device import native_precision
from ..store.codebooks import write_codebooks
from ..store.header import Header
from ..store.manifest import FAILED
from ..store.place import Place
from ..store.records import Failure
from ..store.summary import LevelSummary, level_summaries, merged, table
from .find import find_inputs, left_out
from .folder import check_free, remove_own
from .job import Job
from .latents import source_medium
from .options import TARGETS, EncodeOptions
from .preview import write_preview
from .ray_pool import RayPool
from .reader import Reader
from .record import read_job
from .replace import Replacement
from .scratch import scratch
from .team import Team
from .worker import Tally, copies, encode_units, running


@dataclass(frozen=True)
class EncodeResult:
    """What one call of `encode_folder` did, and what the data set holds now.

    Attributes:
        sources: that this call went through.
        frames: that it encoded, or other parts of sources.
        parts: what these are called.
        seconds: that it took.
        items: of the data set, or of the part of it that is done.
        failed: sources that are missing in it.
        left: units of work that are left to other processes.
        missed: names of items that are not as a target says, where one was given.
        levels: of the data set, coarsest first.
        limit_bytes: that the levels were to have at most in all.
        psnr_db: where it is lowest, see `Total`.
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
    missed: tuple[str, ...] = ()
    limit_bytes: int | None = None
    psnr_db: float | None = None

    def __str__(self) -> str:
        rate = self.frames / self.seconds
        done = f"{self.sources} sources, {self.frames} {self.parts}, {rate:.3g} {self.parts}/s"
        if not self.sources:
            done = f"nothing was left to do, {self.items} items are there"
        lines = [f"{self.out}: {done}", table(self.levels)]
        if self.failed:
            lines.append(f"left out: {len(self.failed)}, named with the reason in {FAILED}")
        if self.psnr_db is not None:
            lines.append(f"PSNR: {self.psnr_db:.2f} dB where it is lowest")
        if self.missed:
            lines.append(
                f"the target is out of reach in {len(self.missed)} of {self.items} items, such as "
                f"{self.missed[0]}; they are as near as the model comes"
            )
        size = sum(level.bytes for level in self.levels)
        if self.limit_bytes is not None and size > self.limit_bytes:
            lines.append(
                f"the limit of {self.limit_bytes:,} bytes is out of reach: {size:,} are what is "
                "left where next to nothing is told of any source; make them shorter or smaller"
            )
        if self.left:
            lines.append(f"not complete: {self.left} units are left to other shards")
        return "\n".join(lines)


def encode_folder(
    model: Model,
    root: str | Path,
    out: str | Path,
    reference: str,
    options: EncodeOptions | None = None,
    *,
    shard: tuple[int, int] = (0, 1),
    team: Team = Team(),  # noqa: B008, it is a constant
    pool: RayPool | None = None,
    replace: bool = False,
    retry_failed: bool = False,
    limit_seconds: float = 120.0,
) -> EncodeResult:
    """Encode every source of the medium of `model` below `root`, on the device where it lies.

    `out` becomes a job: the same call goes on after whatever has interrupted it, re-does nothing
    that is done, and gives the same data set, byte for byte. Sources that are long in time go
    through in constant memory. A child process reads the next ones while the network is busy;
    a source that cannot be read, or that crashes or hangs the child, costs nothing but a line in
    the log, the result and `failed.jsonl`.

    Args:
        root, out: folders, here or behind URLs that `fsspec` opens, such as `s3://bucket/latents`.
        reference: what to load the model by again; decoding looks it up.
        shard: `(i, n)`: do only the i-th of n equal parts of the work, counted from 0. Whoever
            finds all parts done makes the data set complete.
        team: processes that share this part of the work, and end together.
        pool: leave the work to the actors of a Ray cluster.
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
    part, medium = team.part(shard), source_medium(model, root)
    options = resolved(medium, options)
    if options.rate_weight is not None:
        model = model.at_rate(options.rate_weight)
    plan = medium.plan(options, next(model.parameters()).device)
    with Reader(plan, limit_seconds) as reader:
        check_free(Place(out), replace)
        job = _plan(medium, model, root, Place(out), reference, options)
        with Replacement(job, team) if replace else nullcontext() as swap:
            job = swap.job if swap else job
            team.wait()  # what lay there has been looked at by all, before anything changes
            name = f"{part[0]}-of-{part[1]}"
            with resumable(), scratch(job.place, name) as job.place, logging_redirect_tqdm():
                job.begin(retry_failed)
                todo = job.todo(part, retry_failed)
                if pool:
                    tally = pool.encode(medium, model, job, todo, limit_seconds)
                else:
                    tally = encode_units(medium, model, job, reader, todo)
                team.wait()
                left = job.record.units - len(job.done())
                if team.first and not left and not job.complete():
                    _finish(medium, model, job, reader, root)
            team.wait()  # complete, and nobody is at work there any more
            if swap and not left:
                job = swap.settle(team)
    return _result(out, job, medium, tally, start, left)


def resolved(medium: Medium, options: EncodeOptions) -> EncodeOptions:
    """The options with everything that is left open filled in.

    Raises:
        ValueError: one is not for sources of this medium.
    """
    targets = [word for name, word in TARGETS.items() if getattr(options, name) is not None]
    word = targets[0] if targets else "--entropy-code"
    if options.entropy_code and not medium.coded:
        raise ValueError(f"{word}: not for {medium.what}, which take a --dtype")
    if targets and PSNR not in medium.figures:
        raise ValueError(
            f"{word}: not for {medium.what}, which are measured in {medium.figures[0].title}"
        )
    return options.model_copy(update=medium.resolve(options))


def _plan(
    medium: Medium,
    model: Model,
    root: str | Path,
    place: Place,
    reference: str,
    options: EncodeOptions,
) -> Job:
    """The job that is asked for, as it would be at `place`."""
    there = None
    with suppress(ValueError):  # of another version, which will be complained about, or replaced
        there = read_job(place)
    coding = None
    if options.entropy_code:
        coding = make_coding(model, options.step, options.target, options.key_every)
    precision = options.precision or (there and there.options.precision)
    precision = precision or native_precision(next(model.parameters()).device)
    precision = "fp32" if coding else precision
    options = options.model_copy(update={"precision": precision})
    header = Header.of(model, reference, options.tile, options.dtype, options.std, coding)
    return Job.plan(place, header, options, left_out(find_inputs(medium, root), place, root))


def _result(
    out: str | Path, job: Job, medium: Medium, tally: Tally, began: float, left: int
) -> EncodeResult:
    """What came of a call, and what the data set holds after it."""
    total = merged(job.records(), job.record.header)
    return EncodeResult(
        out=str(out),
        sources=tally.sources,
        frames=tally.parts,
        parts=medium.parts,
        seconds=time.perf_counter() - began,
        items=total.items,
        failed=tuple(total.failed),
        left=left,
        levels=level_summaries(total, job.record.header),
        missed=tuple(total.missed),
        limit_bytes=job.record.options.size_limit,
        psnr_db=total.psnr_db,
    )


def _finish(medium: Medium, model: Model, job: Job, reader: Reader, root: str | Path) -> None:
    """Make the data set complete, or take away what was made of it if it holds nothing."""
    total = merged(job.records(), job.record.header)
    if not total.items:
        remove_own(job.place)
        first = total.failed[0]
        raise ValueError(
            f"nothing in {root} can be read (files tried: {len(total.failed)}); "
            f"the first, {first.name}: {first.reason}"
        )
    write_codebooks(job.place, job.record.header.tables(model))
    with copies(job.place) as folder, running(model, job.record.options):
        write_preview(medium, model, job, reader, folder)
    job.finish(total)
