"""Reads data sets of latents; FORMAT.md describes the files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from torch import Tensor

from ..latents import Latents
from .manifest import (
    Header,
    Item,
    Part,
    UnitRecord,
    in_memory,
    level_file,
    read_manifest,
    read_units,
    scale_key,
)
from .place import Place
from .tensors import Extent, from_bytes, read_extents

HEADERS = 4096  # of files, kept in memory


class LatentReader:
    """The latents of some units.

    Only the bytes that are asked for are read, beside one header per file.

    Attributes:
        header: what the latents have in common.
        items: what there is, by name, in the order of the sources.
    """

    def __init__(
        self, place: Place, header: Header, units: Iterable[tuple[int, UnitRecord]]
    ) -> None:
        self.place, self.header = place, header
        self.items: dict[str, Item] = {}
        self._unit_of: dict[str, int] = {}
        for unit, record in units:
            for item in record.items:
                self.items[item.name] = item
                self._unit_of[item.name] = unit
        self._extents: dict[tuple[int, int, Part], dict[str, Extent]] = {}

    def read(self, name: str, levels: int | None = None) -> Latents:
        """The first `levels` levels (all by default) of an item, as a batch of one, in float32.

        Only the files of these levels are opened.
        """
        kept = range(self.check_levels(levels))
        tensors = tuple(self.read_level(name, k) for k in kept)
        return Latents(tensors, self.items[name].size)

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
        unit, causal = self._unit_of[name], self.header.causal
        file = level_file(level, unit, part)
        extent = self._extent(level, unit, part, name)
        if causal is not None:
            stop = extent.shape[0] if stop is None else stop
            if not 0 <= start <= stop <= extent.shape[0]:
                raise ValueError(
                    f"steps {start} to {stop} of level {level} of {name} were asked for; "
                    f"it has {extent.shape[0]}"
                )
            extent = extent.rows(start, stop)
        values = self._tensor(file, extent)
        if extent.dtype == "int8":
            scale = self._tensor(file, self._extent(level, unit, part, scale_key(name)))
            values = values * scale.view(-1, *[1] * (values.ndim - (1 if causal is None else 2)))
        return in_memory(values, causal).float()[None]

    def stream(
        self, name: str, levels: int | None = None, steps: int = 2
    ) -> Iterator[list[Tensor]]:
        """The same along time, piece by piece: `[1, C, t, H, W]` per level.

        A piece holds `steps` steps of level 0 and what lies under them in the finer levels; the
        first step of every level covers one frame.
        """
        kept = range(self.check_levels(levels))
        causal = self.header.causal
        strides = [level.stride[causal] for level in self.header.levels]
        length = self.items[name].grids[0][causal]
        for start in range(0, length, steps):
            ends = (start, min(start + steps, length))
            yield [
                self.read_level(name, k, *(under(end, strides[0] // strides[k]) for end in ends))
                for k in kept
            ]

    def unit(self, name: str) -> int:
        """The unit in whose files an item lies."""
        return self._unit_of[name]

    def check_levels(self, levels: int | None) -> int:
        """`levels`, or how many there are if None; ValueError if there are not so many."""
        there = len(self.header.levels)
        if levels is not None and not 1 <= levels <= there:
            raise ValueError(
                f"levels is {levels}; {self.place.url} has levels to read from 1 to {there}"
            )
        return levels or there

    def _extent(self, level: int, unit: int, part: Part, key: str) -> Extent:
        """Where a tensor lies in its file; headers are kept, as each serves many items."""
        if (level, unit, part) not in self._extents:
            file = level_file(level, unit, part)
            if not self.place.exists(file):
                missing = f"the {level} coarser levels do without it"
                raise ValueError(f"{self.place / file} is missing; {missing}")
            if len(self._extents) >= HEADERS:
                self._extents.clear()
            extents = read_extents(lambda start, stop: self.place.read(file, start, stop))
            self._extents[level, unit, part] = extents
        try:
            return self._extents[level, unit, part][key]
        except KeyError:
            file = level_file(level, unit, part)
            raise ValueError(f"{self.place / file} has no tensor '{key}'") from None

    def _tensor(self, file: str, extent: Extent) -> Tensor:
        content = self.place.read(file, extent.start, extent.stop)
        if len(content) != extent.stop - extent.start:
            raise ValueError(f"{self.place / file} is cut off; `stlatent verify` says what else is")
        return from_bytes(content, extent.dtype, extent.shape)


class LatentStore(LatentReader):
    """A data set of latents, here or behind any URL that `fsspec` opens.

    Attributes:
        manifest: the header, how much there is, and the statistics per level.

    Raises:
        ValueError: no complete data set of a version this program knows lies at `path`.
    """

    def __init__(self, path: str | Path) -> None:
        place = Place(path)
        self.manifest = read_manifest(place)
        records = read_units(place, range(self.manifest.units))
        super().__init__(place, self.manifest, enumerate(records))


def under(steps: int, factor: int) -> int:
    """How many finer steps the first `steps` coarse ones cover, `factor` each but for the first."""
    return 1 + (steps - 1) * factor if steps else 0
