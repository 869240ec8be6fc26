"""A data set of multi-level latents -> files, from any prefix of the levels."""

from __future__ import annotations

import dataclasses
import hashlib
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ..checkpoint import Model
from ..files import inside
from ..media.base import Medium
from ..media.output import Output
from ..media.registry import medium_of
from ..media.sample import Sample
from ..media.source import FOLDERS, suffix_of
from ..model import choose as choosing
from ..model.choose import Choose
from ..model.device import autocast
from ..model.fingerprint import whole_fingerprint
from ..model.latents import Latents
from ..store.manifest import MANIFEST
from ..store.reader import LatentReader, LatentStore, made_by
from ..store.records import Item
from .going_on import going_on
from .record import library_version


def decode_store(
    model: Model,
    store: LatentStore,
    out: str | Path,
    levels: int | None = None,
    format: str | None = None,
    draw: Choose = choosing.mean,
    precision: str | None = None,
    replace: bool = False,
    tile: int | None = None,
    resolution: int | None = None,
    texture: bool = False,
) -> list[Path]:
    """Decode every item of a data set from its first `levels` levels (all by default).

    Only the files of these levels are read; the finer ones take their prior's mean, or what `draw`
    takes from it. What is long in time goes through in constant memory. Names, sub-folders and
    sizes are those of the sources. An item that holds nothing, such as a shape of which nothing is
    inside, is named in the log and left out. After an interruption, the same call goes on.

    Args:
        format, tile, resolution, texture: see `media.output.Output`.

    Returns:
        The files and folders made, in the order of the items.

    Raises:
        ValueError: the latents come from another model, there are not so many levels, `out` is a
            data set, or an output file exists and `replace` is not given.
    """
    if Path(out, MANIFEST).exists():
        raise ValueError(f"{out} is a data set of latents; give another --out")
    model = made_by(model, store.header, store.place)
    kept, medium = store.check_levels(levels), medium_of(model)
    how = Output(format, resolution, tile, texture)
    medium.check_output(how)
    targets = outputs(store, Path(out), lambda item: medium.ending(item.kind, how))
    store.model = model
    how = as_stored(how, store)
    paths = [path for _, path in targets]
    asked = _asked(model, store, kept, draw, how, precision)
    start, parts, made = time.perf_counter(), 0, []
    with (
        going_on(Path(out), paths, asked, replace) as there,
        tqdm(total=len(targets), unit="file", disable=None) as bar,
        torch.inference_mode(),
        autocast(next(model.parameters()).device, precision),
    ):
        for item, path in targets:
            count = 0
            if path not in there:
                decoded = decode_item(medium, model, store, item, kept, draw, how)
                count = medium.write(path, decoded, sample_of(item), how)
            made += [path] if count or path in there else []
            parts += count
            bar.update()
            rate = parts / (time.perf_counter() - start)
            bar.set_postfix_str(f"{rate:.3g} {medium.parts}/s")
    return made


def _asked(
    model: Model, store: LatentStore, levels: int, draw: Choose, how: Output, precision: str | None
) -> str:
    """A digest of all that decoded files depend on."""
    drawn = "mean" if draw is choosing.mean else uuid.uuid4().hex  # other draws may be any
    device = next(model.parameters()).device.type
    about = library_version(), device, whole_fingerprint(model), store.manifest.model_dump_json()
    return hashlib.sha256(repr((*about, levels, drawn, how, precision)).encode()).hexdigest()


def decode_item(
    medium: Medium,
    model: Model,
    store: LatentReader,
    item: Item,
    levels: int,
    draw: Choose = choosing.mean,
    how: Output = Output(),  # noqa: B008
) -> Iterator[Any]:
    """The parts of one item, as its medium writes them."""
    return medium.decode(model, _Latents(store, item.name, levels), sample_of(item), draw, how)


def sample_of(item: Item) -> Sample:
    """What a data set says of an item, but for its latents."""
    return Sample(item.kind, item.size, item.fps, item.shape, item.scan)


def as_stored(how: Output, store: LatentReader) -> Output:
    """What is left open is as it was when the latents were made."""
    return dataclasses.replace(how, tile=how.tile or store.header.tile)


@dataclass(frozen=True)
class _Latents:
    """The first levels of an item, read when they are asked for; see `media.sample.Stored`."""

    store: LatentReader
    name: str
    levels: int

    def whole(self) -> Latents:
        return self.store.read(self.name, self.levels)

    def stream(self, steps: int) -> Iterator[Sequence[Tensor]]:
        return self.store.stream(self.name, self.levels, steps)

    def rate_weights(self, steps: int) -> Iterator[float | None]:
        return self.store.rate_weights(self.name, steps)


def outputs(
    store: LatentStore, out: Path, ending: Callable[[Item], str]
) -> list[tuple[Item, Path]]:
    """Where each item goes: its name without suffix, or with it where two would meet, and with the
    `ending` of what is made of it.

    Raises:
        ValueError: a symbolic link inside `out` leads out of it.
    """
    items = list(store.items.values())
    short = [item.kind not in FOLDERS for item in items]  # a folder's name has no suffix
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
    path = path.with_name(path.name[: -len(suffix_of(path.name)) or None]) if short else path
    return path.with_name(path.name + ending)
