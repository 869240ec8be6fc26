"""Whether a source is still the one that was encoded.

Its size, and a hash of its first and last bytes, are written down with the job (`inputs.jsonl`):
they are the same on every machine and in every bucket. What lies between is told by the time: a
source that was written to after the job began, and whose hash does not cover all of it, counts as
another one.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from fsspec import AbstractFileSystem

from ..store.place import seconds_of

END_BYTES = 2**14  # of a source at either end
THREADS = 16  # that read ends
TOGETHER = 1024  # sources at a time


class Mark(NamedTuple):
    """bytes: the size of a source. ends: hash of its first and last bytes. changed: when it last
    was, in seconds since 1970."""

    bytes: int
    ends: str
    changed: float


def local_mark(path: str | Path) -> Mark:
    """Of a file, or of a folder of frames."""
    if not os.path.isdir(path):
        about, ends = os.stat(path), b""
        with suppress(OSError), open(path, "rb") as file:  # whoever encodes it says what is wrong
            ends = file.read(END_BYTES)
            file.seek(max(about.st_size - END_BYTES, len(ends)))
            ends += file.read(END_BYTES)
        return Mark(about.st_size, digest(ends), about.st_mtime)
    entries = sorted((entry.name, entry.stat()) for entry in os.scandir(path))
    listed = repr([(name, about.st_size) for name, about in entries]).encode()
    outer = [local_mark(os.path.join(path, name)).ends for name, _ in {*entries[:1], *entries[-1:]}]
    total = sum(about.st_size for _, about in entries)
    changed = max((about.st_mtime for _, about in entries), default=0.0)
    return Mark(total, digest(listed + "".join(sorted(outer)).encode()), changed)


def local_marks(paths: Sequence[str | Path]) -> Iterator[Mark]:
    """`local_mark` of each, in order."""
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(paths), TOGETHER):
            yield from pool.map(local_mark, paths[start : start + TOGETHER])


def remote_marks(fs: AbstractFileSystem, found: Sequence[tuple[str, dict]]) -> Iterator[Mark]:
    """The same of files behind a URL, by their path and what the file system says of them."""
    for start in range(0, len(found), TOGETHER):
        some = found[start : start + TOGETHER]
        spans = [_ends(about["size"]) for _, about in some]
        paths = [path for (path, _), ends in zip(some, spans, strict=True) for _ in ends]
        starts, stops = zip(*chain.from_iterable(spans)) if paths else ((), ())
        given = fs.cat_ranges(paths, [*starts], [*stops], on_error="return")
        parts = iter(part if isinstance(part, bytes) else b"" for part in given)
        for (_, about), ends in zip(some, spans, strict=True):
            content = b"".join(next(parts) for _ in ends)
            yield Mark(about["size"], digest(content), seconds_of(about))


def covered(size: int) -> bool:
    """Whether the hash of the ends is that of all of a file of so many bytes."""
    return size <= 2 * END_BYTES


def digest(content: bytes) -> str:
    """The first 16 hexadecimal digits of its sha256."""
    return hashlib.sha256(content).hexdigest()[:16]


def _ends(size: int) -> list[tuple[int, int]]:
    """Where the ends of a file lie that has so many bytes."""
    first = min(size, END_BYTES)
    last = max(size - END_BYTES, first)
    return [span for span in ((0, first), (last, size)) if span[0] < span[1]]
