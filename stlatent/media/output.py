"""How decoded samples are written, and where."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Output:
    """How decoded samples are written. Each medium takes some of these.

    Attributes:
        format: one of the medium's `formats`; None is the first of them.
        resolution: voxels per edge at which the surfaces of shapes are taken; None is the model's
            own. More make them smoother, between the same voxels; a model of triplanes has a field
            to tell of at any resolution.
        tile: decode larger frames in overlapping tiles of so many pixels a side; None is as they
            were encoded, which is best.
        texture: whether surfaces have their colours in a picture, and not at their vertices.
    """

    format: str | None = None
    resolution: int | None = None
    tile: int | None = None
    texture: bool = False


def check_outputs(paths: Iterable[Path], replace: bool) -> None:
    """ValueError if something lies there that must not, or may not, be replaced."""
    for path in paths:
        if path.is_dir() and any(not re.fullmatch(r"\d{6}\.png", p.name) for p in path.iterdir()):
            raise ValueError(f"{path} is a folder with other things in it; give another --out")
        if path.exists() and not replace:
            raise ValueError(f"{path} exists; give another --out, or --replace to overwrite it")
