"""A folder for whatever one process has under way, and a lock that says it is alive."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ..store.place import SCRATCH, Place

MOMENT = 1.0  # seconds; whoever clears away holds the locks of others so long, at most


@contextmanager
def scratch(place: Place, name: str) -> Iterator[Place]:
    """The place, with a scratch folder for one part of a job, such as `0-of-1`.

    Whatever processes have left there that are gone is cleared away, before and after. Behind a URL
    nothing is ever left, and there are no locks.

    Raises:
        ValueError: another process works at this part.
    """
    if place.local is None:
        yield place
        return
    work = place.local / SCRATCH
    folder = work / name
    work.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(_lock(folder)).acquire(timeout=MOMENT):
            _clear(work, folder)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            try:
                yield Place(place.url, f"{SCRATCH}/{folder.name}")
            finally:
                shutil.rmtree(folder, ignore_errors=True)
                _lock(folder).unlink(missing_ok=True)
    except Timeout:
        raise ValueError(
            f"another process works at {place.url} (part {name}); "
            f"wait for it, or share the work with --shard"
        ) from None
    finally:
        with contextlib.suppress(OSError):  # another process is at work
            work.rmdir()
            place.local.rmdir()  # if nothing came of it


def busy(place: Place) -> bool:
    """Whether a process is at work in a folder of this machine."""
    for lock in (place.local / SCRATCH).glob("*.lock"):
        try:
            with FileLock(lock).acquire(timeout=0):
                pass
        except Timeout:
            return True
    return False


def _clear(work: Path, own: Path) -> None:
    """Remove the folders of processes that are gone."""
    for folder in {path.with_suffix("") for path in work.iterdir()} - {own}:
        with contextlib.suppress(Timeout), FileLock(_lock(folder)).acquire(timeout=0):
            shutil.rmtree(folder, ignore_errors=True)
            _lock(folder).unlink(missing_ok=True)


def _lock(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")
