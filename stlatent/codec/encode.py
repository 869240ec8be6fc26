"""A folder of videos and pictures -> a data set of multi-level latents."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tqdm.contrib.logging import logging_redirect_tqdm

from ..ladder import Ladder
from .device import native_precision
from .inputs import find_inputs, suitable_sources  # noqa: F401
from .job import EncodeOptions, Job, check_free, read_job
from .manifest import FAILED, Failure, Header
from .place import Place
from .preview import write_preview
from .ray_pool import RayPool
from .reader import Reader
from .replace import Replacement
from .scratch import scratch
from .summary import LevelSummary, level_summaries, merged, table
from .team import Team
from .tiles import check_side
from .worker import copies, encode_units, read_plan, running


@dataclass(frozen=True)
class EncodeResult:
    """What one call of `encode_folder` did, and what the data set holds now.

    Attributes:
        sources: that this call went through.
        frames: that it encoded.
        seconds: that it took.
        items: of the data set, or of the part of it that is done.
        failed: sources that are missing in it.
        left: units of work that are left to other processes.
        levels: of the data set, coarsest first.
    """

    out: str
    sources: int
    frames: int
    seconds: float
    items: int
    failed: tuple[Failure, ...]
    left: int
    levels: tuple[LevelSummary, ...]

    def __str__(self) -> str:
        rate = self.frames / self.seconds
        done = f"{self.sources} sources, {self.frames} frames, {rate:.1f} frames/s"
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
    team: Team = Team(),  # noqa: B008, it is a constant
    pool: RayPool | None = None,
    replace: bool = False,
    retry_failed: bool = False,
    limit_seconds: float = 120.0,
) -> EncodeResult:
    """Encode every video and picture below `root` with `model`, on the device where it lies.

    `out` becomes a job: the same call goes on after whatever has interrupted it, re-does nothing
    that is done, and gives the same data set, byte for byte. Videos of any length go through in
    constant memory. A child process decodes the next frames while the network is busy with these;
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
    part = team.part(shard)
    with Reader(read_plan(model, options), limit_seconds) as reader:
        check_free(Place(out), replace)
        job = _plan(model, root, Place(out), reference, options)
        swap = Replacement(job) if replace else None
        job = swap.job if swap else job
        team.wait()  # what lay there has been looked at by all, before anything changes
        with scratch(job.place, f"{part[0]}-of-{part[1]}") as job.place, logging_redirect_tqdm():
            job.begin(retry_failed)
            todo = job.todo(part, retry_failed)
            if pool:
                tally = pool.encode(model, job, todo, limit_seconds)
            else:
                tally = encode_units(model, job, reader, todo)
            team.wait()
            left = job.record.units - len(job.done())
            if team.first and not left and not job.complete():
                _finish(model, job, reader, root)
        team.wait()  # complete, and nobody is at work there any more
        if swap and not left:
            job = swap.settle(team)
    total = merged(job.records(), job.record.header)
    return EncodeResult(
        out=str(out),
        sources=tally.sources,
        frames=tally.frames,
        seconds=time.perf_counter() - start,
        items=total.items,
        failed=tuple(total.failed),
        left=left,
        levels=level_summaries(total, job.record.header),
    )


def _plan(
    model: Ladder, root: str | Path, place: Place, reference: str, options: EncodeOptions
) -> Job:
    """The job that is asked for, as it would be at `place`."""
    tile = check_side(options.tile, model.levels[0].stride[-2:])
    there = None
    with suppress(ValueError):  # of another version, which will be complained about, or replaced
        there = read_job(place)
    precision = options.precision or (there and there.options.precision)
    precision = precision or native_precision(next(model.parameters()).device)
    options = options.model_copy(update={"precision": precision, "tile": tile})
    header = Header.of(model, reference, tile, options.dtype, options.std)
    return Job.plan(place, header, options, find_inputs(model, root))


def _finish(model: Ladder, job: Job, reader: Reader, root: str | Path) -> None:
    """Make the data set complete, or take it away if it holds nothing."""
    total = merged(job.records(), job.record.header)
    if not total.items:
        job.remove()
        first = total.failed[0]
        raise ValueError(
            f"nothing in {root} can be read (files tried: {len(total.failed)}); "
            f"the first, {first.name}: {first.reason}"
        )
    with copies(job.place) as folder, running(model, job.record.options):
        write_preview(model, job, reader, folder)
    job.finish(total)
