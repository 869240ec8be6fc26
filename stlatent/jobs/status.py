"""How far a job is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from ..media.registry import medium_for
from ..store.manifest import MANIFEST, UNITS, read_units, unit_file, units_done
from ..store.place import Place
from ..store.records import Failure, UnitRecord
from ..store.summary import merged
from .folder import JOB
from .record import read_job

RECENT = 32  # units from which the rate is taken
BREAK = 10  # times the usual time between two units: nobody was at work


@dataclass(frozen=True)
class JobStatus:
    """How far a job is.

    Attributes:
        done: sources in units that are done, the failed ones among them.
        frames: encoded so far, or other parts of sources.
        parts: what these are called.
        sources_per_second, frames_per_second: of the last units; None if there are too few.
        idle_seconds: since the last unit was done, or the job began.
        complete: whether the data set is.
        missed: items so far that are not as a target says, where one was given.
    """

    sources: int
    done: int
    units: int
    units_done: int
    frames: int
    parts: str
    failed: tuple[Failure, ...]
    sources_per_second: float | None
    frames_per_second: float | None
    idle_seconds: float
    complete: bool
    missed: int = 0

    def __str__(self) -> str:
        lines = [f"{f.name}: {f.stage}: {f.reason}" for f in self.failed]
        lines.append(
            f"{self.done} of {self.sources} sources done ({self.units_done} of {self.units} units)"
            f", {len(self.failed)} failed, {self.sources - self.done} left"
        )
        if self.missed:
            lines.append(f"the target is out of reach in {self.missed} items so far")
        if self.complete:
            return "\n".join([*lines, "complete"])
        what = "last unit done" if self.units_done else "no unit is done yet; begun"
        ago = f"{what} {_duration(self.idle_seconds)} ago"
        if self.sources_per_second is None:
            return "\n".join([*lines, ago])
        left = _duration((self.sources - self.done) / self.sources_per_second)
        rate = f"{self.sources_per_second:.3g} sources/s"
        rate += f", {self.frames_per_second:.3g} {self.parts}/s"
        return "\n".join([*lines, f"{rate}, about {left} left; {ago}"])


def job_status(path: str | Path) -> JobStatus:
    """The job in a folder, whoever is at work there, or nobody.

    Raises:
        ValueError: there is none.
    """
    place = Place(path)
    record = read_job(place)
    if record is None:
        raise ValueError(f"{path} is no job: it has no {JOB}")
    units = units_done(place)
    records = list(read_units(place, record.header, units))
    total = merged(records, record.header)
    changed = place.changed(UNITS)
    work = [(place.changed("")[JOB], 0, 0)]  # when, sources, frames
    for unit, one in zip(units, records, strict=True):
        frames = merged([one], record.header).frames
        work.append((changed[PurePosixPath(unit_file(unit)).name], _sources(one), frames))
    sources_rate, frames_rate = _rates(sorted(work))
    return JobStatus(
        sources=record.sources,
        done=sum(sources for _, sources, _ in work),
        units=record.units,
        units_done=len(units),
        frames=total.frames,
        parts=medium_for(record.header.domain, record.header.resolution is not None).parts,
        failed=tuple(total.failed),
        sources_per_second=sources_rate,
        frames_per_second=frames_rate,
        idle_seconds=max(0.0, time.time() - max(when for when, _, _ in work)),
        complete=place.exists(MANIFEST),
        missed=len(total.missed),
    )


def _sources(record: UnitRecord) -> int:
    return len({item.source for item in record.items}) + len(record.failed)


def _rates(work: list[tuple[float, int, int]]) -> tuple[float, float] | tuple[None, None]:
    """Sources and frames per second, of the last units; breaks in the work do not count."""
    when, sources, frames = np.asarray(work[-RECENT - 1 :], dtype=float).T
    gaps = np.diff(when)
    seconds = np.minimum(gaps, BREAK * np.median(gaps)).sum() if len(gaps) else 0.0
    if seconds <= 0:
        return None, None
    return float(sources[1:].sum() / seconds), float(frames[1:].sum() / seconds)


def _duration(seconds: float) -> str:
    """Such as `3.2 h`."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
