"""Volumes over time as a medium."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...geometry.whereabouts import Scan
from ...model.config import Scaling
from ...model.ladder import Ladder
from ..encoder import About, Named
from ..figures import PSNR, Bands, Figure
from ..metrics import psnr
from ..options import Extent, SourceOptions
from ..output import Output
from ..sample import Sample
from ..source import Kind, Source
from ..streaming import Streaming
from ..training import TrainingSet
from .child import VolumesPlan, open_volumes
from .files import VolumeSequence, write_volumes
from .options import VolumesOptions
from .scans import write_nifti
from .training import (
    KINDS,
    VolumesData,
    find_volumes,
    measured_scaling,
    normalised,
    scaling_of,
    training_set,
)

FRAMES, SIDE = 9, 32  # of a sample that is drawn, unless one asks
SHOWN = 9  # volumes of an item at most are read for its picture; the last of them is shown
DEFINITION = (
    "Over all values of a sequence, of the range that was measured in training, after rounding to "
    "8 bits; the mean over sequences."
)


class MovingVolumes(Streaming):
    """Sequences of volumes such as 4D scans and simulations, domain `volumes`; a part is some of
    them `[t, X, Y, Z, C]` in their own range. A single scan is a sequence of one.

    A model has the range of all files that it was trained on; one without (`data.own_range`) brings
    each file to [-1, 1] by its own, which then is written down with its latents.
    """

    what = "volumes over time"
    parts = "volumes"
    kinds = KINDS
    shipped = "volumes"
    options = VolumesOptions
    formats = ("npy", "nii.gz", "nii")
    shaped = frozenset({"tile"})
    extents = ("frames", "size")
    sides = 3
    largest = 128
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

    def resolve(self, options: SourceOptions) -> dict[str, object]:
        return super().resolve(options) | {"tile": self.tile(options.tile)}

    def plan(self, options: SourceOptions, device: torch.device) -> VolumesPlan:
        return VolumesPlan(max(1, self.config.levels[0].stride[0]), self.config.scaling is None)

    def where(self, source: Named, about: Mapping[str, Any]) -> About:
        scan = self._scan(about["affine"], about["range"])
        return About(source.name, source.name, 0, source.kind, fps=about["fps"], scan=scan)

    def enter(self, values: np.ndarray, about: Mapping[str, Any]) -> Tensor:
        """`[t, X, Y, Z, C]` in their own range as the model reads them `[1, C, t, X, Y, Z]`."""
        return self._entered(values, about["range"] and scaling_of(*about["range"]))

    def _entered(self, values: np.ndarray, own: Scaling | None) -> Tensor:
        if values.shape[-1] != self.config.channels:
            raise ValueError(
                f"has {values.shape[-1]} channels; the model has {self.config.channels}"
            )
        return normalised(values, self.config.scaling or own)[None]

    def _scan(self, affine: Any, own_range: Sequence[Any] | None) -> Scan | None:
        own = scaling_of(*own_range) if own_range else None
        return Scan(affine=affine, scaling=own) if affine or own else None

    def _opened(
        self, path: Path, size: Sequence[int]
    ) -> tuple[Tensor, VolumeSequence, Scan | None]:
        """The beginning of a file as the model reads it, the file, and what is known of it."""
        found = open_volumes(path)
        own_range = None if self.config.scaling else found.range()
        scan = self._scan(found.affine, own_range)
        return self._entered(found.beginning(size), scan and scan.scaling), found, scan

    # latents to files ---------------------------------------------------------------------------

    def take(self, model: Ladder, x: Tensor, sample: Sample) -> np.ndarray:
        x, scaling = x[0].detach().float().cpu(), self._scaling(sample)
        if not self.config.scaling:  # no value of the source lay beyond its own range
            x = x.clamp(-1, 1)
        if scaling:
            scale, offset = (
                torch.tensor(v).view(-1, 1, 1, 1, 1) for v in (scaling.scale, scaling.offset)
            )
            x = offset + scale * x
        return x.movedim(0, -1).numpy()

    def write(self, path: Path, parts: Iterable[np.ndarray], sample: Sample, how: Output) -> int:
        if path.suffix == ".npy":
            return write_volumes(path, parts, sample.size)
        affine = sample.scan and sample.scan.affine
        return write_nifti(path, parts, sample.size, affine, sample.fps)

    def ending(self, kind: Kind, how: Output) -> str:
        usual = "npy" if kind == "volumes" else "nii.gz"
        return f".{how.format or usual}"

    def check_output(self, how: Output) -> None:
        super().check_output(how)
        if self.config.channels > 1 and how.format not in (None, "npy"):
            raise ValueError(
                f"the model makes {self.config.channels} channels; NIfTI files have one: "
                "leave out --format"
            )

    def _scaling(self, sample: Sample) -> Scaling | None:
        """From what the model reads to a sample's own numbers."""
        return self.config.scaling or (sample.scan and sample.scan.scaling)

    # pictures -----------------------------------------------------------------------------------

    def beginning(self, sample: Sample, start: int) -> int:
        return min(sample.size[0], SHOWN)

    def read_picture(
        self, pieces: Iterable[tuple[Mapping[str, Any], np.ndarray]], start: int
    ) -> np.ndarray | None:
        last = None
        for about, values in pieces:
            last = self.enter(values[-1:].copy(), about)
        return None if last is None else self.frames(last)[0]

    def part_picture(self, parts: Iterable[np.ndarray], sample: Sample) -> np.ndarray:
        count = self.beginning(sample, 0)
        for part in parts:
            if len(part) >= count:
                return self.frames(self._entered(part[count - 1 : count], self._scaling(sample)))[0]
            count -= len(part)
        raise ValueError("there are fewer volumes than the data set says")

    # samples ------------------------------------------------------------------------------------

    def _size(self, extent: Extent) -> tuple[int, ...]:
        x, y, *z = extent.size or (SIDE, SIDE)
        return (extent.frames or FRAMES, x, y, *(z or [y]))

    def blank(self, extent: Extent) -> Sample:
        extent.check(self.what, self.extents, self.sides)
        return Sample("volumes", self._size(extent))

    def open(self, path: Path, sample: Sample) -> tuple[Tensor, Sample]:
        x, found, scan = self._opened(path, sample.size)
        if tuple(x.shape[2:]) != sample.size:
            given, asked = ("x".join(map(str, shape)) for shape in (x.shape[2:], sample.size))
            raise ValueError(f"{path} has {given} (TxXxYxZ) to give, not {asked}; ask for less")
        return x, replace(sample, fps=found.fps, scan=scan)

    def beginning_of(self, source: Source, extent: Extent) -> Tensor:
        return self._opened(source.path, self._size(extent))[0]

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
        known = self.config.scaling or data.own_range
        return {} if known else {"scaling": measured_scaling(self.config, data)}

    def check_data(self, data: VolumesData) -> None:
        if data.own_range and self.config.scaling:
            raise ValueError("data.own_range and model.scaling cannot both be; leave one out")

    object_type = "np"

    def objects(self, model: Ladder, x: Tensor) -> np.ndarray:
        """`[B, C, T, X, Y, Z]` in [-1, 1]."""
        return x.detach().float().clamp(-1, 1).cpu().numpy()
