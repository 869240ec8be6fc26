"""How the child of `jobs/reader.py` reads volumes, without torch; and how anyone opens them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from .files import VolumeSequence, open_npy
from .scans import NIFTI, open_nifti, open_series


@dataclass(frozen=True)
class VolumesPlan:
    """How volumes over time are read.

    Attributes:
        chunk: how many at a time.
        ranged: whether the range of each source has to be known.
    """

    module: ClassVar[str] = __name__

    chunk: int
    ranged: bool


def open_volumes(path: str | Path) -> VolumeSequence:
    """What lies at `path`: a `.npy` or NIfTI file, or a DICOM series.

    Raises:
        UnreadableError: it is damaged, or no volumes.
    """
    path = Path(path)
    if path.name.lower().endswith(NIFTI):
        return open_nifti(path)
    return open_npy(path) if path.suffix.lower() == ".npy" else open_series(path)


def read(request: dict) -> Iterator[tuple[dict, np.ndarray]]:
    """The volumes of a source, so many at a time, float32 `[t, X, Y, Z, C]`; `last` says that no
    more come, `range` the least and greatest values of each channel."""
    found = open_volumes(request["path"])
    stop = min(found.shape[0], request["first"] or found.shape[0])
    about = {"affine": found.affine, "fps": found.fps, "range": None}
    if request["ranged"]:
        about["range"] = [values.tolist() for values in found.range()]
    for start in range(0, stop, request["chunk"]):
        end = min(start + request["chunk"], stop)
        yield about | {"last": end == stop}, found.read(start, end)
