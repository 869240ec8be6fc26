"""What `convert` made -> a data set of latents again, where the layout has lost nothing.

    webdataset, huggingface    all levels as they were stored, and all that is said of each item
    ltx2, finetrainers, musubi    packed in float32 for one autoencoder; refused

Of levels in float16, bfloat16 and float32 every byte comes back. Those in int8 have the same whole
numbers, and scales that are right to one unit in their last place. Statistics are counted anew, and
so the same to rounding in float64.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from ..jobs.unit import UnitWriter
from ..media.codes import Code
from ..media.encoder import About
from ..store.header import Header
from ..store.manifest import MANIFEST, Manifest, write_json
from ..store.parse import parse_json, parse_record
from ..store.place import Place
from ..store.records import Item, Statistics, UnitRecord
from ..store.summary import merged
from .exchange import ABOUT, COLLECTIONS
from .trainers import CACHES

UNIT_ITEMS, UNIT_BYTES = 64, 2**26
LOST = (
    "latents packed in float32 as one autoencoder takes them, without the sizes of items in pixels "
    "and their rates, so no data set can be made of them: encode the files again"
)
Read = Iterator[tuple[Item, list[np.ndarray]]]


def restore(path: str | Path, folder: Path) -> int:
    """Write the data set that was converted to what lies at `path`; how many items there are.

    Args:
        folder: where it goes.

    Raises:
        ValueError: the layout has lost something, or is none of ours, or what is read is broken.
    """
    path = Path(path)
    manifest, files = _opened(path)
    place, header = Place(folder), Header(**{k: getattr(manifest, k) for k in Header.model_fields})
    records = list(_units(place, header, _items(manifest, files)))
    total = merged(records, header)
    if total.items != manifest.items:
        raise ValueError(f"{path} holds {total.items} items, but was made of {manifest.items}")
    whole = Manifest(
        **header.model_dump(),
        items=total.items,
        failed=0,
        units=len(records),
        statistics=tuple(Statistics.of(moments) for moments in total.moments),
    )
    write_json(place, MANIFEST, whole, indent=1)
    place.remove_empty()
    return total.items


def _opened(path: Path) -> tuple[Manifest, list[tuple[str, Path]]]:
    """What is said of the whole, and the layout and path of each file."""
    if not (path / ABOUT).is_file():
        for name, cache in CACHES.items():
            if any(path.glob(cache.files_of)):
                raise ValueError(f"{path} is a cache for {name}: {LOST}")
        raise ValueError(
            f"{path} has no {ABOUT}; give what `stlatent convert --to {' or '.join(COLLECTIONS)}` "
            f"made"
        )
    content = (path / ABOUT).read_bytes()
    manifest = parse_record(Manifest, parse_json(content, str(path / ABOUT)), str(path / ABOUT))
    if lost := _lost(manifest):
        raise ValueError(f"{path} was made of {lost}: encode the files again")
    files = [
        (name, file)
        for name, layout in COLLECTIONS.items()
        for file in sorted(path.glob(layout.files_of))
    ]
    return manifest, files


def _lost(manifest: Manifest) -> str:
    """What a collection of these latents does not hold, in words; nothing, if it holds all."""
    if manifest.coding:
        return "bits, of which it holds the numbers they decode to, and no bits"
    if any(level.codes for level in manifest.levels):
        return "codes, of which it holds the vectors, and no indices"
    if manifest.std:
        return "means and deviations, of which it holds the means alone"
    return ""


def _items(manifest: Manifest, files: Iterable[tuple[str, Path]]) -> Read:
    count = len(manifest.levels)
    with tqdm(total=manifest.items, unit="item", disable=None) as bar:
        for name, file in files:
            for item, levels in COLLECTIONS[name].read(file, count):
                channels = [level.channels for level in manifest.levels]
                said = [(c, *grid) for c, grid in zip(channels, item.grids)]
                if said != [z.shape for z in levels]:
                    found = ", ".join(str(list(z.shape)) for z in levels)
                    raise ValueError(f"{file}: latents of {item.name} are {found}, not {said}")
                yield item, levels
                bar.update()


def _units(place: Place, header: Header, items: Read) -> Iterator[UnitRecord]:
    """Write the items, those of one source into one unit."""
    number, ahead = 0, next(items, None)
    while ahead:
        captions = {ahead[0].source: ahead[0].caption}
        with UnitWriter(place, header, number, captions=captions) as unit:
            size, last = 0, ahead[0].source
            while ahead and (ahead[0].source == last or _fits(len(unit.items), size)):
                item, levels = ahead
                captions[item.source] = item.caption
                _add(unit, item, levels)
                size, last = size + sum(z.nbytes for z in levels), item.source
                ahead = next(items, None)
            record = unit.commit([*captions])
        header.check(number, record)
        yield record
        number += 1


def _fits(items: int, size: int) -> bool:
    return items < UNIT_ITEMS and size < UNIT_BYTES


def _add(unit: UnitWriter, item: Item, levels: Iterable[np.ndarray]) -> None:
    about = {name: getattr(item, name) for name in About.__dataclass_fields__}
    one = unit.item(About(**about))
    pairs = zip(levels, item.bits, strict=True)
    one.append([Code(torch.from_numpy(z.astype(np.float32)), torch.tensor(b)) for z, b in pairs])
    if one.end(item.size) != item:
        raise ValueError(f"'{item.name}' is not as its record says: {item.grids}, {item.bits}")
