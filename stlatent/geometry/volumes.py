"""Shapes that come as volumes: occupancies and distances in `.npy` and `.npz` files."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .cube import Placement
from .extras import needed
from .field import Field, Route
from .read import BadMeshError

VOLUME_SUFFIXES = (".npy", ".npz")
MAX_VOXELS = 512**3


@dataclass(frozen=True)
class Volumes(Sequence):
    """The volumes of a file, each a `Field` when it is asked for.

    Attributes:
        arrays: `[count, X, Y, Z]`: occupancies (bool), distances (float), or occupancies whose
            bits are packed (uint8 `[count, bytes]`, of cubes).
        band_voxels: distance at which fields made of occupancies are truncated; of distances, the
            number of voxels that a value of 1 stands for.
        placement: where the cube of each lies.
    """

    arrays: np.ndarray
    band_voxels: float
    placement: Placement

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, index: int) -> Field:
        array = self.arrays[index]
        if array.ndim == 1:
            edge = _edge(8 * len(array))
            array = np.unpackbits(array).reshape(edge, edge, edge)
        if array.dtype.kind == "f":
            return _field(array.astype(np.float32), self.band_voxels, self.placement, "distance")
        return field_from_occupancy(array.astype(bool), self.band_voxels, self.placement)


def read_volumes(
    path: str | Path,
    band_voxels: float = 4.0,
    placement: Placement | None = None,
    max_voxels: int = MAX_VOXELS,
) -> Volumes:
    """The volumes in a `.npy` or `.npz` file.

    A volume is `[X, Y, Z]`, a set of them `[count, X, Y, Z]`. Whole numbers and booleans are
    occupancies, 0 outside; floats are signed distances, negative inside, truncated to [-1, 1]. An
    `.npz` holds one array under any name, or `count` and `occupancy`: uint8 `[count, bytes]`, the
    packed bits (`np.packbits`) of cubes.

    Args:
        placement: where the cube lies; with `axes=("x", "-z", "y")`, volumes whose last axis points
            up come out as meshes whose y axis does.
        max_voxels: of one volume. Distances of a volume take some 40 bytes a voxel while they are
            computed. An `.npz` is read whole, up to 32 bytes a voxel of this; an `.npy` stays on
            disk until a volume of it is asked for.

    Raises:
        BadMeshError: the file holds anything else, or more.
    """
    path = Path(path)
    try:
        if path.suffix.lower() not in VOLUME_SUFFIXES:
            raise ValueError(f"no volume; volumes end in {' '.join(VOLUME_SUFFIXES)}")
        return Volumes(_checked(*_load(path, max_voxels)), band_voxels, placement or Placement())
    except (ValueError, OSError) as error:
        raise BadMeshError(path, str(error)) from error


def field_from_occupancy(
    inside: np.ndarray, band_voxels: float = 4.0, placement: Placement | None = None
) -> Field:
    """Signed distance to the boundary of the voxels that are inside, bool `[X, Y, Z]`.

    Distances are those to the nearest voxel of the other kind, less half a voxel.
    """
    transform = needed("scipy.ndimage").distance_transform_edt
    far = float(sum(inside.shape))  # where there is no voxel of the other kind
    out = transform(~inside) if inside.any() else np.full(inside.shape, far)
    into = transform(inside) if not inside.all() else np.full(inside.shape, far)
    distance = np.where(inside, 0.5 - into, out - 0.5) / band_voxels
    distance = np.clip(distance, -1, 1).astype(np.float32)
    return _field(distance, band_voxels, placement or Placement(), "occupancy")


def _field(distance: np.ndarray, band_voxels: float, placement: Placement, source: str) -> Field:
    colour = np.zeros((3, *distance.shape), np.float32)
    known = np.zeros(distance.shape, bool)
    return Field(distance, colour, known, band_voxels, placement, Route(source=source))


def _load(path: Path, max_voxels: int) -> tuple[np.ndarray, np.ndarray | None]:
    """The array of a file, and what it says of how many volumes there are, where their bits are
    packed."""
    try:
        if path.suffix.lower() == ".npz":
            _check_claims(path, max_voxels)
            with open(path, "rb") as file:
                arrays = dict(np.load(file, allow_pickle=False))
        else:
            arrays = np.load(path, mmap_mode="r", allow_pickle=False)
            _check_voxels(arrays.shape, max_voxels)
    except TooLargeError:
        raise
    except Exception:  # numpy would speak of pickles
        raise ValueError("is damaged, or holds something other than arrays") from None
    if isinstance(arrays, np.ndarray):
        return arrays, None
    if arrays.keys() == {"occupancy", "count"}:
        return arrays["occupancy"], arrays["count"]
    if len(arrays) != 1:
        raise ValueError(
            f"holds {', '.join(sorted(arrays)) or 'nothing'}; expected one array, or packed bits "
            "as 'occupancy' with their 'count'"
        )
    return next(iter(arrays.values())), None


class TooLargeError(ValueError):
    """A file asks for more memory than is granted."""


def _check_claims(path: Path, max_voxels: int) -> None:
    """By the headers of the arrays in an `.npz`, before anything is unpacked."""
    total, limit = 0, 32 * max_voxels
    for shape, dtype in array_headers(path):
        _check_voxels(shape, max_voxels)
        total += math.prod(shape) * dtype.itemsize
    if total > limit:
        raise TooLargeError(
            f"unpacks to {total:,} bytes; at most {limit:,} are taken: save it as .npy, or raise "
            "max_voxels"
        )


def array_headers(path: Path) -> Iterator[tuple[tuple[int, ...], np.dtype]]:
    """Shape and dtype of each array in an `.npz`, of which nothing else is unpacked."""
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            with archive.open(member) as file:
                first = np.lib.format.read_magic(file) == (1, 0)
                read = "read_array_header_1_0" if first else "read_array_header_2_0"
                shape, _, dtype = getattr(np.lib.format, read)(file)
                yield shape, dtype


def _check_voxels(shape: tuple[int, ...], max_voxels: int) -> None:
    edges = (8, shape[-1]) if len(shape) == 2 else shape[-3:]  # two: packed bits
    if math.prod(edges) > max_voxels:
        held = f"holds volumes of {' x '.join(map(str, edges))} voxels"
        raise TooLargeError(f"{held}, beyond {max_voxels:,}; raise max_voxels (--max-voxels)")


def _checked(array: np.ndarray, count: np.ndarray | None) -> np.ndarray:
    if count is not None:
        known = array.dtype == np.uint8 and array.ndim == 2 and array.size > 0
        if not known or not np.array_equal(count, len(array)):
            raise ValueError(
                f"occupancy is {array.dtype} {list(array.shape)}; packed bits of {count} volumes "
                f"are uint8 [{count}, bytes]"
            )
        _edge(8 * array.shape[1])
        return array
    array = array[None] if array.ndim == 3 else array
    if array.ndim != 4 or array.size == 0 or array.dtype.kind not in "biuf":
        raise ValueError(
            f"holds {array.dtype} {list(array.shape)}; expected numbers [X, Y, Z] or "
            "[count, X, Y, Z]"
        )
    if array.dtype.kind == "f" and not (-1 <= array.min() < 0 <= array.max() <= 1):
        raise ValueError(
            f"holds floats from {array.min():.3g} to {array.max():.3g}; expected signed distances "
            "in [-1, 1], negative inside, or occupancies as whole numbers"
        )
    return array


def _edge(bits: int) -> int:
    """Edge of the cube with so many voxels."""
    edge = round(bits ** (1 / 3))
    if edge**3 != bits:
        raise ValueError(f"holds volumes of {bits} bits, which make no cube")
    return edge
