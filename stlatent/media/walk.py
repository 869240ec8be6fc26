"""Which files lie in a folder, whatever they hold."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path, PurePosixPath

from ..files import shown

log = logging.getLogger(__name__)
ARCHIVES = (".tar", ".parquet")  # hold sources, see `jobs/archives.py`
COMPRESSED = (  # archives no part of which can be read by itself
    *(".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".zip", ".7z"),
    ".rar",
)
TABLES = ("metadata.jsonl", "metadata.csv")  # say something of sources, see `jobs/captions.py`
NAMED = 5  # of the files that are left out, in the log


def visible(folder: Path) -> list[Path]:
    """What lies in a folder, in order, but for hidden names; a folder that cannot be read is named
    in the log, and empty."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        log.warning("left out %s: %s", shown(folder), (error.strerror or str(error)).lower())
        return []
    return [folder / name for name in names if not name.startswith(".")]


def files_below(root: Path) -> dict[str, Path]:
    """All files below `root` but hidden ones, in order of their names: the path below it, with `/`;
    of a single file, its own. Links are followed, each folder once."""
    if os.path.isfile(root):
        return {root.name: root}
    found = {file.relative_to(root).as_posix(): file for file in _walk(root, set())}
    return dict(sorted(found.items()))


def _walk(path: Path, seen: set[str]) -> Iterator[Path]:
    if not os.path.isdir(path):
        yield path
    elif first_visit(path, seen):
        for child in visible(path):
            yield from _walk(child, seen)


def first_visit(folder: Path, seen: set[str]) -> bool:
    """Whether a folder has not been `seen`, which it now is: a link may lead back up."""
    real = os.path.realpath(folder)
    new = real not in seen
    seen.add(real)
    return new


def name_others(names: Iterable[str], root: str | Path, sources: Iterable[str] = ()) -> None:
    """Say in the log which files are of no kind that is read, and say nothing of `sources`."""
    stems = {stem(source) for source in sources}
    names = [name for name in names if not _of_sources(PurePosixPath(name), stems)]
    packed = [name for name in names if name.lower().endswith(COMPRESSED)]
    _say_left_out(root, "compressed, and to be unpacked first", packed)
    _say_left_out(root, "of types that are not read", {*names} - {*packed})


def name_archives(root: Path) -> None:
    """Say in the log which archives lie in a folder of which only files are read."""
    archives = [name for name in files_below(root) if name.lower().endswith(ARCHIVES)]
    _say_left_out(root, "archives, which training does not open", archives)


def _say_left_out(root: str | Path, why: str, names: Collection[str]) -> None:
    if names:
        some = ", ".join(map(shown, sorted(names)[:NAMED]))
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        log.warning("left out in %s, %s: %s%s", shown(root), why, some, more)


def stem(name: str) -> str:
    """The name of a file without its suffix."""
    path = PurePosixPath(name)
    return str(path.with_name(path.stem))


def _of_sources(path: PurePosixPath, stems: set[str]) -> bool:
    """Whether a file holds sources, or captions of those with these stems."""
    caption = path.suffix == ".txt" and stem(str(path)) in stems
    return caption or path.name in TABLES or path.suffix.lower() in ARCHIVES
