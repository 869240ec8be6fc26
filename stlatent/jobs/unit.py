"""One unit of work: the latents of some sources, which enter the data set together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from ..media.codes import Code, HowTold
from ..media.encoder import About
from ..model.domain import Domain
from ..store.codebooks import latents_of
from ..store.header import Header, Part, in_memory, level_file, on_disk, scale_key
from ..store.manifest import unit_file, write_json
from ..store.place import Place
from ..store.records import ChunkRecord, Failure, FileRecord, Item, MomentsRecord, UnitRecord
from ..store.tensors import (
    DTYPES,
    INT8_STEPS,
    Entry,
    Moments,
    Spool,
    TensorSpan,
    file_blocks,
    from_bytes,
    read_spans,
    row_blocks,
)


class LatentItem:
    """The latents of one item under way.

        item.append(codes)  # a video in as many pieces as one likes, before the next item begins
        item.end(size=(17, 256, 256))

    Attributes:
        record: what the data set says about it, once it is complete.
    """

    def __init__(
        self,
        header: Header,
        spools: dict[tuple[int, Part], Spool],
        about: About,
        caption: str | None = None,
    ) -> None:
        self.header, self.about, self.caption = header, about, caption
        self.record: Item | None = None
        self._spools = spools
        self._starts: dict[tuple[int, Part], int] = {}
        self._shapes: dict[tuple[int, Part], tuple[int, ...]] = {}
        self._grids: list[tuple[int, ...]] = [()] * len(header.levels)
        self._bits = [0.0] * len(header.levels)
        self._peaks = [torch.zeros(level.channels) for level in header.levels]
        self.tolerance = [math.inf] * len(header.levels)
        self._chunks: list[ChunkRecord] = []
        self.moments = [Moments.none(level.channels) for level in header.levels]

    def append(self, codes: Sequence[Code]) -> None:
        """Add a piece, per level, without a batch.

        Raises:
            ValueError: a value is not finite, or beyond the range of the dtype.
        """
        for k, (level, code) in enumerate(zip(self.header.levels, codes, strict=True)):
            self._grids[k] = _longer(self.header.over, self._grids[k], code.latents.shape[1:])
            self._bits[k] += code.bits.item()
            if level.dtype == "bits":
                content = torch.frombuffer(bytearray(code.stream), dtype=torch.uint8)
                self._write((k, "mean"), content)
                self.moments[k] = self.moments[k].merge(Moments.of(code.latents))
                self.tolerance[k] = min(self.tolerance[k], code.tolerance)
                continue
            self._add((k, "mean"), code.latents if code.indices is None else code.indices)
            if code.std is not None:
                self._add((k, "std"), code.std)
            peak = code.latents.abs().flatten(1).amax(1)
            self._peaks[k] = torch.maximum(self._peaks[k], peak)

        self._chunks += [_chunk_record(told) for told in zip(*(code.told for code in codes))]

    def _add(self, key: tuple[int, Part], values: Tensor) -> None:
        dtype = self._spools[key].dtype
        stored = values.to(DTYPES[dtype])
        if values.is_floating_point() and not stored.isfinite().all():
            raise ValueError(
                f"latents of level {key[0]} are not finite in {dtype}, up to "
                f"{values.abs().max().item():.4g}; try --dtype float32 or --precision fp32"
            )
        self._write(key, on_disk(stored, self.header.over))

    def _write(self, key: tuple[int, Part], stored: Tensor) -> None:
        spool = self._spools[key]
        self._starts.setdefault(key, spool.end)
        before = self._shapes.get(key, (0,))[0]
        self._shapes[key] = (before + len(stored), *stored.shape[1:])
        spool.append(stored)

    def end(self, size: Sequence[int]) -> Item:
        """It is complete; `size` is that of the input, along the axes of the domain."""
        bits = tuple(round(max(bits, 0.0), 1) for bits in self._bits)
        grids = tuple(self._grids)
        about = {**vars(self.about), "caption": self.caption, "chunks": tuple(self._chunks) or None}
        self.record = Item(size=tuple(size), grids=grids, bits=bits, **about)
        return self.record

    def entries(self, level: int, part: Part) -> Iterator[Entry]:
        """What one file holds of this item."""
        key, name, whole = (level, part), self.about.name, not self.header.over.has_time
        start, shape, spool = self._starts[key], self._shapes[key], self._spools[key]
        dtype = self.header.dtype(level, part)
        if dtype != "int8":
            yield Entry(name, spool.dtype, shape, lambda: spool.blocks(start, shape, whole))
            return
        scale = self._peaks[level].clamp(min=1e-12) / INT8_STEPS
        divisor = _along_channels(scale, shape, self.header)

        def quantised() -> Iterator[Tensor]:
            for block in spool.blocks(start, shape, whole):
                yield (block / divisor).round().clamp(-INT8_STEPS, INT8_STEPS).to(torch.int8)

        yield Entry(scale_key(name), "float32", tuple(scale.shape), lambda: [scale])
        yield Entry(name, dtype, shape, quantised)


class FormerItem:
    """An item of a unit that is written anew; its bytes are copied."""

    def __init__(self, header: Header, place: Place, unit: int, record: Item) -> None:
        self.header, self.place, self.unit, self.record = header, place, unit, record
        r = record
        self.about = About(r.name, r.source, r.start, r.kind, r.fps, r.shape, r.scan)

    def entries(self, level: int, part: Part) -> Iterator[Entry]:
        file = level_file(level, self.unit, part)
        spans = read_spans(self.place, file)
        for key in (scale_key(self.record.name), self.record.name):
            if key in spans:
                blocks = self._blocks(file, spans[key])
                yield Entry(key, spans[key].dtype, spans[key].shape, lambda b=blocks: b)

    def _blocks(self, file: str, span: TensorSpan) -> Iterator[Tensor]:
        whole = not self.header.over.has_time or len(span.shape) == 1
        for start, stop in row_blocks(span.shape, whole):
            part = span.rows(start, stop)
            yield from_bytes(self.place.read(file, part.start, part.stop), part.dtype, part.shape)


class UnitWriter:
    """Collects the items of a unit and writes them together.

    with UnitWriter(place, header, number=0) as unit:
        item = unit.item(About("clip.mp4", "clip.mp4", 0, "video", fps=25.0))
        ...
        unit.commit(["clip.mp4"])

    Args:
        former: what the unit held before, if it is written anew.
        tables: vectors of the levels whose latents are codes, see `store/codebooks.py`.
        captions: of sources, by their names.
    """

    def __init__(
        self,
        place: Place,
        header: Header,
        number: int,
        former: UnitRecord | None = None,
        tables: Mapping[int, Tensor] | None = None,
        captions: Mapping[str, str | None] | None = None,
    ) -> None:
        self.place, self.header, self.number, self.tables = place, header, number, tables or {}
        self.captions = captions or {}
        self.items: list[LatentItem | FormerItem] = []
        self.failed: list[Failure] = []
        for record in former.items if former else ():
            self.items.append(FormerItem(header, place, number, record))
        self._spools: dict[tuple[int, Part], Spool] = {}

    def __enter__(self) -> UnitWriter:
        folder = None
        if self.place.local is not None:
            folder = self.place.local / self.place.scratch
            folder.mkdir(parents=True, exist_ok=True)
        for level, part, _ in self.header.files(self.number):
            dtype = self.header.dtype(level, part)
            # int8 waits in float32 until its scale is known; bits are bytes
            waiting = {"int8": "float32", "bits": "uint8"}.get(dtype, dtype)
            self._spools[level, part] = Spool(waiting, folder)
        return self

    def __exit__(self, *_: object) -> None:
        for spool in self._spools.values():
            spool.close()

    def item(self, about: About) -> LatentItem:
        """A new item, to be filled."""
        caption = self.captions.get(about.source)
        self.items.append(LatentItem(self.header, self._spools, about, caption))
        return self.items[-1]

    def fail(self, source: str, stage: str, reason: str) -> Failure:
        """Forget what came of a source, and record why it is missing."""
        self.items = [item for item in self.items if item.about.source != source]
        self.failed.append(Failure(name=source, stage=stage, reason=reason))
        return self.failed[-1]

    def commit(self, sources: Sequence[str]) -> UnitRecord:
        """Write the unit, its items in the order of `sources`; the record, which makes it part of
        the data set, comes last."""
        order = {source: i for i, source in enumerate(sources)}
        self.items.sort(key=lambda item: (order[item.about.source], item.about.start))
        self.failed.sort(key=lambda failure: order[failure.name])
        moments = [Moments.none(level.channels) for level in self.header.levels]
        self.place.remove(unit_file(self.number))  # while a former one is replaced, there is none
        files = {}
        for level, part, name in self.header.files(self.number):
            if self.items:
                files[name] = self._write(level, part, name, moments)
        record = UnitRecord(
            items=tuple(item.record for item in self.items),
            failed=tuple(self.failed),
            files=files,
            moments=tuple(
                MomentsRecord(count=m.count, mean=tuple(m.mean.tolist()), m2=tuple(m.m2.tolist()))
                for m in moments
            ),
            tolerance=self._tolerance(),
        )
        write_json(self.place, unit_file(self.number), record)
        return record

    def _tolerance(self) -> tuple[float, ...] | None:
        if not self.header.coding or not self.items:
            return None
        return tuple(map(min, zip(*(item.tolerance for item in self.items), strict=True)))

    def _write(self, level: int, part: Part, name: str, moments: list[Moments]) -> FileRecord:
        entries: list[Entry] = []
        for item in self.items:
            scale = None
            for entry in item.entries(level, part):
                if entry.name != item.about.name:
                    (scale,) = entry.blocks()
                    entry = entry._replace(blocks=lambda scale=scale: [scale])
                elif self.header.coding:
                    moments[level] = moments[level].merge(item.moments[level])
                elif part == "mean":
                    entry = self._counted(entry, scale, level, moments)
                entries.append(entry)
        metadata = {"axes": " ".join(self.header.axes), "level": str(level), "part": part}
        written = self.place.put(name, file_blocks(entries, metadata))
        return FileRecord(bytes=written.bytes, sha256=written.sha256)

    def _counted(
        self, entry: Entry, scale: Tensor | None, level: int, moments: list[Moments]
    ) -> Entry:
        """The same entry; its values count for the statistics as they go by."""

        def blocks() -> Iterator[Tensor]:
            for block in entry.blocks():
                values = block
                if scale is not None:
                    values = block * _along_channels(scale, entry.shape, self.header)
                values = in_memory(values, self.header.over)
                if level in self.tables:
                    values = latents_of(values, self.tables[level])
                moments[level] = moments[level].merge(Moments.of(values))
                yield block

        return entry._replace(blocks=blocks)


def _chunk_record(levels: Sequence[HowTold]) -> ChunkRecord:
    """How a chunk is told, from how each of its levels is."""
    equal = math.isinf(psnr_db := levels[0].psnr_db)
    return ChunkRecord(
        step=tuple(one.step and round(one.step, 4) for one in levels),
        bits=tuple(one.bits for one in levels),
        psnr_db=None if equal else round(psnr_db, 3),
        rate_weight=levels[0].rate_weight,
    )


def _longer(domain: Domain, grid: Sequence[int], piece: Sequence[int]) -> tuple[int, ...]:
    """The size of a grid and a piece that follows it in time."""
    steps = domain.of_time(piece) + (domain.of_time(grid) if grid else 0)
    return domain.with_time(piece, steps)


def _along_channels(scale: Tensor, shape: Sequence[int], header: Header) -> Tensor:
    """`[C]` -> a shape that multiplies a tensor on disk."""
    after = len(shape) - (2 if header.over.has_time else 1)
    return scale.view(-1, *[1] * after)
