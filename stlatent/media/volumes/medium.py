"""Volumes over time as a medium."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ...model.ladder import Ladder
from ..figures import PSNR, Bands, Figure
from ..metrics import psnr
from ..options import Extent, SourceOptions
from ..output import Output
from ..sample import Sample
from ..source import Source
from ..streaming import Streaming
from ..training import TrainingSet
from . import files
from .files import centre, numbers, open_volumes, write_volumes
from .training import (
    KINDS,
    VolumesData,
    find_volumes,
    measured_scaling,
    normalised,
    training_set,
)

FRAMES, SIDE = 9, 32  # of a sample that is drawn, unless one asks
SHOWN = 9  # volumes of an item at most are read for its picture; the last of them is shown
DEFINITION = (
    "Over all values of a sequence, of the range that was measured in training, after rounding to "
    "8 bits; the mean over sequences."
)


@dataclass(frozen=True)
class VolumesPlan:
    """How volumes over time are read: `chunk` of them at a time."""

    module: ClassVar[str] = files.__name__

    chunk: int


class MovingVolumes(Streaming):
    """Sequences of volumes such as 4D scans and simulations, domain `volumes`; a part is some of
    them `[t, X, Y, Z, C]` in their own range."""

    what = "volumes over time"
    parts = "volumes"
    kind = "volumes"
    kinds = KINDS
    shipped = "volumes"
    formats = ("npy",)
    extents = ("frames", "size")
    data = VolumesData
    noun = "sequence"
    definitions = {"PSNR": DEFINITION}  # noqa: RUF012
    space_bands = Bands("voxels", (64, 32, 16, 8, 4))

    @classmethod
    def reads(cls, domain: str, field: bool) -> bool:
        return domain == "volumes"

    # sources to latents -------------------------------------------------------------------------

    def find(self, root: Path) -> list[Source]:
        return find_volumes(root)

    def plan(self, options: SourceOptions, device: torch.device) -> VolumesPlan:
        return VolumesPlan(max(1, self.config.levels[0].stride[0]))

    def enter(self, values: np.ndarray) -> Tensor:
        """`[t, X, Y, Z, C]` in their own range as the model reads them `[1, C, t, X, Y, Z]`."""
        if values.shape[-1] != self.config.channels:
            raise ValueError(
                f"has {values.shape[-1]} channels; the model has {self.config.channels}"
            )
        return normalised(values, self.config.scaling)[None]

    # latents to files ---------------------------------------------------------------------------

    def take(self, model: Ladder, x: Tensor, sample: Sample) -> np.ndarray:
        x, scaling = x[0].detach().float().cpu(), self.config.scaling
        if scaling:
            scale, offset = (
                torch.tensor(v).view(-1, 1, 1, 1, 1) for v in (scaling.scale, scaling.offset)
            )
            x = offset + scale * x
        return x.movedim(0, -1).numpy()

    def write(self, path: Path, parts: Iterable[np.ndarray], sample: Sample, how: Output) -> int:
        return write_volumes(path, parts, sample.size)

    # pictures -----------------------------------------------------------------------------------

    def beginning(self, sample: Sample, start: int) -> int:
        return min(sample.size[0], SHOWN)

    def read_picture(
        self, pieces: Iterable[tuple[Mapping[str, Any], np.ndarray]], start: int
    ) -> np.ndarray | None:
        last = None
        for _, values in pieces:
            last = values[-1:].copy()
        return None if last is None else self.frames(self.enter(last))[0]

    def part_picture(self, parts: Iterable[np.ndarray], sample: Sample) -> np.ndarray:
        count = self.beginning(sample, 0)
        for part in parts:
            if len(part) >= count:
                return self.frames(self.enter(part[count - 1 : count]))[0]
            count -= len(part)
        raise ValueError("there are fewer volumes than the data set says")

    # samples ------------------------------------------------------------------------------------

    def _size(self, extent: Extent) -> tuple[int, ...]:
        side = extent.size or (SIDE, SIDE)
        return (extent.frames or FRAMES, side[0], side[1], side[1])

    def blank(self, extent: Extent) -> Sample:
        extent.check(self.what, self.extents)
        return Sample("volumes", self._size(extent))

    def open(self, path: Path, sample: Sample) -> tuple[Tensor, Sample]:
        x = self.enter(numbers(centre(open_volumes(path), sample.size), path))
        if tuple(x.shape[2:]) != sample.size:
            given, asked = ("x".join(map(str, shape)) for shape in (x.shape[2:], sample.size))
            raise ValueError(f"{path} has {given} (TxXxYxZ) to give, not {asked}; ask for less")
        return x, replace(sample)

    def beginning_of(self, source: Source, extent: Extent) -> Tensor:
        found = centre(open_volumes(source.path), self._size(extent))
        return self.enter(numbers(found, source.path))

    # measuring and training ---------------------------------------------------------------------

    @property
    def figures(self) -> tuple[Figure, ...]:
        return (PSNR,)

    def quality(self, x: Tensor, y: Tensor) -> float:
        return float(psnr(x, y))

    def frames(self, x: Tensor) -> np.ndarray:
        """The middle slice across the last axis, of the mean over channels, in grey."""
        middle = x[0].detach().float().cpu()[..., x.shape[-1] // 2].mean(0).clamp(-1, 1)
        pixels = ((middle + 1) * 127.5).round().to(torch.uint8)
        return pixels[..., None].expand(-1, -1, -1, 3).numpy()

    def training_set(self, data: VolumesData, seed: int) -> TrainingSet:
        return training_set(self.config, data, seed)

    def known(self, data: VolumesData) -> dict[str, object]:
        return {} if self.config.scaling else {"scaling": measured_scaling(self.config, data)}

    object_type = "np"

    def objects(self, model: Ladder, x: Tensor) -> np.ndarray:
        """`[B, C, T, X, Y, Z]` in [-1, 1]."""
        return x.detach().float().clamp(-1, 1).cpu().numpy()
