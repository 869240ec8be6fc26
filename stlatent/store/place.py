"""A folder to read from and write to, on this machine or behind any URL that `fsspec` opens."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import fsspec
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from ..files import inside, put

SCRATCH = ".stlatent-work"  # inside a folder under way; holds whatever has no final name yet
PROBE = f"{SCRATCH}/probe"


@dataclass(frozen=True)
class WrittenFile:
    """A file as it was written."""

    bytes: int
    sha256: str


class Place:
    """A folder; files in it are named by their path below it, with `/`.

    A file is there whole or not at all. On this machine it is written in `scratch`, inside the
    folder, and renamed; an object store shows an object when it is complete.

    Attributes:
        url: as it was given.
        local: the folder's path, if it is on this machine.

    Raises:
        ValueError: no file system for such a URL is installed.
    """

    def __init__(self, url: str | Path, scratch: str = SCRATCH) -> None:
        self.url, self.scratch = str(url).rstrip("/") or "/", scratch
        self._fs, self.root = file_system(self.url)
        self._process = os.getpid()
        self.local = Path(self.root) if isinstance(self._fs, LocalFileSystem) else None

    @property
    def fs(self) -> fsspec.AbstractFileSystem:
        """The file system; connections are not shared with a process that forks off."""
        if self._process != os.getpid():
            self._fs, self._process = file_system(self.url)[0], os.getpid()
        return self._fs

    def __truediv__(self, name: str) -> str:
        return f"{self.url}/{name}"

    def path(self, name: str) -> str:
        """As the file system calls it; "" is the folder itself.

        Raises:
            ValueError: the name, or a symbolic link on the way, leads out of the folder.
        """
        if self.local is None or not name:
            return f"{self.root}/{name}".rstrip("/")
        return str(inside(self.local, name))

    def check_keeps(self) -> None:
        """ValueError unless what is written here is there for other processes, too."""
        if "memory" in re.split(r"://|::", self.url):
            raise ValueError(
                f"{self.url} lies in the memory of this process and is gone when it ends; give a "
                f"folder or a bucket"
            )
        if self.local is not None:
            return
        try:
            self.put(PROBE, [b""])
            self.remove(PROBE)
        except Exception as error:  # every file system has its own
            reason = (str(error).strip() or "it is read only").splitlines()[0]
            raise ValueError(
                f"{self.url} cannot be written: {reason}; give a folder or a bucket"
            ) from None

    def exists(self, name: str) -> bool:
        return self.fs.exists(self.path(name))

    def names(self, folder: str = "") -> list[str]:
        """Files and folders in `folder`, in order; none where there is no such folder."""
        try:
            found = self.fs.ls(self.path(folder), detail=False, refresh=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(os.path.basename(path.rstrip("/")) for path in found)

    def walk(self) -> list[str]:
        """All files below the folder, by name; links are not followed."""
        if self.local is None:
            found = self.fs.find(self.root, refresh=True) if self.fs.exists(self.root) else ()
            return sorted(path[len(self.root) :].lstrip("/") for path in found)
        return sorted(
            Path(folder, file).relative_to(self.local).as_posix()
            for folder, folders, files in os.walk(self.local)
            for file in (*files, *(f for f in folders if os.path.islink(Path(folder, f))))
        )

    def remove_empty(self) -> None:
        """Remove the folders below this one in which there is nothing, and then itself."""
        for folder, *_ in os.walk(self.local, topdown=False) if self.local else ():
            with suppress(OSError):
                os.rmdir(folder)

    def changed(self, folder: str) -> dict[str, float]:
        """When each file in `folder` was last written, in seconds since 1970."""
        path, times = self.path(folder), {}
        for info in self.fs.ls(path, detail=True, refresh=True) if self.fs.exists(path) else ():
            times[os.path.basename(info["name"].rstrip("/"))] = seconds_of(info)
        return times

    def size(self, name: str) -> int:
        return self.fs.size(self.path(name))

    def read(self, name: str, start: int | None = None, stop: int | None = None) -> bytes:
        """The bytes of a file from `start` to `stop`, no others.

        Raises:
            ValueError: it is missing or cannot be read.
        """
        try:
            if self.local is None:
                return self.fs.cat_file(self.path(name), start=start, end=stop)
            with open(self.path(name), "rb", buffering=0) as file:  # fsspec's way takes far longer
                file.seek(start or 0)
                return file.readall() if stop is None else _read(file, stop - (start or 0))
        except FileNotFoundError:
            raise ValueError(f"{self / name} is missing") from None
        except OSError as error:
            raise ValueError(f"{self / name} cannot be read: {error}") from None

    def read_all(self, names: Sequence[str]) -> Iterator[bytes]:
        """The contents of many small files, in order; an object store sends many at a time."""
        for start in range(0, len(names), 1024):
            paths = [self.path(name) for name in names[start : start + 1024]]
            whole = [None] * len(paths)
            yield from self.fs.cat_ranges(paths, whole, whole, on_error="raise")

    def put(self, name: str, blocks: Iterable[bytes]) -> WrittenFile:
        """Write a file; one that is there is replaced when this one is complete."""
        digest, count = hashlib.sha256(), 0

        def counted() -> Iterator[bytes]:
            nonlocal count
            for block in blocks:
                digest.update(block)
                count += len(block)
                yield block

        if self.local is None:
            self._upload(name, counted())
        else:
            self._rename(name, counted())
        return WrittenFile(count, digest.hexdigest())

    def remove(self, name: str) -> None:
        """Remove a file or folder, if it is there."""
        if self.exists(name):
            with suppress(FileNotFoundError):  # another process was faster
                self.fs.rm(self.path(name), recursive=True)

    def _rename(self, name: str, blocks: Iterable[bytes]) -> None:
        partial = self.local / self.scratch / name.replace("/", "-")
        partial.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            for block in blocks:
                file.write(block)
        path = Path(self.path(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        put(partial, path)

    def _upload(self, name: str, blocks: Iterable[bytes]) -> None:
        with self.fs.transaction, self.fs.open(self.path(name), "wb") as file:
            for block in blocks:
                file.write(block)


def seconds_of(info: dict) -> float:
    """When a file was last written, by what its file system says of it, in seconds since 1970."""
    when = info.get("mtime") or info.get("LastModified") or info.get("created") or 0
    return when.timestamp() if hasattr(when, "timestamp") else float(when)


def _read(file: io.FileIO, count: int) -> bytes:
    """So many bytes, or as many as there are: the system gives at most 2 GiB at a time."""
    content = file.read(count)
    while len(content) < count and (more := file.read(count - len(content))):
        content += more
    return content


def file_system(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a URL and the path in it; ValueError where none is installed.

    What exists on this machine is a path, and so is whatever has no `://`.
    """
    if "://" not in url or os.path.exists(url):
        path = os.path.abspath(os.path.expanduser(url)).replace(os.sep, "/")
        return LocalFileSystem(), path
    try:
        fs, path = url_to_fs(url)
    except ImportError:
        extra = "pip install 'stlatent[s3]'" if url.startswith("s3:") else "see fsspec's list"
        raise ValueError(f"nothing is installed that opens {url}; {extra}") from None
    except (TypeError, AttributeError):  # of schemes that need more than a URL
        raise ValueError(f"{url} cannot be opened: a URL alone does not say enough") from None
    return fs, path.rstrip("/") or "/"


def download(url: str, path: Path) -> None:
    """Copy a file from wherever it is to this machine."""
    fs, remote = file_system(url)
    with fs.open(remote, "rb") as source, open(path, "wb") as copy:
        shutil.copyfileobj(source, copy, 1 << 20)
