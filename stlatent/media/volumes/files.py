"""Sequences of volumes in `.npy` files, without torch; never more in memory than is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ...files import UnreadableError, put, remove, temporary

SUFFIXES = (".npy",)
STEPS = 8  # volumes in memory at a time, where a file is only looked through


def open_volumes(path: str | Path) -> np.ndarray:
    """A read-only view of a file `[T, X, Y, Z]` or `[T, X, Y, Z, C]`, as `[T, X, Y, Z, C]`.

    Raises:
        UnreadableError: it holds anything else than numbers of that shape, or is cut off.
    """
    path = Path(path)
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError):  # numpy would speak of pickles
        raise UnreadableError(path, "is damaged, or holds something other than numbers") from None
    if array.dtype.kind not in "fiu" or array.ndim not in (4, 5) or not array.size:
        held = f"{array.dtype} {list(array.shape)}"
        raise UnreadableError(path, f"holds {held}; give numbers [T, X, Y, Z] or [T, X, Y, Z, C]")
    return array if array.ndim == 5 else array[..., None]


def numbers(volumes: np.ndarray, path: str | Path) -> np.ndarray:
    """Some volumes as float32, in memory; UnreadableError where they are not finite."""
    found = np.asarray(volumes, np.float32)
    if not np.isfinite(found).all():
        raise UnreadableError(path, "holds values that are not finite, or too large for float32")
    return found


def value_range(paths: Iterable[str | Path]) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest value of each channel over all files."""
    low, high = np.inf, -np.inf
    for path in paths:
        volumes = open_volumes(path)
        for start in range(0, len(volumes), STEPS):
            found = numbers(volumes[start : start + STEPS], path)
            low = np.minimum(low, found.min((0, 1, 2, 3)))
            high = np.maximum(high, found.max((0, 1, 2, 3)))
    return low, high


def centre(volumes: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """The beginning, at most T volumes, of them at most the central X x Y x Z voxels."""
    cut = [slice(0, size[0])]
    for have, want in zip(volumes.shape[1:4], size[1:], strict=True):
        start = max(0, have - want) // 2
        cut.append(slice(start, start + want))
    return volumes[tuple(cut)]


def write_volumes(path: Path, parts: Iterable[np.ndarray], size: Sequence[int]) -> int:
    """Write parts `[t, X, Y, Z, C]` of a sequence of `size` as float32, through a memory map, to a
    file that is complete or not there; how many volumes there were."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, count = temporary(path), 0
    try:
        with open(partial, "wb") as file:  # no memory map: a full disk would end the process
            for part in parts:
                part = part[..., 0] if part.shape[-1] == 1 else part
                if not count:
                    shape = (*size, *part.shape[4:])
                    about = {"descr": "<f4", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(file, about)
                file.write(np.ascontiguousarray(part, "<f4").data)
                count += len(part)
        if count:
            put(partial, path)
    finally:
        remove(partial)
    return count


def read(request: dict) -> Iterator[tuple[dict, np.ndarray]]:
    """The volumes of a file, so many at a time, float32 `[t, X, Y, Z, C]`; `last` says that no
    more come."""
    volumes = open_volumes(request["path"])
    stop = min(len(volumes), request["first"] or len(volumes))
    for start in range(0, stop, request["chunk"]):
        end = min(start + request["chunk"], stop)
        yield {"last": end == stop}, numbers(volumes[start:end], request["path"])
