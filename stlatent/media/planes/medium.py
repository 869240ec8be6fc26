"""Planes that are data as a medium."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...model.config import Scaling
from ...model.ladder import Ladder
from ..base import Medium
from ..coder import CoderFor
from ..codes import whole_codes
from ..encoder import About, Named, Sink, SourceEncoder
from ..figures import PSNR, Figure
from ..metrics import psnr
from ..options import Extent, SourceOptions
from ..output import Output
from ..sample import Sample
from ..source import Source, named_files
from ..training import TrainingSet
from .child import PlanePlan
from .data import KINDS, WHAT, normalise, read_planes, restore, write_planes
from .training import PlaneData, planes_scaling, training_set

DEFINITION = (
    "Over all values of an asset, of a range of four deviations, after rounding to 8 bits; the "
    "mean over assets."
)


class FeaturePlanes(Medium[Tensor]):
    """Triplanes that were fitted or made elsewhere, domain `triplane` without a field; a part is
    one asset `[C, 3, n, n]` in its own range."""

    what = "planes"
    parts = "assets"
    kinds = KINDS
    shipped = "planes"
    formats = ("npy",)
    extents = ("size",)
    data = PlaneData
    noun = "asset"
    definitions = {"PSNR": DEFINITION}  # noqa: RUF012

    @classmethod
    def reads(cls, domain: str, field: bool) -> bool:
        return domain == "triplane" and not field

    @property
    def scaling(self) -> Scaling:
        """Of planes in their own range; they are read as they are where a model has none."""
        count = self.config.channels
        return self.config.scaling or Scaling(offset=(0.0,) * count, scale=(1.0,) * count)

    def enter(self, planes: Tensor) -> Tensor:
        """Planes in their own range `[C, 3, n, n]` as the model reads them `[1, C, 3, n, n]`.

        Raises:
            ValueError: they have other channels than the model.
        """
        if len(planes) != self.config.channels:
            raise ValueError(f"has {len(planes)} channels; the model has {self.config.channels}")
        return normalise(planes, self.scaling)[None]

    def find(self, root: Path) -> list[Source]:
        return named_files(root, self.kinds, WHAT)

    def plan(self, options: SourceOptions, device: torch.device) -> PlanePlan:
        return PlanePlan()

    def encoder(
        self,
        model: Ladder,
        options: SourceOptions,
        sink: Sink,
        std: bool,
        coder: CoderFor | None,
    ) -> PlaneEncoder:
        return PlaneEncoder(self, model, sink, std)

    def take(self, model: Ladder, x: Tensor, sample: Sample) -> Tensor:
        return restore(x[0].float(), self.scaling)

    def write(self, path: Path, parts: Iterable[Tensor], sample: Sample, how: Output) -> int:
        (planes,) = parts
        path.parent.mkdir(parents=True, exist_ok=True)
        write_planes(path, planes)
        return 1

    def read_picture(
        self, pieces: Iterable[tuple[Mapping[str, Any], np.ndarray]], start: int
    ) -> np.ndarray | None:
        picture = None
        for _, values in pieces:
            picture = self.picture(self.enter(torch.from_numpy(values.copy())))
        return picture

    def part_picture(self, parts: Iterable[Tensor], sample: Sample) -> np.ndarray:
        (planes,) = parts
        return self.picture(self.enter(planes))

    def picture(self, x: Tensor) -> np.ndarray:
        """The first channel of the three planes `[1, C, 3, n, n]` side by side, `[n, 3 n, 3]`."""
        grey = torch.cat(list(x[0, 0].float().cpu()), 1).clamp(-1, 1)
        return ((grey + 1) * 127.5).round().to(torch.uint8)[..., None].expand(-1, -1, 3).numpy()

    def blank(self, extent: Extent) -> Sample:
        extent.check(self.what, self.extents)
        if extent.size is None or extent.size[0] != extent.size[1]:
            raise ValueError("planes have any size: give --size N, samples per edge of a plane")
        return Sample("planes", (3, *extent.size))

    def open(self, path: Path, sample: Sample) -> tuple[Tensor, Sample]:
        x = self.enter(read_planes(path))
        if tuple(x.shape[2:]) != sample.size:
            raise ValueError(f"{path} holds planes of {list(x.shape[2:])}, not {list(sample.size)}")
        return x, replace(sample)

    def beginning_of(self, source: Source, extent: Extent) -> Tensor:
        return self.enter(read_planes(source.path))

    # measuring and training ---------------------------------------------------------------------

    @property
    def figures(self) -> tuple[Figure, ...]:
        return (PSNR,)

    def quality(self, x: Tensor, y: Tensor) -> float:
        """Of a range of 2, which is four deviations."""
        return float(psnr(x, y))

    def frames(self, x: Tensor) -> np.ndarray:
        return self.picture(x)[None]

    def training_set(self, data: PlaneData, seed: int) -> TrainingSet:
        return training_set(self.config, data, seed)

    def known(self, data: PlaneData) -> dict[str, object]:
        return {} if self.config.scaling else {"scaling": planes_scaling(self.config, data)}

    object_type = "pt"

    def objects(self, model: Ladder, x: Tensor) -> Tensor:
        """What planes stand for is not known: they stay as they are."""
        return x


class PlaneEncoder(SourceEncoder):
    """Encodes files of planes, one after the other."""

    def __init__(self, medium: FeaturePlanes, model: Ladder, sink: Sink, std: bool = False) -> None:
        super().__init__(model, sink, std)
        self.medium = medium

    def encode(self, source: Named, about: Mapping[str, Any], values: np.ndarray) -> int:
        planes = torch.from_numpy(values.copy()).to(self.device)
        x = self.medium.enter(planes)
        item = self.sink.item(About(source.name, source.name, 0, "planes"))
        item.append([code.sample(0) for code in whole_codes(self.model, x, self.std)])
        item.end(planes.shape[1:])
        return 1
