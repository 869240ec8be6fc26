"""What is to be encoded, here or behind a URL, and how it is cut into units of work."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..media.base import Medium
from ..media.registry import usual_model as usual_model_for
from ..media.source import WORK, Kind
from ..media.walk import files_below
from ..store.place import Place, download
from ..store.records import item_name
from .marks import local_marks, remote_marks

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
    """

    name: str
    kind: Kind
    bytes: int
    path: str
    ends: str
    changed: float


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


def find_inputs(medium: Medium, root: str | Path) -> list[Input]:
    """The sources below `root`, a path or a URL, ordered by name.

    Raises:
        ValueError: nothing lies there, or it does not suit the model.
    """
    place = Place(root)
    if place.local is not None:
        sources = medium.find(place.local)
        marks = local_marks([source.path for source in sources])
        return [
            Input(s.name, s.kind, size, str(s.path), ends, changed)
            for s, (size, ends, changed) in zip(sources, marks, strict=True)
        ]
    found = _remote(place, medium.kinds)
    if not found:
        raise ValueError(f"{root} holds no {medium.what}, or cannot be read")
    medium.check(root, found)
    return found


def left_out(inputs: Sequence[Input], out: Place, root: str | Path) -> list[Input]:
    """The inputs without those that lie in the data set that is made of them, such as its preview.

    Raises:
        ValueError: nothing else is there.
    """
    if out.local is None:
        kept = [one for one in inputs if not one.path.startswith(f"{out.url}/")]
    else:
        inner, outer = os.path.realpath(out.local), os.path.realpath(root)
        if not inner.startswith(os.path.join(outer, "")):
            return [*inputs]
        inner = os.path.join(inner, "")
        kept = [one for one in inputs if not os.path.realpath(one.path).startswith(inner)]
    if not kept:
        raise ValueError(f"{root} holds nothing but what lies in {out.url}")
    return kept


def usual_model(root: str | Path) -> str:
    """The shipped model for what lies at `root`, a path or a URL."""
    place = Place(root)
    if place.local is not None:
        return usual_model_for(path.suffix for path in files_below(place.local).values())
    return usual_model_for(PurePosixPath(path).suffix for path in place.fs.find(place.root))


def _remote(place: Place, kinds: Mapping[str, Kind]) -> list[Input]:
    """Files behind a URL that are of some kind by their suffix."""
    scheme = place.url.partition("://")[0]
    named = []
    for path, info in sorted(place.fs.find(place.root, detail=True).items()):
        name = path[len(place.root) :].lstrip("/") or os.path.basename(path)
        kind = kinds.get(PurePosixPath(name).suffix.lower())
        if kind and not any(part.startswith(".") for part in name.split("/")):
            named.append((name, kind, path, info))
    marks = remote_marks(place, [(path, info) for _, _, path, info in named])
    return [
        Input(name, kind, size, f"{scheme}://{path}", ends, changed)
        for (name, kind, path, _), (size, ends, changed) in zip(named, marks, strict=True)
    ]


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
    for number, one in enumerate(inputs):
        try:
            item_name(one.name)
        except ValueError as error:
            yield LocalInput(one, None, problem=str(error))
            continue
        if "://" not in one.path:
            yield LocalInput(one, Path(one.path))
            continue
        path = folder / f"input-{number}{PurePosixPath(one.name).suffix}"
        try:
            download(one.path, path)
            yield LocalInput(one, path, copy=True)
        except Exception as error:  # every file system has its own
            path.unlink(missing_ok=True)
            text = str(error).strip() or type(error).__name__
            yield LocalInput(one, None, problem=text.splitlines()[0][:160])
