"""What is said of sources: captions that lie beside them, as trainers have them.

    clips/a.mp4, clips/a.txt     the text of `a.txt` is the caption of `a.mp4`, and of nothing else
    clips/metadata.jsonl         a line of {"file_name": "a.mp4", "caption": "..."} for each
    clips/metadata.csv           the same as a table; paths are relative to the folder it lies in

What lies beside a file itself comes before what is said in a table.
"""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from ..files import shown
from ..media.walk import TABLES, stem

# what trainers call the file of a row, and what is said of it; the first that is there counts
FILES = ("file_name", "path", "url", "video", "image", "media_path", "video_path", "image_path")
WORDS = ("caption", "text", "prompt")
MOST_BYTES = 2**16  # of the caption of one source
Row = Mapping[str, Any]

log = logging.getLogger(__name__)


def captions(
    sources: Iterable[str], others: Iterable[str], read: Callable[[str], bytes]
) -> dict[str, str]:
    """The captions of sources, of those that have one.

    Args:
        sources: their names below a folder, with `/`.
        others: names of the other files there.
        read: gives what one of these holds.

    Raises:
        ValueError: a caption is no text in UTF-8 or too long, or a table cannot be read.
    """
    named = {*sources}
    found: dict[str, str] = {}
    beside: dict[str, list[str]] = {}
    for name in named:
        beside.setdefault(stem(name), []).append(name)
    texts = []
    for name in sorted(others):
        if PurePosixPath(name).name in TABLES:
            found |= _of_table(name, read(name), named)
        elif name.lower().endswith(".txt") and stem(name) in beside:
            texts.append(name)
    for name in texts:
        if caption := text(read(name), name):
            found |= dict.fromkeys(beside[stem(name)], caption)
    return found


def text(content: bytes, name: str) -> str:
    """A caption as it stands in a file."""
    if len(content) > MOST_BYTES:
        raise ValueError(
            f"{shown(name)} is no caption: it has {len(content)} bytes, more than {MOST_BYTES}"
        )
    return _decoded(content, name).strip()


def rows(name: str, content: bytes) -> Iterator[tuple[int, Row]]:
    """The rows of a table, by their numbers from 1 on: JSON lines, or CSV by the suffix.

    Raises:
        ValueError: it is neither.
    """
    lines = _decoded(content, name)
    if name.lower().endswith(".csv"):
        try:
            yield from enumerate(csv.DictReader(io.StringIO(lines, newline="")), 1)
        except csv.Error as error:
            raise ValueError(f"{shown(name)} is no CSV: {error}") from None
        return
    for number, line in enumerate(lines.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise ValueError(f"{shown(name)}, line {number}, is not valid JSON") from None
        if not isinstance(row, dict):
            raise ValueError(f'{shown(name)}, line {number}, is no {{"file_name": ...}}')
        yield number, row


def file_of(row: Row) -> str | None:
    """Which file a row is about."""
    return next((row[key] for key in FILES if isinstance(row.get(key), str) and row[key]), None)


def caption_of(row: Row) -> str | None:
    """What a row says of it."""
    said = (row[key].strip() for key in WORDS if isinstance(row.get(key), str))
    return next((caption for caption in said if caption), None)


def _of_table(name: str, content: bytes, sources: set[str]) -> dict[str, str]:
    found, missing, folder = {}, [], PurePosixPath(name).parent
    for number, row in rows(name, content):
        if (file := file_of(row)) is None:
            raise ValueError(f"{shown(name)}, row {number}, names no file; {FILES[0]} is to")
        source = str(folder / file)
        if source not in sources:
            missing.append(file)
        elif caption := caption_of(row):
            found[source] = caption[:MOST_BYTES]
    if missing:
        what = "files that are not there or of no type that is read"
        log.warning(
            "%s names %d %s, such as %s", shown(name), len(missing), what, shown(missing[0])
        )
    return found


def _decoded(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{shown(name)} is no text in UTF-8") from None
