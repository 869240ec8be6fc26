"""Reads data sets of latents; FORMAT.md describes the files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate, islice
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..model.latents import Latents
from .header import Header, Part, level_file
from .manifest import check_units, read_manifest, read_units
from .pieces import RecutChunks, Window
from .place import Place
from .records import Item, UnitRecord
from .stored import channels_of
from .tensor_files import TensorFiles

if TYPE_CHECKING:
    from ..model.ladder import Ladder


class LatentReader:
    """The latents of some units.

    Only the bytes that are asked for are read, beside one header per file. Entropy-coded latents
    are read by the model that wrote them, and from their first frame on.

    Attributes:
        header: what the latents have in common.
        items: what there is, by name, in the order of the sources.
        model: that entropy-coded latents are read by; None until it is needed, when the one that
            the header names is loaded.
    """

    def __init__(
        self,
        place: Place,
        header: Header,
        units: Iterable[tuple[int, UnitRecord]],
        model: Ladder | None = None,
    ) -> None:
        if model is not None:
            model = made_by(model, header, place)
        self.place, self.header, self.model = place, header, model
        self.items: dict[str, Item] = {}
        self._unit_of: dict[str, int] = {}
        for unit, record in units:
            for item in record.items:
                if self._unit_of.get(item.name, unit) != unit:
                    raise ValueError(f"{place.url} has two items that are called '{item.name}'")
                self.items[item.name] = item
                self._unit_of[item.name] = unit
        self._files = TensorFiles(place, header)

    def read(self, name: str, levels: int | None = None) -> Latents:
        """The first `levels` levels (all by default) of an item, as a batch of one, in float32.

        Only the files of these levels are opened.
        """
        kept = self.check_levels(levels)
        if self.header.coding:
            chunks = zip(*self._chunks(name, kept), strict=True)
            tensors = tuple(torch.cat(level, 2) for level in chunks)
        else:
            tensors = tuple(self.read_level(name, k) for k in range(kept))
        return Latents(tensors, self.item(name).size)

    def read_std(self, name: str, levels: int | None = None) -> tuple[Tensor, ...]:
        """Standard deviations of the posteriors, shaped as the latents of `read`.

        Raises:
            ValueError: they were not stored.
        """
        if not self.header.std:
            raise ValueError(f"{self.place.url} holds means only; encode with --std")
        return tuple(self.read_level(name, k, part="std") for k in range(self.check_levels(levels)))

    def read_level(
        self,
        name: str,
        level: int,
        start: int = 0,
        stop: int | None = None,
        part: Part = "mean",
    ) -> Tensor:
        """Steps `start` to `stop` of one level of an item `[1, C, t, H, W]`, in float32.

        Pictures have no steps: `[1, C, H, W]`.

        Raises:
            ValueError: there are no such steps, or the file is missing or broken.
        """
        item, unit, axes = self.item(name), self.unit(name), self.header.over
        if axes.has_time:
            steps = axes.of_time(item.grids[level])
            stop = steps if stop is None else stop
            if not 0 <= start <= stop <= steps:
                raise ValueError(
                    f"steps {start} to {stop} of level {level} of {name} were asked for; "
                    f"it has {steps}"
                )
        if self.header.coding:
            return self._decoded_level(name, level, start, stop)
        steps = (start, stop) if axes.has_time else None
        return self._files.values(item, unit, level, part, steps)[None]

    def stream(
        self, name: str, levels: int | None = None, steps: int = 2
    ) -> Iterator[list[Tensor]]:
        """The same along time, piece by piece: `[1, C, t, H, W]` per level.

        A piece holds `steps` steps of level 0 and what lies under them in the finer levels; the
        first step of every level covers one frame. Where every chunk has a λ of its own, a piece
        has one, and may be shorter: see `rate_weights`.
        """
        kept, chunks = range(self.check_levels(levels)), None
        axes = self.header.over
        strides = [axes.of_time(level.stride) for level in self.header.levels]
        if self.header.coding:
            chunks = RecutChunks(axes, self._chunks(name, len(kept)), len(kept))
        for *ends, _ in self._pieces(name, steps):
            spans = [[under(end, strides[0] // strides[k]) for end in ends] for k in kept]
            if chunks:
                yield chunks.take([stop - start for start, stop in spans])
            else:
                yield [self.read_level(name, k, *span) for k, span in zip(kept, spans, strict=True)]

    def rate_weights(self, name: str, steps: int = 2) -> Iterator[float | None]:
        """λ of each piece of `stream`, or of an item without time, at which a model that takes one
        decodes it; None is that of the data set, at which `made_by` gives the model."""
        return (weight for *_, weight in self._pieces(name, steps))

    def item(self, name: str) -> Item:
        """What is known of an item; KeyError if there is none of this name."""
        if name not in self.items:
            some = ", ".join(f"'{one}'" for one in islice(self.items, 3)) or "none"
            more = f", ... ({len(self.items)})" if len(self.items) > 3 else ""
            raise KeyError(f"{self.place.url} has no item '{name}'; its items are {some}{more}")
        return self.items[name]

    def unit(self, name: str) -> int:
        """The unit in whose files an item lies; KeyError if there is none of this name."""
        return self._unit_of[self.item(name).name]

    def check_levels(self, levels: int | None) -> int:
        """`levels`, or how many there are if None; ValueError if there are not so many."""
        there = len(self.header.levels)
        if levels is not None and not 1 <= levels <= there:
            raise ValueError(
                f"levels is {levels}; {self.place.url} has levels to read from 1 to {there}"
            )
        return levels or there

    def _chunks(
        self, name: str, levels: int, first: int = 0, last: int | None = None
    ) -> Iterator[list[Tensor]]:
        """Entropy-coded latents of the first levels `[1, C, *axes]`, as they were written: of all
        chunks, or from one that begins anew to before another."""
        from ..bits.decoder import read_clip  # brings the network, which most do without

        item, model, header = self.item(name), self._coder(), self.header
        files = [self._window(item, level, first, last) for level in range(levels)]
        rates = [chunk.rate_weight for chunk in item.chunks or ()]
        try:
            yield from read_clip(model, header.coding, item.size, files, header.tile, first, rates)
        except ValueError as error:
            raise ValueError(f"{self.place.url}: {name}: {error}") from None

    def _window(self, item: Item, level: int, first: int, last: int | None) -> Window:
        """What `read_clip` reads of a level for these chunks: its steps, and their streams."""
        from ..bits.bitstream import steps_bytes

        unit = self.unit(item.name)
        start, stop = (span := self._files.span(item, unit, level)).start, span.stop
        spans = [(start, stop)]
        if last is not None:
            ends = [*accumulate((c.bits[level] // 8 for c in item.chunks), initial=start)]
            head = steps_bytes(self._coder(), level) if first else 0
            spans = [(start, start + head), (ends[first], min(ends[last], stop))]
        return Window(self.place, level_file(level, unit), spans)

    def _pieces(self, name: str, steps: int) -> Iterator[tuple[int, int, float | None]]:
        """First step of level 0 of each piece of an item, the one behind its last, and its λ."""
        axes, item = self.header.over, self.item(name)
        length = axes.of_time(item.grids[0])
        chunks = [(length, None)]
        if self.header.rate_chosen:
            from ..bits.bitstream import chunk_units

            units = chunk_units(self._coder(), self.header.coding, axes.of_space(item.size))
            ends = (1 + k * units for k in range(1, len(item.chunks) + 1))
            chunks = zip(ends, (chunk.rate_weight for chunk in item.chunks), strict=True)
        start = 0
        for end, weight in chunks:
            stop = min(end, length)
            for begin in range(start, stop, steps):
                yield begin, min(begin + steps, stop), weight
            start = stop

    def _decoded_level(self, name: str, level: int, start: int, stop: int | None) -> Tensor:
        """Decodes all that comes before, too, from where it may begin."""
        axes, kept = self.header.over, []
        first, last, step = self._chunk_range(name, level, start, stop)
        for *_, z in self._chunks(name, level + 1, first, last):
            if not axes.has_time:
                return z
            count = axes.of_time(z.shape[2:])
            begin, end = (min(max(at - step, 0), count) for at in (start, stop))
            kept.append(axes.steps(z, begin, end).clone())
            step += count
            if step >= stop:
                break
        return axes.joined(kept)

    def _chunk_range(
        self, name: str, level: int, start: int, stop: int | None
    ) -> tuple[int, int | None, int]:
        """The first chunk that is read for steps of a level, the one behind the last, or None for
        all, and the first step that comes of it, see `chunks_from_key`."""
        from ..bits.bitstream import chunks_from_key

        item, coding = self.item(name), self.header.coding
        if item.chunks is None or not self.header.over.has_time:
            return 0, None, 0
        first, last, begin = chunks_from_key(self._coder(), coding, item.size, level, start, stop)
        if last > len(item.chunks):
            raise ValueError(f"{self.place.url}: {name}: its record lacks chunks {last - 1} and on")
        return first, last, begin

    def _coder(self) -> Ladder:
        from ..checkpoint import load

        if self.model is None:
            try:
                model = load(self.header.model)
            except ValueError as error:
                raise ValueError(f"{error}; it reads {self.place.url}: give it yourself") from None
            self.model = made_by(model, self.header, self.place)
        return self.model


class LatentStore(LatentReader):
    """A data set of latents, here or behind any URL that `fsspec` opens.

    It goes by the names of its items:

        for name in store:
            latents = store[name]  # all levels, see `read`

    Attributes:
        manifest: the header, how much there is, and the statistics per level.

    Raises:
        ValueError: no complete data set of a version this program knows lies at `path`.
    """

    def __init__(self, path: str | Path, model: Ladder | None = None) -> None:
        place = Place(path)
        self.manifest = read_manifest(place)
        records = read_units(place, self.manifest, check_units(place, self.manifest))
        super().__init__(place, self.manifest, enumerate(records), model)

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[str]:
        return iter(self.items)

    def __contains__(self, name: object) -> bool:
        return name in self.items

    def __getitem__(self, name: str) -> Latents:
        return self.read(name)


def made_by(model: Ladder, header: Header, place: Place) -> Ladder:
    """`model` at the λ of the latents, if it takes one.

    Raises:
        ValueError: the latents were not made by this very model.
    """
    from ..model.fingerprint import fingerprint

    if fingerprint(model) == header.fingerprint:
        levels = [(level.stride, channels_of(model, k)) for k, level in enumerate(model.levels)]
        said = [(level.stride, level.channels) for level in header.levels]
        if (levels, model.domain.name) != (said, header.domain):
            raise ValueError(
                f"the latents in {place.url} are said to come from model '{header.model}', which "
                f"has another domain, or levels of other strides or channels"
            )
    else:
        raise ValueError(
            f"the latents in {place.url} come from model '{header.model}' with fingerprint "
            f"{header.fingerprint}, but the given model has {fingerprint(model)}; "
            f"give the one that encoded them"
        )
    return model if header.rate_weight is None else model.at_rate(header.rate_weight)


def under(steps: int, factor: int) -> int:
    """How many finer steps the first `steps` coarse ones cover, `factor` each but for the first."""
    return 1 + (steps - 1) * factor if steps else 0
