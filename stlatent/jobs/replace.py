"""A new data set in the place of a former one, which stays until the new one is complete."""

from __future__ import annotations

import shutil

from ..store.place import Place
from .job import Job, check_free, read_job
from .team import Team


class Replacement:
    """Where the new data set is made: in a folder beside the former one, if there is one.

        latents            the former one
        latents.new        the new one, until it is complete
        latents.old        the former one, while the two change places

    Attributes:
        job: the job at the place where it is to be done.

    Raises:
        ValueError: something else than latents would be replaced, or not on this machine.
    """

    def __init__(self, job: Job) -> None:
        self.final = job
        if job.place.local is None:
            raise ValueError(f"--replace works on this machine only; remove {job.place.url} first")
        path = job.place.local
        self.path, self.new, self.old = (
            path.with_name(path.name + suffix) for suffix in ("", ".new", ".old")
        )
        check_free(job.place, replace=True)
        for beside in (self.new, self.old):
            check_free(Place(beside), replace=True)
        self._recover()
        there = Place(self.path)
        self.beside = bool(there.names()) and not _goes_on(job)
        self.job = Job(Place(self.new), job.record, job.units) if self.beside else job

    def settle(self, team: Team) -> Job:
        """Put the complete data set in its place, once; the job there."""
        if self.beside and team.first:
            self.path.rename(self.old)
            self.new.rename(self.path)
            shutil.rmtree(self.old)
        team.wait()
        return Job(self.final.place, self.job.record, self.job.units)

    def _recover(self) -> None:
        """Go on where a process ended that was changing places."""
        if self.old.exists() and not self.path.exists():
            (self.new if self.new.exists() else self.old).rename(self.path)
        if self.old.exists():
            shutil.rmtree(self.old)


def _goes_on(job: Job) -> bool:
    """Whether what lies there is this job, under way."""
    try:
        there = read_job(job.place)
    except ValueError:
        return False
    if there is None or job.complete():
        return False
    return there.inputs == job.record.inputs and not there.differences(job.record)
