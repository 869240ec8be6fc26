"""Latents of all levels as collections that any program reads: WebDataset shards, or a data set of
`datasets`. They are as they lie in the store, not packed and not normalised, with nothing lost."""

from __future__ import annotations

import io
import json
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from ..store.manifest import Manifest
from ..store.records import Item
from ..store.tables import TableWriter

SHARD_BYTES = 2**30
Arrays = Sequence[np.ndarray]  # per level, `[C_l, *grid_l]`

CARD = """---
configs:
- config_name: default
  data_files: data/*.parquet
---
Latents on {levels} levels, coarsest first, of {items} items, made by [stlatent](https://pypi.org/project/stlatent)
with model `{model}`. `level_0`, ... hold the numbers of each level one after the other, and
`level_0_shape`, ... their shapes, `[C, {axes}]`. `stlatent.json` says the rest: strides, means and
deviations per channel.
"""


class Collection(ABC):
    """A folder of latents."""

    def __init__(self, folder: Path, manifest: Manifest, files: ExitStack) -> None:
        self.folder, self.manifest, self.files, self.count = folder, manifest, files, 0

    @classmethod
    @contextmanager
    def open(cls, folder: Path, manifest: Manifest) -> Iterator[Collection]:
        """The collection, complete in the end."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "stlatent.json").write_text(manifest.model_dump_json(indent=1) + "\n")
        with ExitStack() as files:
            yield cls(folder, manifest, files)

    def add(self, item: Item, levels: Arrays) -> None:
        """Write an item."""
        self.write(item, levels)
        self.count += 1

    @abstractmethod
    def write(self, item: Item, levels: Arrays) -> None:
        """Write the next item."""


class WebDataset(Collection):
    """`00000.tar`, ...: `00000000.level_0.npy`, ..., `00000000.json`, what the data set says of the
    item, and `00000000.txt`, its caption, one sample each."""

    _shard: tarfile.TarFile | None = None

    def write(self, item: Item, levels: Arrays) -> None:
        files = {f"level_{k}.npy": _npy(values) for k, values in enumerate(levels)}
        files["json"] = json.dumps(item.model_dump(mode="json")).encode()
        if item.caption is not None:
            files["txt"] = item.caption.encode()
        for ending, content in files.items():
            member = tarfile.TarInfo(f"{self.count:08d}.{ending}")
            member.size = len(content)
            self._open(first=ending == "level_0.npy").addfile(member, io.BytesIO(content))

    def _open(self, first: bool) -> tarfile.TarFile:
        """The shard that is written; the next one, where a sample begins and this one is full."""
        shard = self._shard
        if shard is None or (first and shard.offset >= SHARD_BYTES):
            number = len([*self.folder.glob("*.tar")])
            self.files.close()
            shard = tarfile.open(self.folder / f"{number:05d}.tar", "w")  # noqa: SIM115
            self._shard = self.files.enter_context(shard)
        return shard


class HuggingFace(Collection):
    """A folder that `datasets.load_dataset` opens, and the hub shows: a table, and a card."""

    _table: TableWriter | None = None

    def write(self, item: Item, levels: Arrays) -> None:
        if self._table is None:
            (self.folder / "data").mkdir()
            path = self.folder / "data" / "train-00000-of-00001.parquet"
            self._table = self.files.enter_context(TableWriter(path))
            axes = ", ".join(name for name in self.manifest.axes if name != "channel")
            card = CARD.format(
                levels=len(levels), items=self.manifest.items, model=self.manifest.model, axes=axes
            )
            (self.folder / "README.md").write_text(card)
        row: dict[str, object] = {
            "name": item.name,
            "source": item.source,
            "start": item.start,
            "kind": item.kind,
            "caption": item.caption,
            "fps": item.fps,
            "size": np.array(item.size),
        }
        for k, values in enumerate(levels):
            row[f"level_{k}"] = values.reshape(-1)
            row[f"level_{k}_shape"] = np.array(values.shape)
        self._table.add(row)


def _npy(values: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, values, allow_pickle=False)
    return content.getvalue()


COLLECTIONS: dict[str, type[Collection]] = {"webdataset": WebDataset, "huggingface": HuggingFace}
