"""A job: sources to be encoded, cut into units that any process may do, in any order, at any time.

    latents/
      job.json           what is to be done: model, options, code, a digest of the inputs
      inputs.jsonl       every source and the unit it belongs to
      units/00000.json   a unit is done when this file is there
      .stlatent-work/    whatever is under way; one folder and one lock per process
      manifest.json      the data set is complete; written by whoever finds all units done

All of it but the work under way is a function of the inputs, the model and the options, and not of
who did what, or of how often it was interrupted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ..store.header import Header
from ..store.manifest import (
    FAILED,
    MANIFEST,
    Manifest,
    read_units,
    units_done,
    write_json,
)
from ..store.parse import parse_json, parse_record
from ..store.place import Place
from ..store.records import Statistics, UnitRecord
from ..store.summary import Total
from .folder import INPUTS, JOB, check_free
from .inputs import Input, cut
from .marks import covered
from .options import EncodeOptions
from .record import InputRecord, JobRecord, digest_of, library_version, lines_of, read_job

ADVICE = "give another folder, or --replace to put new ones in their place"
Units = Sequence[Sequence[Input]] | Mapping[int, Sequence[Input]]


class Job:
    """A job in its folder.

    Attributes:
        record: what is to be done.
        units: the sources of each unit, or of those that someone does.
    """

    def __init__(self, place: Place, record: JobRecord, units: Units) -> None:
        self.place, self.record, self.units = place, record, units

    @staticmethod
    def plan(place: Place, header: Header, options: EncodeOptions, inputs: Sequence[Input]) -> Job:
        """The job of encoding `inputs` to `place`; nothing is written yet."""
        count = len(header.levels)
        dtypes, steps = (one and one * (count // len(one)) for one in (options.dtype, options.step))
        options = options.model_copy(update={"dtype": dtypes, "step": steps})
        units = cut(inputs, options.unit_files)
        record = JobRecord(
            code=library_version(),
            header=header,
            options=options,
            sources=len(inputs),
            units=len(units),
            inputs=digest_of(units),
            source_bytes=sum(one.bytes for one in inputs) if options.size_limit else None,
            captions=True,
        )
        return Job(place, record, units)

    def begin(self, retry_failed: bool = False) -> None:
        """Write down what is to be done, or go on with it if the folder holds this very job.

        With `retry_failed`, files that could not be encoded may have been replaced by others, but
        not where all share a limit.

        Raises:
            ValueError: it holds another job, another data set, or other things.
        """
        there = read_job(self.place)
        if there is None:
            check_free(self.place)
            if self.complete():
                raise ValueError(f"{self.place.url} holds latents that are no job; {ADVICE}")
            self._write()
            there = read_job(self.place)  # another process may have been faster
            began = math.inf
        else:
            began = self.place.changed("").get(INPUTS, math.inf)
        if not there.captions:
            self._forget_captions()
        different = there.differences(self.record)
        update = {"model": there.header.model, "coding": there.header.coding}
        header = self.record.header.model_copy(update=update)
        self.record = self.record.model_copy(update={"header": header})
        different += self._other_sources(there, began, retry_failed)
        if different:
            what = "the latents" if self.complete() else "a job"
            raise ValueError(
                f"{self.place.url} holds {what} of {there.sources} sources, by model "
                f"'{there.header.model}', with other {', '.join(different)}; {ADVICE}"
            )
        if there.inputs != self.record.inputs or not self.place.exists(INPUTS):
            self._write()

    def _other_sources(self, there: JobRecord, began: float, retry_failed: bool) -> list[str]:
        """In words, whether sources are other than those of the job that is there, which began at
        a time. Units become those of that job, see `_changed`."""
        changed = self._changed() if there.inputs != self.record.inputs else {}
        changed |= self._rewritten(began)
        replaceable = retry_failed and not there.source_bytes
        may = {f.name for r in self.records() for f in r.failed} if replaceable else set()
        names = [n for n in sorted(changed) if changed[n] in ("new", "gone") or n not in may]
        if not names:
            return []
        more = f", and {len(names) - 1} more" if len(names) > 1 else ""
        return [f"sources ({names[0]} is {changed[names[0]]}{more})"]

    def _forget_captions(self) -> None:
        self.units = [[replace(one, caption=None) for one in unit] for unit in self.units]
        update = {"inputs": digest_of(self.units), "captions": False}
        self.record = self.record.model_copy(update=update)

    def _write(self) -> None:
        """A folder is ours from the moment that the job's record is in it; so that comes first."""
        write_json(self.place, JOB, self.record, indent=1)
        self.place.put(INPUTS, lines_of(self.units))

    def _changed(self) -> dict[str, str]:
        """Sources that are not as the folder says, and how. The units become those of the folder,
        as far as the sources do."""
        lines, source = self.place.read(INPUTS).splitlines(), self.place / INPUTS
        before = [parse_record(InputRecord, parse_json(line, source), source) for line in lines]
        now = {one.name: one for unit in self.units for one in unit}
        changed = dict.fromkeys(now.keys() - {line.name for line in before}, "new")
        units: dict[int, list[Input]] = {}
        for line in before:
            one = now.get(line.name)
            if one is None:
                changed[line.name] = "gone"
                continue
            same = line.ends is None or line.ends == one.ends
            if not same or (one.kind, one.bytes) != (line.kind, line.bytes):
                changed[one.name] = "changed"
            elif one.caption != line.caption:
                changed[one.name] = "described otherwise"
            units.setdefault(line.unit, []).append(one)
        self.units = [units[number] for number in sorted(units)]
        update = {"inputs": digest_of(self.units), "units": len(self.units)}
        self.record = self.record.model_copy(update=update)
        return changed

    def _rewritten(self, began: float) -> dict[str, str]:
        """Sources of which more may be otherwise than their ends show."""
        return {
            one.name: "newer than the job"
            for unit in self.units
            for one in unit
            if one.changed > began and (one.part or not covered(one.bytes))
        }

    def done(self) -> list[int]:
        """Numbers of the units that are done."""
        return units_done(self.place)

    def complete(self) -> bool:
        """Whether the data set is."""
        return self.place.exists(MANIFEST)

    def records(self) -> Iterator[UnitRecord]:
        """Of all units that are done, in order."""
        return read_units(self.place, self.record.header, self.done())

    def inputs(self, unit: int, former: UnitRecord | None) -> list[Input]:
        """The sources of a unit; if it was done before, those that failed."""
        failed = {failure.name for failure in former.failed} if former else None
        return [one for one in self.units[unit] if failed is None or one.name in failed]

    def todo(self, shard: tuple[int, int], retry_failed: bool) -> dict[int, UnitRecord | None]:
        """The units of a shard that are not done; with `retry_failed` also those in which sources
        failed, and what they hold. If there are any of these, the data set is not complete.

        Entropy-coded units are done anew in whole: what they hold has no statistics of its own.
        """
        index, count = shard
        done = set(self.done())
        mine = range(index, self.record.units, count)
        todo: dict[int, UnitRecord | None] = {u: None for u in mine if u not in done}
        if retry_failed:
            mine = [unit for unit in mine if unit in done]
            records = zip(mine, read_units(self.place, self.record.header, mine), strict=True)
            kept = self.record.header.coding is None
            todo |= {unit: record if kept else None for unit, record in records if record.failed}
        if todo:
            self.place.remove(MANIFEST)
        return dict(sorted(todo.items()))

    def finish(self, total: Total) -> None:
        """Make the data set complete, all units being done: what failed, then the manifest."""
        lines = [json.dumps(f.model_dump(mode="json")) + "\n" for f in total.failed]
        if lines:
            self.place.put(FAILED, (line.encode() for line in lines))
        else:
            self.place.remove(FAILED)
        target = self.record.options.target
        manifest = Manifest(
            **self.record.header.model_dump(),
            items=total.items,
            failed=len(total.failed),
            units=self.record.units,
            statistics=tuple(Statistics.of(moments) for moments in total.moments),
            tolerance=total.tolerance,
            missed=len(total.missed) if target and target.size_bytes is None else None,
        )
        write_json(self.place, MANIFEST, manifest, indent=1)
