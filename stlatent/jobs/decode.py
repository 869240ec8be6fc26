"""A data set of multi-level latents -> videos and pictures, from any prefix of the levels."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from tqdm import tqdm

from ..checkpoint import Model
from ..files import inside
from ..media.video.coder import ClipDecoder
from ..media.video.tiles import check_side
from ..media.video.write import check_outputs, frame_writer, suffix
from ..model import choose as choosing
from ..model.choose import Choose
from ..model.ladder import Ladder
from ..store.reader import LatentReader, LatentStore, check_model
from ..store.records import Item
from .device import autocast, chunk_units


def decode_store(
    model: Ladder,
    store: LatentStore,
    out: str | Path,
    levels: int | None = None,
    format: str = "mp4",
    draw: Choose = choosing.mean,
    precision: str | None = None,
    replace: bool = False,
    tile: int | None = None,
) -> list[Path]:
    """Decode every item of a data set from its first `levels` levels (all by default).

    Only the files of these levels are read; the finer ones take their prior's mean, or what `draw`
    takes from it. Videos of any length go through in constant memory. Names, sub-folders and sizes
    are those of the sources:

        mp4    H.264; a picture becomes a png
        png    a folder of pictures per video
        npy    uint8 `[T, H, W, 3]`

    Args:
        tile: decode larger frames in overlapping tiles of so many pixels a side; None is as they
            were encoded, which is best.

    Returns:
        The files and folders made, in the order of the items.

    Raises:
        ValueError: the latents come from another model, there are not so many levels, or an output
            file exists and `replace` is not given.
    """

    def ending(item: Item) -> str:
        return suffix(format, item.kind == "image")

    kept, targets = planned(model, store, out, levels, ending, replace)
    store.model = model
    tile = check_side(tile or store.header.tile, model.levels[0].stride[-2:])
    device = next(model.parameters()).device
    start, frames = time.perf_counter(), 0
    with (
        tqdm(total=len(targets), unit="file", disable=None) as bar,
        torch.inference_mode(),
        autocast(device, precision),
    ):
        for item, path in targets:
            size = (1, *item.size)[-3:]  # a picture is one frame
            with frame_writer(path, format, item.kind == "image", size, item.fps) as writer:
                for pixels in decode_item(
                    model, store, item, kept, draw, tile or store.header.tile
                ):
                    writer.write(pixels)
                    frames += len(pixels)
            bar.update()
            bar.set_postfix_str(f"{frames / (time.perf_counter() - start):.0f} frames/s")
    return [path for _, path in targets]


def decode_item(
    model: Ladder,
    store: LatentReader,
    item: Item,
    levels: int,
    draw: Choose = choosing.mean,
    tile: int | None = None,
) -> Iterator[np.ndarray]:
    """The frames of one item, uint8 `[t, H, W, 3]` at a time; see `coder.py` for `tile`."""
    causal = model.domain.causal
    decoder = ClipDecoder(model, item.size[-2:], draw, tile)
    if causal is None:
        yield decoder.push(store.read(item.name, levels).levels)
        return
    left, *size = item.size
    device, unit = next(model.parameters()).device, model.levels[0].stride[causal]
    for latents in store.stream(item.name, levels, chunk_units(device, size, unit)):
        if not left:
            return
        frames = decoder.push(latents)[:left]
        left -= len(frames)
        yield frames


def planned(
    model: Model,
    store: LatentStore,
    out: str | Path,
    levels: int | None,
    ending: Callable[[Item], str],
    replace: bool,
) -> tuple[int, list[tuple[Item, Path]]]:
    """How many levels are decoded, and what goes where; see `outputs`.

    Raises:
        ValueError: the latents come from another model, there are not so many levels, or an output
            file exists and `replace` is not given.
    """
    check_model(model, store.header, store.place)
    kept = store.check_levels(levels)
    targets = outputs(store, Path(out), ending)
    check_outputs([path for _, path in targets], replace)
    return kept, targets


def outputs(
    store: LatentStore, out: Path, ending: Callable[[Item], str]
) -> list[tuple[Item, Path]]:
    """Where each item goes: its name without suffix, or with it where two would meet, and with the
    `ending` of what is made of it.

    Raises:
        ValueError: a symbolic link inside `out` leads out of it.
    """
    items = list(store.items.values())
    short = [item.kind != "frames" for item in items]  # a folder's name has no suffix
    while True:
        paths = [_target(item, ending(item), s) for item, s in zip(items, short, strict=True)]
        count, folders = Counter(paths), {folder for path in paths for folder in path.parents}
        meets = [count[path] > 1 or path in folders for path in paths]
        if not any(s and m for s, m in zip(short, meets, strict=True)):
            return [(i, inside(out, str(path))) for i, path in zip(items, paths, strict=True)]
        short = [s and not m for s, m in zip(short, meets, strict=True)]


def _target(item: Item, ending: str, short: bool) -> PurePosixPath:
    """Relative path of the output for `item`."""
    path = PurePosixPath(item.name)
    path = path.with_suffix("") if short else path
    return path.with_name(path.name + ending)
