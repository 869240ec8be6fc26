"""A picture of what a data set holds: some sources, and what every prefix of the levels says."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from ..checkpoint import Model
from ..media.base import Medium
from ..media.output import Output
from ..store.manifest import read_units
from ..store.reader import LatentReader
from .decode import as_stored, decode_item, sample_of
from .folder import PREVIEW
from .inputs import Input, fetch
from .job import Job
from .reader import Piece, Reader

COLUMNS = 4  # items, spread over the data set
HEIGHT = 192  # pixels of a picture
GAP = 6  # white pixels between them


def write_preview(medium: Medium, model: Model, job: Job, reader: Reader, folder: Path) -> None:
    """Write `preview.png`: a column per item, the source above what level 0, levels 0-1, ... give.
    Latents that were computed before are no pictures, and not shown themselves.

    Sources that can no longer be read are left out; if none can, there is no picture.

    Args:
        folder: where copies of inputs may lie for a while.
    """
    units = job.done()
    places = [i * len(units) / COLUMNS for i in range(COLUMNS)]
    shown = [units[int(place)] for place in places]
    records = list(read_units(job.place, job.record.header, shown))
    store = LatentReader(job.place, job.record.header, zip(shown, records, strict=True), model)
    how, columns = as_stored(Output(), store), {}
    for place, unit, record in zip(places, shown, records, strict=True):
        items = [item for item in record.items if medium.beginning(sample_of(item), item.start)]
        if not items:
            continue
        item = items[int(place % 1 * len(items))]
        if item.name in columns:  # there are fewer than there is room for
            continue
        source = next(one for one in job.units[unit] if one.name == item.source)
        first = medium.beginning(sample_of(item), item.start)
        above = []
        if medium.pictured:
            original = medium.read_picture(_pieces(reader, source, folder, first), item.start)
            if original is None:
                continue
            above = [original]
        prefixes = [
            medium.part_picture(
                decode_item(medium, model, store, item, levels, how=how), sample_of(item)
            )
            for levels in range(1, len(model.levels) + 1)
        ]
        columns[item.name] = _column(above, prefixes)
    if columns:
        buffer = io.BytesIO()
        Image.fromarray(_joined([*columns.values()], 1)).save(buffer, "png")
        job.place.put(PREVIEW, [buffer.getvalue()])


def _pieces(
    reader: Reader, source: Input, folder: Path, first: int
) -> Iterator[tuple[Mapping[str, Any], np.ndarray]]:
    """What the reader gives of the beginning of a source."""
    for event in reader.read(fetch([source], folder), first=first):
        if isinstance(event, Piece):
            yield event.about, event.values


def _column(above: Sequence[np.ndarray], prefixes: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures uint8 `[H, W, 3]` below each other, at one size, that of the prefixes."""
    height, width = prefixes[0].shape[:2]
    pictures = [Image.fromarray(picture) for picture in (*above, *prefixes)]
    pictures = [ImageOps.fit(one, (width, height), Image.Resampling.BICUBIC) for one in pictures]
    width = round(min(max(width / height, 1 / HEIGHT), 2) * HEIGHT)  # of very wide ones the middle
    fitted = [ImageOps.fit(one, (width, HEIGHT), Image.Resampling.BICUBIC) for one in pictures]
    return _joined([np.asarray(picture) for picture in fitted], 0)


def _joined(pictures: Sequence[np.ndarray], axis: int) -> np.ndarray:
    """Pictures side by side (axis 1) or one below the other (axis 0), with white between."""
    gap = np.full([GAP if i == axis else n for i, n in enumerate(pictures[0].shape)], 255, np.uint8)
    spaced = [part for picture in pictures for part in (gap, picture)][1:]
    return np.concatenate(spaced, axis)
