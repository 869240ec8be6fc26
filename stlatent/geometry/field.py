"""A shape on a regular grid: truncated signed distance, and colour near the surface."""

from __future__ import annotations

import dataclasses
import io
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from zipfile import BadZipFile

import numpy as np
from pydantic import Field as Limit

from ..files import writing
from ..model.config import Cube, Strict, parse
from ..model.documents import from_json
from .cube import Axes, Placement, sample

COLOUR_BAND_VOXELS = 2.0  # distance from the surface up to which a colour means something


class Route(Strict):
    """How a field was made, per asset.

    Attributes:
        source: `mesh`; `occupancy` or `distance` volumes, read as they are.
        turned: faces that were turned for all to face outwards.
        sheets: share of the mesh's area that has no inside and became a shell.
        coloured: whether any of it has a colour; what has none comes back without.
    """

    source: Literal["mesh", "occupancy", "distance"] = "mesh"
    turned: int = 0
    sheets: float = 0.0
    coloured: bool = True


class FieldRecord(Strict):
    """What the file of a field says beside its arrays.

    Attributes:
        band_voxels, placement, route: see `Field`.
    """

    band_voxels: Annotated[float, Limit(gt=0)]
    placement: Placement
    route: Route


class Measured:
    """What a field and a band have in common.

    Attributes:
        known: where colour is known, bool, of the shape of all that is measured.
        band_voxels: distance at which distances are truncated, in voxels.
        placement: where the cube lies in the asset's coordinates.
        route: how it was made.
    """

    known: np.ndarray
    band_voxels: float
    placement: Placement
    route: Route

    def _pack(self, path: str | Path, **arrays: np.ndarray | int) -> None:
        """Write one compressed `.npz`: these arrays, where colour is known, and what is said."""
        said = {name: getattr(self, name) for name in FieldRecord.model_fields}
        meta = np.frombuffer(FieldRecord(**said).model_dump_json().encode(), np.uint8)
        with writing(path) as partial, open(partial, "wb") as file:
            np.savez_compressed(file, **arrays, known=np.packbits(self.known), meta=meta)


class FieldSettings(Cube):
    """What a mesh is turned into.

    Attributes:
        axes: the direction in the asset along which each axis of the cube runs.
    """

    axes: Axes = ("x", "y", "z")


@dataclass(frozen=True)
class Field(Measured):
    """A shape on a grid of voxels, at whose centres everything is measured (`cube.py`).

    Attributes:
        distance: float32 `[X, Y, Z]` in [-1, 1]: signed distance to the surface in units of
            `band_voxels` voxels, truncated; negative inside.
        colour: float32 `[3, X, Y, Z]` in [-1, 1] (RGB as on a screen); 0 where unknown.
        known: where colour is known, bool `[X, Y, Z]`: within `COLOUR_BAND_VOXELS` of a
            coloured surface.
        band_voxels: distance at which the field is truncated, in voxels.
        placement: where the cube lies in the asset's coordinates.
        route: how the field was made.
    """

    distance: np.ndarray
    colour: np.ndarray
    known: np.ndarray
    band_voxels: float
    placement: Placement = dataclasses.field(default_factory=Placement)
    route: Route = dataclasses.field(default_factory=Route)

    @property
    def inside(self) -> np.ndarray:
        """bool `[X, Y, Z]`."""
        return self.distance < 0

    def distance_at(self, points: np.ndarray) -> np.ndarray:
        """Trilinear distance `[n]` at points of the cube `[n, 3]`, in [-1, 1]."""
        return sample(self.distance, points)

    def colour_at(self, points: np.ndarray) -> np.ndarray:
        """Colour `[n, 3]` in [-1, 1] at points of the cube: trilinear over the known voxels."""
        weight = sample(self.known.astype(np.float32), points)[:, None]
        mixed = np.stack([sample(channel * self.known, points) for channel in self.colour], 1)
        return mixed / np.maximum(weight, 1e-6)

    def save(self, path: str | Path) -> None:
        """Write one compressed `.npz`; colours keep 8 bits."""
        pixels = np.round((self.colour[:, self.known] + 1) * 127.5).astype(np.uint8)
        self._pack(path, distance=self.distance, colour=pixels)

    @staticmethod
    def load(path: str | Path) -> Field:
        """What `save` has written; ValueError where it is anything else."""
        with unpacked(path, "field") as (file, distance, known, about):
            colour = np.zeros((3, *distance.shape), np.float32)
            colour[:, known] = file["colour"] / np.float32(127.5) - 1
            return Field(distance, colour, known, *about)


@contextmanager
def unpacked(
    path: str | Path, what: str
) -> Iterator[tuple[Mapping[str, np.ndarray], np.ndarray, np.ndarray, tuple[Any, ...]]]:
    """The arrays of a `.npz` file, two of them at once, distances and where colour is known, and
    what it says of them, in the order of `FieldRecord`, for as long as they are taken apart;
    ValueError where anything about them is not as it was written."""
    damaged = f"{path} is damaged, or no {what} that stlatent has saved"
    try:
        loaded = np.load(io.BytesIO(Path(path).read_bytes()), allow_pickle=False)
    except (ValueError, EOFError, BadZipFile):  # numpy would speak of pickles
        raise ValueError(damaged) from None
    if isinstance(loaded, np.ndarray):
        raise ValueError(damaged)
    try:
        with loaded as file:
            about = from_json(file["meta"].tobytes(), "what is said of it")
            said = parse(FieldRecord, about, "what is said of it")
            distance = file["distance"]
            known = np.unpackbits(file["known"], count=distance.size).astype(bool)
            yield file, distance, known.reshape(distance.shape), tuple(dict(said).values())
    except (KeyError, ValueError, TypeError, EOFError, BadZipFile, zlib.error) as error:
        reason = f": {error}" if isinstance(error, ValueError) else ""
        raise ValueError(f"{damaged}{reason}") from None
