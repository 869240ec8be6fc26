"""A new data set in the place of a former one, which stays until the new one is complete."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ..store.place import Place
from .folder import check_free, remove_own
from .job import Job
from .record import read_job
from .scratch import busy
from .team import Team


class Replacement:
    """Where the new data set is made: in a marked folder beside the former one, if there is one.

        latents                            the former one
        .latents.stlatent-replace/new      the new one, until it is complete
        .latents.stlatent-replace/old      the former one, while the two change places

    As a context, it leaves no marked folder behind in which there is nothing.

    Attributes:
        job: the job at the place where it is to be done.

    Raises:
        ValueError: something else than latents would be replaced, or not on this machine; or
            another process makes another data set for the same place.
    """

    def __init__(self, job: Job, team: Team) -> None:
        self.final = job
        if job.place.local is None:
            raise ValueError(f"--replace works on this machine only; remove {job.place.url} first")
        self.path = Path(os.path.realpath(job.place.local))  # of a link, what it stands for
        self.marked = self.path.with_name(f".{self.path.name}.stlatent-replace")
        self.new, self.old = self.marked / "new", self.marked / "old"
        check_free(job.place, replace=True)
        if team.first:
            self._recover()
        team.wait()
        self.beside = bool(Place(self.path).names()) and not _goes_on(job)
        self.job = Job(Place(self.new), job.record, job.units) if self.beside else job
        if self.beside and team.first and not _same(self.job):
            self._clear_away()
        team.wait()

    def __enter__(self) -> Replacement:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # there is something in it, or it is not there
            self.marked.rmdir()

    def settle(self, team: Team) -> Job:
        """Put the complete data set in its place, once; the job there."""
        if self.beside and team.first:
            os.replace(self.path, self.old)
            os.replace(self.new, self.path)
            remove_own(Place(self.old))
        team.wait()
        return Job(self.final.place, self.job.record, self.job.units)

    def _recover(self) -> None:
        """Go on where a process ended that was changing places."""
        if self.old.exists() and not self.path.exists():
            os.replace(self.new if self.new.exists() else self.old, self.path)
        if self.old.exists():
            remove_own(Place(self.old))

    def _clear_away(self) -> None:
        """What is left of another job that was to replace the same data set."""
        place = Place(self.new)
        if busy(place):
            raise ValueError(
                f"another process makes another data set to put at {self.path}; wait for it"
            )
        remove_own(place)


def _goes_on(job: Job) -> bool:
    """Whether what lies there is this job, under way."""
    return not job.complete() and _same(job)


def _same(job: Job) -> bool:
    try:
        there = read_job(job.place)
    except ValueError:
        return False
    if there is None:
        return False
    return there.inputs == job.record.inputs and not there.differences(job.record)
