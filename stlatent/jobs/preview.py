"""A picture of what a data set holds: some frames, and what every prefix of the levels says."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ..model.ladder import Ladder
from ..store.manifest import read_units
from ..store.reader import LatentReader
from ..store.records import Item
from .decode import decode_item
from .inputs import Input, fetch
from .job import PREVIEW, Job
from .reader import Piece, Reader

COLUMNS = 4  # items, spread over the data set
FRAMES = 9  # of each at most; the last of them is shown
HEIGHT = 192  # pixels of a picture
GAP = 6  # white pixels between them


def clip_preview(model: Ladder, job: Job, reader: Reader, folder: Path) -> None:
    """Write `preview.png`: a column per item, the source above what level 0, levels 0-1, ... give.

    Sources that can no longer be read are left out; if none can, there is no picture.

    Args:
        folder: where copies of inputs may lie for a while.
    """
    units = job.done()
    places = [i * len(units) / COLUMNS for i in range(COLUMNS)]
    shown = [units[int(place)] for place in places]
    records = list(read_units(job.place, job.record.header, shown))
    store = LatentReader(job.place, job.record.header, zip(shown, records, strict=True), model)
    columns = {}
    for place, unit, record in zip(places, shown, records, strict=True):
        items = [item for item in record.items if item.start == 0]
        if items:
            item = items[int(place % 1 * len(items))]
            source = next(one for one in job.units[unit] if one.name == item.source)
            frame = _frame(reader, source, item, folder)
            if frame is not None:
                columns[item.name] = _column(model, store, item, frame, job.record.options.tile)
    if columns:
        buffer = io.BytesIO()
        Image.fromarray(_joined([*columns.values()], 1)).save(buffer, "png")
        job.place.put(PREVIEW, [buffer.getvalue()])


def _frame(reader: Reader, source: Input, item: Item, folder: Path) -> np.ndarray | None:
    """The frame of the source that is shown, uint8 `[H, W, 3]`."""
    frame = None
    for event in reader.read(fetch([source], folder), first=_length(item)):
        if isinstance(event, Piece):
            frame = event.values[-1].copy()
    return frame


def _column(
    model: Ladder, store: LatentReader, item: Item, frame: np.ndarray, tile: int | None
) -> np.ndarray:
    height, width = item.size[-2:]
    pictures = [ImageOps.fit(Image.fromarray(frame), (width, height), Image.Resampling.BICUBIC)]
    for levels in range(1, len(model.levels) + 1):
        decoded = decode_item(model, store, item, levels, tile=tile)
        pictures.append(Image.fromarray(_nth(decoded, _length(item))))
    width = round(min(max(width / height, 1 / HEIGHT), 2) * HEIGHT)  # of very wide ones the middle
    fitted = [ImageOps.fit(one, (width, HEIGHT), Image.Resampling.BICUBIC) for one in pictures]
    return _joined([np.asarray(picture) for picture in fitted], 0)


def _nth(pieces: Iterator[np.ndarray], count: int) -> np.ndarray:
    """The frame that is the `count`-th."""
    for frames in pieces:
        if len(frames) >= count:
            return frames[count - 1]
        count -= len(frames)
    raise ValueError("there are fewer frames than the data set says")


def _length(item: Item) -> int:
    return min(item.size[0], FRAMES) if len(item.size) == 3 else 1


def _joined(pictures: Sequence[np.ndarray], axis: int) -> np.ndarray:
    """Pictures side by side (axis 1) or one below the other (axis 0), with white between."""
    gap = np.full([GAP if i == axis else n for i, n in enumerate(pictures[0].shape)], 255, np.uint8)
    spaced = [part for picture in pictures for part in (gap, picture)][1:]
    return np.concatenate(spaced, axis)
