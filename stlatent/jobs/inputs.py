"""What is to be encoded, and how it is cut into units of work and comes to this machine."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..media.source import WORK, Kind, suffix_of
from ..store.place import download
from ..store.records import item_name
from .archives import Archives, Part

# A unit ends with the source that reaches one of these.
UNIT_SECONDS, UNIT_BYTES = 10.0, 64 * 2**20
UNITS = 1000  # of a job that is too large for units of UNIT_SECONDS


@dataclass(frozen=True)
class Input:
    """A source of whatever medium.

    Attributes:
        name: its path below the folder that is encoded, with `/`.
        kind: see `media.source`.
        path: of the file, or its URL.
        ends: hash of its first and last bytes, see `marks.py`.
        changed: when it was last written, in seconds since 1970.
        caption: what is said of it, if anything.
        part: where it is inside the file, which holds others too, see `archives.py`.
    """

    name: str
    kind: Kind
    bytes: int
    path: str
    ends: str
    changed: float
    caption: str | None = None
    part: Part | None = None


@dataclass(frozen=True)
class LocalInput:
    """An input as a file on this machine; `problem` says why there is none."""

    input: Input
    path: Path | None
    copy: bool = False
    problem: str = ""

    def forget(self) -> None:
        """Remove the file, if it is a copy."""
        if self.copy and self.path is not None:
            self.path.unlink(missing_ok=True)


def cut(inputs: Sequence[Input], files: int) -> list[list[Input]]:
    """Units of at most `files` inputs, of about equal work; they depend on the inputs' order, kinds
    and sizes alone, so that everyone cuts the same ones.

    What is interrupted inside a unit is done again, and every unit is some files: so small jobs
    have units of about ten seconds on a CPU, and large ones of a thousandth of the job.
    """
    work = [_seconds(one) for one in inputs]
    most = max(UNIT_SECONDS, sum(work) / UNITS)
    units: list[list[Input]] = []
    seconds = size = math.inf
    for one, own in zip(inputs, work, strict=True):
        if seconds >= most or size >= UNIT_BYTES or len(units[-1]) >= files:
            units.append([])
            seconds = size = 0
        units[-1].append(one)
        seconds, size = seconds + own, size + one.bytes
    return units


def _seconds(one: Input) -> float:
    """About how long a source takes on two cores of a CPU, by what is known before it is opened."""
    start, rate = WORK.get(one.kind, (0.1, 1e6))
    return start + one.bytes / rate


def fetch(inputs: Iterable[Input], folder: Path) -> Iterator[LocalInput]:
    """The inputs as files of this machine, copied to `folder` from wherever else they are."""
    archives = Archives()
    for number, one in enumerate(inputs):
        try:
            item_name(one.name)
        except ValueError as error:
            yield LocalInput(one, None, problem=str(error))
            continue
        if one.part is None and "://" not in one.path:
            yield LocalInput(one, Path(one.path))
            continue
        path = folder / f"input-{number}{suffix_of(one.name)}"
        try:
            if one.part is None:
                download(one.path, path)
            else:
                archives.copy(one.path, one.part, path)
            yield LocalInput(one, path, copy=True)
        except Exception as error:  # every file system has its own
            path.unlink(missing_ok=True)
            text = str(error).strip() or type(error).__name__
            yield LocalInput(one, None, problem=text.splitlines()[0][:160])
