"""Files that hold many sources: WebDataset shards (`.tar`) and tables (`.parquet`).

Of a shard, files whose names differ only behind the first dot are one sample: `0001.mp4`,
`0001.txt` (its caption) or `0001.json` ({"caption": ...}). Of a table, a column holds the files,
as `datasets` has them, {"bytes", "path"}, or bytes alone, and another one captions.

Nothing is unpacked but the source that is encoded, and the next one.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..media.walk import ARCHIVES
from ..store.parse import parse_json
from ..store.place import file_system
from ..store.tables import bytes_column, open_table
from .captions import MOST_BYTES, WORDS, caption_of, text

# of a shard, where a file begins and how many bytes it has; of a table, column and row
Part = tuple[int | str, int]
HEADER_BYTES = 2**16  # read at a time while a shard is looked through
BLOCK_BYTES = 2**20
PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")  # gzip, bzip2, xz, zstd begin
PACKED_IS = (
    "is compressed, so that no part of it can be read by itself; unpack it, or give a plain .tar"
)
BEGINNINGS = {  # of files without a name: where, what, and what their name would end in
    ".png": (0, b"\x89PNG"),
    ".jpg": (0, b"\xff\xd8\xff"),
    ".gif": (0, b"GIF8"),
    ".webp": (8, b"WEBP"),
    ".mp4": (4, b"ftyp"),
    ".mkv": (0, b"\x1aE\xdf\xa3"),
    ".avi": (8, b"AVI "),
    ".wav": (8, b"WAVE"),
    ".flac": (0, b"fLaC"),
}


def holds_others(name: str) -> bool:
    """Whether a file of this name may hold sources."""
    return PurePosixPath(name).suffix.lower() in ARCHIVES


@dataclass(frozen=True)
class Found:
    """A file in an archive.

    Attributes:
        bytes: its size; about so many, where that is not known before it is read.
        caption: what is said of it, if anything.
    """

    name: str
    part: Part
    bytes: int
    caption: str | None = None


def inside(path: str) -> Iterator[Found]:
    """What an archive holds, here or behind a URL, in its order.

    Raises:
        ValueError: it cannot be read.
    """
    yield from (_of_shard if path.lower().endswith(".tar") else _of_table)(path)


class Archives:
    """Copies files out of archives, those of one table one after the other as they come."""

    def __init__(self) -> None:
        self._table: tuple[str, int] = ("", 0)  # its path, and the row that is next
        self._cells: Iterator[bytes | None] = iter(())

    def copy(self, archive: str, part: Part, path: Path) -> None:
        """Write the part of an archive to a file of its own."""
        with open(path, "wb") as copy:
            if archive.lower().endswith(".tar"):
                for block in _span(archive, *part):
                    copy.write(block)
                return
            column, row = part
            if self._table[0] != archive or self._table[1] > row:
                self._table, self._cells = (archive, row), _cells(archive, str(column), row)
            for _ in range(self._table[1], row + 1):
                content = next(self._cells)
            self._table = archive, row + 1
            copy.write(content or b"")


# shards -----------------------------------------------------------------------------------------


def _of_shard(path: str) -> Iterator[Found]:
    samples: dict[str, list[tarfile.TarInfo]] = {}
    said: dict[str, str] = {}
    fs, place = file_system(path)
    try:
        with (
            fs.open(place, "rb", block_size=HEADER_BYTES) as file,
            tarfile.open(fileobj=file, mode="r:") as shard,
        ):
            for member in _members(shard):
                key, caption = _key(member.name), _caption(shard, member)
                if caption is None:
                    samples.setdefault(key, []).append(member)
                elif caption:
                    said[key] = caption
    except (tarfile.TarError, OSError, EOFError) as error:
        if next(_span(path, 0, 6), b"").startswith(PACKED):
            raise ValueError(f"{path} {PACKED_IS}") from None
        raise ValueError(f"{path} cannot be read as a tar file: {error}") from None
    for key, members in samples.items():
        for member in members:
            part = member.offset_data, member.size
            yield Found(member.name, part, member.size, said.get(key))


def _members(shard: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The files of a shard that are stored whole, one at a time."""
    for member in shard:
        shard.members = []  # else it keeps all of them
        if member.isreg() and not member.issparse():
            yield member


def _key(name: str) -> str:
    """Of a sample: the name up to its first dot."""
    path = PurePosixPath(name)
    return str(path.with_name(path.name.partition(".")[0] or path.name))


def _caption(shard: tarfile.TarFile, member: tarfile.TarInfo) -> str | None:
    """What a member says of its sample; None where it is a file of its own."""
    end = PurePosixPath(member.name).suffix.lower()
    if end not in (".txt", ".caption", ".json"):
        return None
    if member.size > MOST_BYTES:
        return ""
    content = shard.extractfile(member).read()
    if end != ".json":
        return text(content, member.name)
    row = parse_json(content, member.name)
    return (caption_of(row) if isinstance(row, dict) else None) or ""


def _span(path: str, start: int, size: int) -> Iterator[bytes]:
    fs, place = file_system(path)
    with fs.open(place, "rb") as file:
        file.seek(start)
        while size > 0:
            block = file.read(min(size, BLOCK_BYTES))
            if not block:
                raise ValueError(f"{path} is cut off")
            size -= len(block)
            yield block


# tables -----------------------------------------------------------------------------------------


def _of_table(path: str) -> Iterator[Found]:
    with closing(open_table(path)) as table:
        schema = table.schema_arrow
        column, named = bytes_column(path, schema)
        words = next((word for word in WORDS if word in schema.names), None)
        count = max(1, table.metadata.num_rows)
        size = sum(table.metadata.row_group(k).total_byte_size for k in range(table.num_row_groups))
        wanted = [name for name in (f"{column}.path" if named else None, words) if name]
        usual = None if named else _usual(path, column)
        row = 0
        for batch in table.iter_batches(1024, columns=wanted) if wanted else ():
            for values in batch.to_pylist():
                file = values[column]["path"] if named else None
                end = PurePosixPath(file).suffix.lower() if file else usual or _usual(path, column)
                said = values.get(words) if words else None
                caption = said.strip() if isinstance(said, str) else None
                yield Found(f"{row:07d}{end}", (column, row), size // count, caption or None)
                row += 1
        for rest in range(row, table.metadata.num_rows):
            yield Found(f"{rest:07d}{usual}", (column, rest), size // count)


def _usual(path: str, column: str) -> str:
    """What names of the files of a column would end in, by the first of them."""
    head = next(_cells(path, column, 0), None) or b""
    for end, (at, mark) in BEGINNINGS.items():
        if head[at : at + len(mark)] == mark:
            return end
    return ".bin"


def _cells(path: str, column: str, first: int) -> Iterator[bytes | None]:
    """The files of a column from a row on, one at a time."""
    with closing(open_table(path)) as table:
        groups, before = [], 0
        for k in range(table.num_row_groups):
            count = table.metadata.row_group(k).num_rows
            if before + count > first:
                groups.append(k)
            else:
                before += count
        for row, batch in enumerate(table.iter_batches(1, groups, columns=[column]), before):
            if row >= first:
                (value,) = batch.column(0).to_pylist()
                yield value["bytes"] if isinstance(value, dict) else value
