"""Names and files: what may stand for a file inside a folder, how a file or a folder comes to be
there whole or not at all, and who may work there.

What is under way has a name that nobody else has, which says whose it is. Two processes that make
the same file never meet, and of a process that is killed a file of such a name is left, at most.
"""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

MARK = ".stlatent-partial"  # what temporary names end in
_NAME_BYTES = 120  # of the final name that the temporary one shows; file systems take 255 in all
GOES_ON = "the same command goes on from there"
MOST_SHOWN = 500  # characters of a name in a message
_DRIVE = re.compile(r"[A-Za-z]:")


def safe_name(name: str) -> str:
    """A name that was read somewhere, if on every system it is that of a file inside the folder
    that it is joined to: parts with `/` between them, which stay where they are.

    Raises:
        ValueError: it is empty or absolute, begins with a drive, has a part that is empty, `.` or
            `..`, or holds a NUL.
    """
    fault = None
    if "\0" in name:
        fault = "it holds a NUL"
    elif name.startswith(("/", "\\")) or _DRIVE.match(name):
        fault = "it is absolute"
    elif ".." in re.split(r"[/\\]", name):
        fault = "'..' leads out of the folder"
    elif {"", "."} & {*name.split("/")}:
        fault = "a part of it is empty or '.'"
    if fault:
        raise ValueError(f"'{name[:80]}' cannot be the name of a file inside a folder: {fault}")
    return name


def inside(folder: str | Path, name: str) -> Path:
    """The path of the file `name` inside a folder of this machine.

    Raises:
        ValueError: the name, or a symbolic link on the way, leads out of the folder.
    """
    path = Path(folder, safe_name(name))
    parts = [path, *list(path.parents)[: name.count("/")]]
    if any(os.path.islink(part) for part in parts):
        root = os.path.realpath(folder)
        if os.path.commonpath([root, os.path.realpath(path)]) != root:
            raise ValueError(
                f"{path} lies behind a symbolic link that leads out of {folder}; put a copy of "
                f"what it stands for in its place"
            )
    return path


@contextmanager
def alone(path: Path, otherwise: str, patience: float = 0.0) -> Iterator[None]:
    """Hold the lock file `path`, which goes free when this process ends, however it ends.

    Args:
        otherwise: what to say if another process holds it.
        patience: seconds to wait for it.

    Raises:
        ValueError: another process holds it.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        raise ValueError(otherwise) from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()


@contextmanager
def resumable(kept: Callable[[], Sequence[str]] = tuple) -> Iterator[None]:
    """Of work that the same command goes on with: whoever interrupts it is told so, see
    `cli/outcome.py`, and what is `kept` by then."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(*kept(), GOES_ON) from None


@contextmanager
def writing(path: str | Path) -> Iterator[Path]:
    """A temporary path to write a file or a folder at, which is moved to `path` in the end.

    What was at `path` stays until then; after an error it stays for good, and nothing else does.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = temporary(path)
    try:
        yield partial
        put(partial, path)
    finally:
        remove(partial)


def written(path: Path, write: Callable[[Path], int]) -> int:
    """What `write` makes at a temporary path, moved to `path` if it holds anything; how much that
    is, which `write` says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = temporary(path)
    try:
        if count := write(partial):
            put(partial, path)
    finally:
        remove(partial)
    return count


def replace_text(path: Path, text: str) -> None:
    """Write a text file, in UTF-8, under a temporary name, then move it into place."""
    with writing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def temporary(path: Path) -> Path:
    """A hidden name beside `path` that nothing else has."""
    shown = os.fsencode(path.name)[:_NAME_BYTES].decode(errors="ignore")
    return path.with_name(f".{shown}.{uuid.uuid4().hex[:12]}{MARK}")


def put(partial: Path, path: Path) -> None:
    """Move a complete file or folder to `path`; what was there goes when this one is in place."""
    if partial.is_file():
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())  # else a power cut may keep the name and lose the content
    folders = partial.is_dir() or (path.is_dir() and not path.is_symlink())
    if not folders or not path.exists():
        os.replace(partial, path)
        return
    former = temporary(path)
    os.replace(path, former)
    try:
        os.replace(partial, path)
    except OSError:
        os.replace(former, path)
        raise
    remove(former)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there; a link, not what it stands for."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def shown(name: str | Path) -> str:
    """A file's name as a terminal may show it: whatever would steer it, or is no text, as escapes;
    of one that is no name any more, its ends.

    >>> shown("red \\x1b[31m"), len(shown("x" * 100_000))
    ('red \\\\x1b[31m', 501)
    """
    text = str(name)
    if len(text) > MOST_SHOWN:
        half = MOST_SHOWN // 2
        text = f"{text[:half]}…{text[-half:]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class UnreadableError(ValueError):
    """A file that cannot be read: `path` and a short `reason`."""

    def __init__(self, path: str | Path, reason: str):
        super().__init__(str(path), reason)  # both in args, so that it survives pickling
        self.path = Path(path)
        self.reason = reason

    def __str__(self) -> str:
        return f"{shown(self.path)}: {self.reason}"
