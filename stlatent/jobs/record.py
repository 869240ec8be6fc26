"""What is written down of a job: what is to be done, and the sources that it is to be done with."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Literal

from ..model.config import Strict
from ..store.header import Header
from ..store.manifest import read_json
from ..store.parse import parse_record
from ..store.place import Place
from ..store.records import Count, Digest
from .folder import JOB, JOB_FORMAT
from .inputs import Input
from .options import EncodeOptions, typed


class JobRecord(Strict):
    """What is to be done. Two processes work at the same job if these are equal, but for what the
    user calls the model.

    Attributes:
        format, version: of the record.
        code: version of the library.
        header: what its latents have in common.
        options: as they were given.
        sources: how many there are.
        units: into how many units of work they were cut.
        inputs: digest of the list of sources.
        source_bytes: of all of them, where they share a limit.
        captions: whether what is said of sources is in their list; in that of older jobs it is not.
    """

    format: Literal["stlatent-job"] = JOB_FORMAT
    version: Literal[1] = 1
    code: str
    header: Header
    options: EncodeOptions
    sources: Count
    units: Count
    inputs: Digest
    source_bytes: Count | None = None
    captions: bool = False

    def differences(self, other: JobRecord) -> list[str]:
        """What is otherwise in `other`, in the words of the command line; the inputs are compared
        elsewhere."""
        mine, theirs = (job.about() | typed(job.options) for job in (self, other))
        return [
            f"{word} ({mine[word]} there, {theirs[word]} here)"
            for word in mine
            if mine[word] != theirs[word]
        ]

    def about(self) -> dict[str, str | int]:
        """What is as the library and the model are, and not as the options say."""
        coding = self.header.coding
        return {
            "stlatent": self.code,
            "format": self.header.version,
            "fingerprint": self.header.fingerprint,
            "domain": self.header.domain,
            "entropy coder": coding.numerics if coding else "none",
            "priors": coding.priors if coding and coding.priors else "none",
        }


class InputRecord(Strict):
    """A line of `inputs.jsonl`: a source as it was when the job began, and the unit it is in.

    Attributes:
        name: its path below the folder that is encoded, with `/`.
        kind: of the source, see `media.source`.
        bytes: its size.
        unit: number of the unit of work that it belongs to.
        ends: see `marks.py`; older jobs have none.
        caption: what is said of it, if anything.
    """

    name: str
    kind: str
    bytes: Count
    unit: Count
    ends: str | None = None
    caption: str | None = None


def library_version() -> str:
    """By which records and marks of jobs tell what wrote them."""
    return sys.modules[__package__.partition(".")[0]].__version__


def read_job(place: Place) -> JobRecord | None:
    """The job in a folder, if there is one; ValueError if it cannot be read."""
    if not place.exists(JOB):
        return None
    return parse_record(JobRecord, read_json(place, JOB), place / JOB)


def lines_of(units: Sequence[Sequence[Input]]) -> Iterator[bytes]:
    """The lines of `inputs.jsonl`, see `InputRecord`."""
    for number, unit in enumerate(units):
        for one in unit:
            about = {"name": one.name, "kind": one.kind, "bytes": one.bytes}
            about |= {"unit": number, "ends": one.ends}
            about |= {} if one.caption is None else {"caption": one.caption}
            yield (json.dumps(about) + "\n").encode()


def digest_of(units: Sequence[Sequence[Input]]) -> str:
    """sha256 of these lines, by which jobs of the same sources in the same units are known."""
    digest = hashlib.sha256()
    for line in lines_of(units):
        digest.update(line)
    return digest.hexdigest()
