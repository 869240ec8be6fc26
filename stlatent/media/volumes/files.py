"""Sequences of volumes, and `.npy` files of them; without torch, and never more in memory than is
asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...files import UnreadableError, written

MAX_VOXELS = 512**3  # of a volume, channels included
LOOKED_AT = 2**24  # values in memory at a time, where a file is only looked through
WHOLE = (slice(None),) * 3


@dataclass(frozen=True)
class VolumeSequence:
    """Volumes over time that lie in a file or a folder and are read when they are asked for.

    Attributes:
        shape: `(T, X, Y, Z, C)`.
        take: some steps of them, and a box of each, `[t, x, y, z, C]`.
        affine: from voxels to mm, see `Scan`, where it is known.
        fps: volumes per second, where it is known.
    """

    path: Path
    shape: tuple[int, ...]
    take: Callable[[slice, Sequence[slice]], np.ndarray]
    affine: tuple[tuple[float, ...], ...] | None = None
    fps: float | None = None

    def read(self, start: int, stop: int, box: Sequence[slice] = WHOLE) -> np.ndarray:
        """Steps `start` to before `stop`, float32, in memory.

        Raises:
            UnreadableError: they are damaged, or not finite.
        """
        found = np.asarray(self.take(slice(start, stop), box), np.float32)
        if not np.isfinite(found).all():
            held = "holds values that are not finite, or too large for float32"
            raise UnreadableError(self.path, held)
        return found

    def beginning(self, size: Sequence[int]) -> np.ndarray:
        """At most T volumes, of them at most the central X x Y x Z voxels."""
        box = []
        for have, want in zip(self.shape[1:4], size[1:], strict=True):
            start = max(0, have - want) // 2
            box.append(slice(start, start + want))
        return self.read(0, min(size[0], self.shape[0]), box)

    def range(self) -> tuple[np.ndarray, np.ndarray]:
        """Least and greatest value of each channel."""
        low, high = np.inf, -np.inf
        steps = max(1, LOOKED_AT // math.prod(self.shape[1:]))
        for start in range(0, self.shape[0], steps):
            found = self.read(start, min(start + steps, self.shape[0]))
            low = np.minimum(low, found.min((0, 1, 2, 3)))
            high = np.maximum(high, found.max((0, 1, 2, 3)))
        return low, high


def check_volumes(found: VolumeSequence) -> VolumeSequence:
    """The same; UnreadableError where there are none, or they are too large."""
    size = "x".join(map(str, found.shape[1:4]))
    if not math.prod(found.shape):
        raise UnreadableError(found.path, f"holds nothing: {found.shape[0]} volumes of {size}")
    if math.prod(found.shape[1:]) > MAX_VOXELS:
        raise UnreadableError(found.path, f"has volumes of {size}, more than {MAX_VOXELS} values")
    return found


def open_npy(path: Path) -> VolumeSequence:
    """A file `[T, X, Y, Z]` or `[T, X, Y, Z, C]`.

    Raises:
        UnreadableError: it holds anything else than numbers of that shape, or is cut off.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError):  # numpy would speak of pickles
        raise UnreadableError(path, "is damaged, or holds something other than numbers") from None
    if array.dtype.kind not in "fiu" or array.ndim not in (4, 5) or not array.size:
        held = f"{array.dtype} {list(array.shape)}"
        raise UnreadableError(path, f"holds {held}; give numbers [T, X, Y, Z] or [T, X, Y, Z, C]")
    array = array if array.ndim == 5 else array[..., None]
    take = lambda steps, box: array[(steps, *box)]  # noqa: E731
    return check_volumes(VolumeSequence(path, array.shape, take))


def write_volumes(path: Path, parts: Iterable[np.ndarray], size: Sequence[int]) -> int:
    """Write parts `[t, X, Y, Z, C]` of a sequence of `size` as float32 to a file that is complete
    or not there; how many volumes there were."""

    def write(partial: Path) -> int:
        count = 0
        with open(partial, "wb") as file:  # no memory map: a full disk would end the process
            for part in parts:
                part = part[..., 0] if part.shape[-1] == 1 else part
                if not count:
                    shape = (*size, *part.shape[4:])
                    about = {"descr": "<f4", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(file, about)
                file.write(np.ascontiguousarray(part, "<f4").data)
                count += len(part)
        return count

    return written(path, write)
