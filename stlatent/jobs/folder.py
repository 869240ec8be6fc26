"""The folder of a job: what in it is ours, who may have it, what goes if nothing comes of it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..store.manifest import FAILED, FORMAT, MANIFEST, UNITS, read_json
from ..store.place import SCRATCH, Place
from ..store.records import TENSOR_FILE

JOB, INPUTS, PREVIEW = "job.json", "inputs.jsonl", "preview.png"
JOB_FORMAT = "stlatent-job"
# the files that a job makes, below its folder
OWN = re.compile(
    rf"{JOB}|{INPUTS}|{PREVIEW}|{MANIFEST}|{FAILED}|{UNITS}/\d{{5,12}}\.json|{TENSOR_FILE}"
    rf"|level_\d{{1,3}}/codebook\.safetensors|{re.escape(SCRATCH)}/.*"
)


def check_free(place: Place, replace: bool = False) -> None:
    """ValueError unless a data set may be put there; says what is there already.

    A job under way, or a data set, is in the way of another one unless `replace` is given; of
    anything else nothing is ever replaced.
    """
    if place.local is not None and place.local.is_file():
        raise ValueError(f"{place.url} is a file; give a new folder")
    foreign = [name for name in place.names() if name != SCRATCH]
    if foreign and not {JOB, MANIFEST} & {*foreign}:
        raise ValueError(f"{place.url} holds other things ({_some(foreign)}); give a new folder")
    if not foreign or not replace:
        return
    for name, kind in ((JOB, JOB_FORMAT), (MANIFEST, FORMAT)):
        if name in foreign and not _says(place, name, kind):
            raise ValueError(f"{place / name} was not made by stlatent; give a new folder")
    if more := [name for name in place.walk() if not OWN.fullmatch(name)]:
        raise ValueError(f"{place.url} holds more than latents ({_some(more)}); move it away")


def remove_own(place: Place) -> None:
    """Take away every file of a job and of what it made, and folders that are then empty."""
    for name in place.walk():
        if OWN.fullmatch(name) and not name.startswith(SCRATCH):
            place.remove(name)
    place.remove_empty()


def _says(place: Place, name: str, kind: str) -> bool:
    """Whether a JSON file says that it is of this kind."""
    try:
        values = read_json(place, name)
    except ValueError:
        return False
    return isinstance(values, dict) and values.get("format") == kind


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
