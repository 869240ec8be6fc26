"""Names and files: what may stand for a file inside a folder, and who may work there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

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
