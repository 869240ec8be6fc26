"""Latents on disk: `LatentWriter` makes a data set, `LatentStore` reads it; see manifest.py."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from ..config import parse
from ..domain import DOMAINS
from ..latents import Latents
from .manifest import (
    FAILED,
    MANIFEST,
    SHARDS,
    Header,
    Item,
    Manifest,
    Statistics,
    check_free,
    in_memory,
    level_file,
    level_folder,
    on_disk,
    read_json,
    read_manifest,
    shard_file,
    write_json,
)
from .tensors import DTYPES, Moments, TensorFile

SHARD_BYTES = 64 * 2**20  # of the finest level; a shard ends with the item that reaches it


class LatentWriter:
    """Writes a data set; it appears under its name when complete, or not at all.

        with LatentWriter("latents", header) as writer:
            writer.append(levels)  # per level [C, *axes]; a video in as many pieces as one likes
            writer.end("clip.mp4", "video", size=(17, 256, 256), fps=25.0)

    Args:
        replace: put it in the place of a former data set, which stays until this one is complete.

    Raises:
        ValueError: something else lies at `out`, or a data set and `replace` is not given.
    """

    def __init__(
        self,
        out: str | Path,
        header: Header,
        replace: bool = False,
        shard_bytes: int = SHARD_BYTES,
    ) -> None:
        self.out = Path(out).resolve()
        check_free(self.out, replace)
        self.header, self.shard_bytes = header, shard_bytes
        self.folder = self.out.with_name(f"{self.out.name}.partial-{uuid.uuid4().hex[:8]}")
        self.items = 0
        self.bytes = [0] * len(header.levels)
        self._shards = 0
        self._files: list[TensorFile] = []
        self._shard_items: list[Item] = []
        self._item_moments = self._no_moments()
        self._shard_moments = self._no_moments()
        self._moments = self._no_moments()

    def __enter__(self) -> LatentWriter:
        for name in (SHARDS, *(level_folder(k) for k in range(len(self.header.levels)))):
            (self.folder / name).mkdir(parents=True)
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        try:
            if failure is None:
                self._finish()
        finally:
            for file in self._files:
                file.abandon()
            shutil.rmtree(self.folder, ignore_errors=True)

    def append(self, levels: Sequence[Tensor]) -> None:
        """Add a piece of the item under way: one tensor `[C, *axes]` per level.

        Raises:
            ValueError: a value is not finite, or beyond the range of the dtype.
        """
        if not self._files:
            self._files = [self._open(k) for k in range(len(self.header.levels))]
        for k, (file, values) in enumerate(zip(self._files, levels, strict=True)):
            if not values.numel():
                continue
            stored = values.detach().to("cpu", DTYPES[self.header.dtype])
            if not stored.isfinite().all():
                raise ValueError(
                    f"latents of level {k} are not finite in {self.header.dtype}, up to "
                    f"{values.abs().max().item():.4g}; try --dtype float32 and --precision fp32"
                )
            file.append(on_disk(stored, self.header.domain))
            self._item_moments[k] = self._item_moments[k].merge(Moments.of(stored))

    def end(self, name: str, kind: str, size: Sequence[int], fps: float | None) -> Item:
        """Finish the item under way and name it."""
        causal = DOMAINS[self.header.domain].causal
        grids = []
        for file in self._files:
            shape = list(file.end(name))
            shape.insert(0, shape.pop(0 if causal is None else 1))  # channels first
            grids.append(tuple(shape[1:]))
        item = Item(name=name, kind=kind, size=tuple(size), fps=fps, grids=tuple(grids))
        self._shard_items.append(item)
        self._shard_moments = _merge(self._shard_moments, self._item_moments)
        self._item_moments = self._no_moments()
        if self._files[-1].bytes >= self.shard_bytes:
            self._end_shard()
        return item

    def discard(self) -> None:
        """Forget the item under way."""
        for file in self._files:
            file.discard()
        self._item_moments = self._no_moments()

    def fail(self, name: str, reason: str) -> None:
        """Forget the item under way and record why `name` is missing."""
        self.discard()
        with open(self.folder / FAILED, "a", encoding="utf-8") as log:
            log.write(json.dumps({"name": name, "reason": reason}) + "\n")

    def _no_moments(self) -> list[Moments]:
        return [Moments.none(level.channels) for level in self.header.levels]

    def _open(self, level: int) -> TensorFile:
        path = self.folder / level_file(level, self._shards)
        metadata = {"axes": " ".join(self.header.axes), "level": str(level)}
        return TensorFile(path, self.header.dtype, metadata)

    def _end_shard(self) -> None:
        for k, file in enumerate(self._files):
            self.bytes[k] += file.bytes
            file.close()
        record = {
            "items": [item.model_dump(mode="json") for item in self._shard_items],
            "statistics": [
                {"count": m.count, "mean": m.mean.tolist(), "m2": m.m2.tolist()}
                for m in self._shard_moments
            ],
        }
        write_json(self.folder / shard_file(self._shards), record)
        self.items += len(self._shard_items)
        self._moments = _merge(self._moments, self._shard_moments)
        self._shards += 1
        self._files, self._shard_items, self._shard_moments = [], [], self._no_moments()

    def _finish(self) -> None:
        self.discard()
        if self._shard_items:
            self._end_shard()
        statistics = [
            Statistics(count=m.count, mean=tuple(m.mean.tolist()), std=tuple(m.std.tolist()))
            for m in self._moments
        ]
        manifest = Manifest(
            **self.header.model_dump(),
            items=self.items,
            shards=self._shards,
            statistics=tuple(statistics),
        )
        write_json(self.folder / MANIFEST, manifest.model_dump(mode="json"), indent=1)
        _move_into_place(self.folder, self.out)


class LatentStore:
    """Reads a data set.

    Attributes:
        manifest: what the latents have in common, and their statistics per level.
        items: the sources by name, in the order in which they were written.

    Raises:
        ValueError: no complete data set of a version this program knows lies at `path`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.manifest = read_manifest(self.path)
        self.items: dict[str, Item] = {}
        self._shard_of: dict[str, int] = {}
        for shard in range(self.manifest.shards):
            file = self.path / shard_file(shard)
            for entry in read_json(file)["items"]:
                item = parse(Item, entry, str(file))
                self.items[item.name] = item
                self._shard_of[item.name] = shard

    def read(self, name: str, levels: int | None = None) -> Latents:
        """The first `levels` levels (all by default) of an item, as a batch of one, in float32.

        Only the files of these levels are opened.
        """
        kept = range(self.check_levels(levels))
        tensors = tuple(self._read(name, k, slice(None)) for k in kept)
        return Latents(tensors, self.items[name].size)

    def stream(
        self, name: str, levels: int | None = None, steps: int = 2
    ) -> Iterator[list[Tensor]]:
        """The same along time, piece by piece: `[1, C, t, H, W]` per level.

        A piece holds `steps` steps of level 0 and what lies under them in the finer levels; the
        first step of every level covers one frame.
        """
        kept = range(self.check_levels(levels))
        causal = DOMAINS[self.manifest.domain].causal
        strides = [level.stride[causal] for level in self.manifest.levels]
        length = self.items[name].grids[0][causal]
        for start in range(0, length, steps):
            ends = (start, min(start + steps, length))
            yield [
                self._read(name, k, slice(*(_under(end, strides[0] // strides[k]) for end in ends)))
                for k in kept
            ]

    def check_levels(self, levels: int | None) -> int:
        """`levels`, or how many there are if None; ValueError if there are not so many."""
        there = len(self.manifest.levels)
        if levels is not None and not 1 <= levels <= there:
            raise ValueError(
                f"levels is {levels}; {self.path} has levels to read from 1 to {there}"
            )
        return levels or there

    def _read(self, name: str, level: int, span: slice) -> Tensor:
        path = self.path / level_file(level, self._shard_of[name])
        if not path.is_file():
            raise ValueError(f"{path} is missing; the {level} coarser levels do without it")
        with safe_open(path, "pt") as file:
            values = file.get_slice(name)[span]
        return in_memory(values, self.manifest.domain).float()[None]


def _under(steps: int, factor: int) -> int:
    """How many finer steps the first `steps` coarse ones cover, `factor` each but for the first."""
    return 1 + (steps - 1) * factor if steps else 0


def _merge(left: Sequence[Moments], right: Sequence[Moments]) -> list[Moments]:
    return [a.merge(b) for a, b in zip(left, right, strict=True)]


def _move_into_place(folder: Path, out: Path) -> None:
    """Rename `folder` to `out`; a former data set is deleted only once the new one is there."""
    if not out.exists() or not any(out.iterdir()):
        os.replace(folder, out)
        return
    former = folder.with_name(folder.name.replace(".partial-", ".former-"))
    os.replace(out, former)
    try:
        os.replace(folder, out)
    except OSError:
        os.replace(former, out)
        raise
    shutil.rmtree(former)
