"""Latents of all levels as collections that any program reads: WebDataset shards, or a data set of
`datasets`. They are as they lie in the store, not packed and not normalised, with nothing lost, so
that `restore.py` makes a data set of latents of them again."""

from __future__ import annotations

import io
import itertools
import json
import math
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..store.manifest import Manifest
from ..store.parse import SAID, parse_json, parse_record
from ..store.records import Item
from ..store.tables import TableWriter, open_table

SHARD_BYTES = 2**30
ABOUT = "stlatent.json"  # the manifest, beside them
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
    """A folder of latents.

    Attributes:
        files_of: pattern of the files that hold them.
    """

    files_of: ClassVar[str]

    def __init__(self, folder: Path, manifest: Manifest, files: ExitStack) -> None:
        self.folder, self.manifest, self.files, self.count = folder, manifest, files, 0

    @classmethod
    @contextmanager
    def open(cls, folder: Path, manifest: Manifest) -> Iterator[Collection]:
        """The collection, complete in the end."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ABOUT).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
        with ExitStack() as files:
            yield cls(folder, manifest, files)

    def add(self, item: Item, levels: Arrays) -> None:
        """Write an item."""
        self.write(item, levels)
        self.count += 1

    @abstractmethod
    def write(self, item: Item, levels: Arrays) -> None:
        """Write the next item."""

    @classmethod
    @abstractmethod
    def read(cls, file: Path, levels: int) -> Iterator[tuple[Item, list[np.ndarray]]]:
        """The items of a file, and their levels, each of any shape that its file says.

        Raises:
            ValueError: it holds others, or cannot be read.
        """


class WebDataset(Collection):
    """`00000.tar`, ...: `00000000.level_0.npy`, ..., `00000000.json`, what the data set says of the
    item, and `00000000.txt`, its caption, one sample each."""

    files_of = "*.tar"
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

    @classmethod
    def read(cls, file: Path, levels: int) -> Iterator[tuple[Item, list[np.ndarray]]]:
        try:
            with tarfile.open(file, "r:") as shard:
                samples = itertools.groupby(shard, lambda member: member.name.partition(".")[0])
                for number, members in samples:
                    whole = (m for m in members if m.isfile() and not m.issparse())
                    files = {m.name: shard.extractfile(m).read() for m in whole}
                    yield _sample(file, number, files, levels)
        except (tarfile.TarError, OSError) as error:
            raise ValueError(f"{file} cannot be read: {error}") from None


class HuggingFace(Collection):
    """A folder that `datasets.load_dataset` opens, and the hub shows: a table, and a card."""

    files_of = "data/*.parquet"
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
            (self.folder / "README.md").write_text(card, encoding="utf-8")
        row: dict[str, object] = {
            "name": item.name,
            "source": item.source,
            "start": item.start,
            "kind": item.kind,
            "caption": item.caption,
            "fps": item.fps,
            "size": np.array(item.size),
            "item": json.dumps(item.model_dump(mode="json")),
        }
        for k, values in enumerate(levels):
            row[f"level_{k}"] = values.reshape(-1)
            row[f"level_{k}_shape"] = np.array(values.shape)
        self._table.add(row)

    @classmethod
    def read(cls, file: Path, levels: int) -> Iterator[tuple[Item, list[np.ndarray]]]:
        parts = [name for k in range(levels) for name in (f"level_{k}", f"level_{k}_shape")]
        with closing(open_table(str(file))) as table:
            if missing := {"item", *parts} - {*table.schema_arrow.names}:
                raise ValueError(f"{file} has no column '{min(missing)}': convert them anew")
            for rows in table.iter_batches(batch_size=1, columns=["item", *parts]):
                said, *values = (rows.column(name)[0] for name in ("item", *parts))
                try:
                    numbers = [value.values.to_numpy(zero_copy_only=False) for value in values]
                    content = said.as_py().encode()
                except AttributeError:  # no list, or no text
                    raise ValueError(f"{file} has columns of another kind than ours") from None
                pairs = zip(numbers[::2], numbers[1::2], strict=True)
                item = parse_record(Item, parse_json(content, file), str(file))
                yield item, [_shaped(flat, shape, item.name) for flat, shape in pairs]


def _sample(
    file: Path, number: str, files: dict[str, bytes], levels: int
) -> tuple[Item, list[np.ndarray]]:
    names = [f"{number}.json", *(f"{number}.level_{k}.npy" for k in range(levels))]
    if missing := [name for name in names if name not in files]:
        raise ValueError(f"{file} has no {missing[0]}")
    item, *parts = (files[name] for name in names)
    found = parse_record(Item, parse_json(item, f"{file}: {names[0]}"), f"{file}: {names[0]}")
    return found, [_array(part, f"{file}: {name}") for part, name in zip(parts, names[1:])]


def _array(content: bytes, name: str) -> np.ndarray:
    """What an .npy file holds; nothing is allocated that it does not hold."""
    file = io.BytesIO(content)
    try:
        np.lib.format.read_magic(file)
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        values = np.frombuffer(content, dtype, offset=file.tell())
    except ValueError as error:
        raise ValueError(f"{name} cannot be read: {error}"[:SAID]) from None
    return _shaped(values, shape[::-1], name).T if fortran else _shaped(values, shape, name)


def _shaped(values: np.ndarray, shape: Sequence[int], name: str) -> np.ndarray:
    if values.dtype not in (np.float16, np.float32) or len(values) != math.prod(map(int, shape)):
        raise ValueError(
            f"{name}: {len(values)} values of {values.dtype} are no latents of shape {[*shape]}"
        )
    return values.reshape([*map(int, shape)])


def _npy(values: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, values, allow_pickle=False)
    return content.getvalue()


COLLECTIONS: dict[str, type[Collection]] = {"webdataset": WebDataset, "huggingface": HuggingFace}
