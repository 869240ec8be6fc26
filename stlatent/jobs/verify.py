"""Whether a data set is still as it was written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from ..store.codebooks import codebook_file
from ..store.header import Header
from ..store.manifest import check_units, read_manifest, read_units
from ..store.place import Place
from ..store.records import FileRecord, UnitRecord
from ..store.summary import merged
from ..store.tensors import read_spans

BLOCK = 2**22  # bytes read at a time


def verify_store(path: str | Path) -> tuple[int, int, list[str]]:
    """Reads every byte of a data set.

    Returns:
        How many files and bytes there are, and what is wrong with them, a line each.

    Raises:
        ValueError: no complete data set lies there.
    """
    place = Place(path)
    manifest = read_manifest(place)
    records = list(read_units(place, manifest, check_units(place, manifest)))
    problems: list[str] = []
    files = {name: file for record in records for name, file in record.files.items()}
    files |= (books := _codebooks(manifest))
    size = sum(file.bytes for file in files.values())
    with tqdm(total=size, unit="B", unit_scale=True, disable=None) as bar:
        for name, file in books.items():
            if said := _content(place, file, name, bar):
                problems.append(f"{name} {said}")
        for unit, record in enumerate(records):
            broken = {name: _content(place, f, name, bar) for name, f in record.files.items()}
            broken = {name: said for name, said in broken.items() if said}
            problems += [f"{name} {said}" for name, said in broken.items()]
            problems += _shapes(place, manifest, unit, record, broken)
    total = merged(records, manifest)
    if (total.items, len(total.failed)) != (manifest.items, manifest.failed):
        problems.append(f"there are {total.items} items, but the manifest says {manifest.items}")
    return len(files), size, problems


def _codebooks(header: Header) -> dict[str, FileRecord]:
    """The files that belong to no unit."""
    levels = enumerate(header.levels)
    files = {codebook_file(k): level.codes.file for k, level in levels if level.codes}
    return {name: file for name, file in files.items() if file}


def _content(place: Place, said: FileRecord, name: str, bar: tqdm) -> str:
    """What is wrong with the bytes of a file; nothing, if they are as they were written."""
    if not place.exists(name):
        return "is missing"
    if (size := place.size(name)) != said.bytes:
        return f"has {size} bytes, but was written with {said.bytes}"
    digest = hashlib.sha256()
    for start in range(0, size, BLOCK):
        block = place.read(name, start, min(start + BLOCK, size))
        digest.update(block)
        bar.update(len(block))
    return "" if digest.hexdigest() == said.sha256 else "has changed: its checksum is another"


def _shapes(
    place: Place, header: Header, unit: int, record: UnitRecord, broken: dict[str, str]
) -> Iterator[str]:
    """Items whose tensors are not as their records say."""
    for level, _, name in header.files(unit):
        if name not in record.files or name in broken:
            continue
        spans = read_spans(place, name)
        for item in record.items:
            shape = spans[item.name].shape if item.name in spans else None
            if shape is None or not (header.coding or shape == header.tensor_shape(item, level)):
                yield f"{name} does not hold {item.name} as its record says"
