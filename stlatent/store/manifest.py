"""The files that say what a data set holds; FORMAT.md describes them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from pydantic import Field, model_validator

from ..model.config import Strict
from .header import FORMAT, Header
from .parse import SAID, parse_json, parse_record
from .place import Place
from .records import Count, Statistics, UnitRecord

MANIFEST, FAILED, UNITS = "manifest.json", "failed.jsonl", "units"


class Manifest(Header):
    """The header, how much there is, and what is known of all of it.

    Attributes:
        items: how many there are.
        failed: how many sources are missing.
        units: of work, all finished.
        statistics: per level.
        tolerance: the least of all units, per level; None where nothing is entropy-coded.
        missed: how many items are not as `coding.target` says; None unless it is one of each item.
    """

    items: Count
    failed: Count
    units: Count
    statistics: tuple[Statistics, ...]
    tolerance: tuple[Annotated[float, Field(ge=0)], ...] | None = None
    missed: Count | None = None

    @model_validator(mode="after")
    def _statistics_fit(self) -> Manifest:
        channels = [level.channels for level in self.levels]
        found = [(len(s.mean), len(s.std)) for s in self.statistics]
        if found != [(c, c) for c in channels]:
            raise ValueError(f"statistics are of {found} channels, not {channels}")
        if self.tolerance is not None and len(self.tolerance) != len(channels):
            raise ValueError(f"tolerance has {len(self.tolerance)} entries, not one per level")
        return self


def unit_file(unit: int) -> str:
    return f"{UNITS}/{unit:05d}.json"


def read_manifest(place: Place) -> Manifest:
    """The manifest of the data set at `place`.

    Raises:
        ValueError: there is none, or not one this program can read.
    """
    if not place.exists(MANIFEST):
        if place.exists(UNITS):
            raise ValueError(
                f"{place.url} is not complete yet: `stlatent jobs show {place.url}` says how far "
                f"it is, and the command that began it goes on"
            )
        raise ValueError(f"{place.url} is no data set of latents: it has no {MANIFEST}")
    values = read_json(place, MANIFEST)
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise ValueError(f"{place / MANIFEST} is not the manifest of a data set of latents")
    return parse_record(Manifest, values, place / MANIFEST)


def read_units(place: Place, header: Header, units: Sequence[int]) -> Iterator[UnitRecord]:
    """The records of finished units.

    Raises:
        ValueError: one is missing or broken, or does not fit the header.
    """
    names = [unit_file(unit) for unit in units]
    for unit, name, content in zip(units, names, place.read_all(names), strict=True):
        record = parse_record(UnitRecord, parse_json(content, place / name), place / name)
        try:
            header.check(unit, record)
        except ValueError as error:
            raise ValueError(f"{place / name}: {error}"[:SAID]) from None
        yield record


def check_units(place: Place, manifest: Manifest) -> range:
    """The numbers of the units of a complete data set; ValueError unless they are all there."""
    there = units_done(place)
    if len(there) != manifest.units or there != list(range(manifest.units)):
        raise ValueError(
            f"{place.url} says that it has {manifest.units} units, but {len(there)} are there"
        )
    return range(manifest.units)


def units_done(place: Place) -> list[int]:
    """Numbers of the units that are finished."""
    found = (re.fullmatch(r"(\d{5,12})\.json", name) for name in place.names(UNITS))
    return sorted(int(match[1]) for match in found if match)


def read_json(place: Place, name: str) -> Any:
    """What a JSON file holds; ValueError if it is missing or broken."""
    return parse_json(place.read(name), place / name)


def write_json(place: Place, name: str, values: Strict, indent: int | None = None) -> None:
    """Write a record to a JSON file that is complete or not there."""
    text = json.dumps(values.model_dump(mode="json"), indent=indent) + "\n"
    place.put(name, [text.encode()])
