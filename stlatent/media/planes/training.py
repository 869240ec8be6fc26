"""Training on planes that are data themselves, by domain `triplane`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ...files import UnreadableError
from ...model.config import ModelConfig, Positive, Scaling
from ...model.domain import Domain
from ..training import Count, DataConfig, HeldOut, TrainingSet
from .data import PlaneDataset, find_planes, measure_scaling, read_planes


class PlaneData(DataConfig):
    """Where planes come from.

    Attributes:
        root: folder of triplanes `[3, C, n, n]` (`.npy`, `.npz`), searched recursively.
        side: n, samples per edge of a plane.
        batch: assets per process and step.
        workers: processes that read; 0 reads in the training process itself.
        validation: planes that are measured.
    """

    root: Path
    side: Positive = 64
    batch: Positive = 4
    workers: Count = 2
    validation: HeldOut = HeldOut()

    def size(self, domain: Domain) -> tuple[int, ...]:
        """Axes of one sample."""
        return (3, self.side, self.side)


class PlaneBatch(NamedTuple):
    """planes: `[B, C, 3, n, n]` as the model reads them. failed: always empty, since all files are
    read before the first step."""

    planes: Tensor
    failed: dict[str, str]


@dataclass(frozen=True)
class Split:
    """The files of a run by name: trained on, held out, and those that cannot be read (and why)."""

    train: dict[str, Path]
    held_out: dict[str, Path]
    bad: dict[str, str]


def split(model: ModelConfig, data: PlaneData) -> Split:
    """Read all files once, and tell them apart.

    Raises:
        ValueError: nothing is left to train on, or a held-out file is missing or no planes.
    """
    files, bad = find_planes(data.root), {}
    shape = (model.channels, 3, data.side, data.side)
    for name, path in files.items():
        try:
            found = tuple(read_planes(path).shape)
            if found != shape:
                bad[name] = f"has {found[0]} channels of side {found[2]}; the config has " + (
                    f"{shape[0]} of side {shape[2]} (model.channels, data.side)"
                )
        except UnreadableError as error:
            bad[name] = error.reason
    names = data.validation.names
    for name in names:
        if name not in files or name in bad:
            why = bad.get(name, f"which is not in {data.root}")
            raise ValueError(f"data.validation.names lists '{name}', {why}")
    names = data.validation.chosen(name for name in files if name not in bad)
    good = {n: p for n, p in files.items() if n not in bad and n not in names}
    if not good:
        some = "".join(f"; {name} {why}" for name, why in [*bad.items()][:1])
        raise ValueError(f"no planes to train on in {data.root}{some}")
    return Split(good, {name: files[name] for name in names}, bad)


def planes_scaling(model: ModelConfig, data: PlaneData) -> Scaling:
    """The measured range of the planes that a run trains on."""
    return measure_scaling([*split(model, data).train.values()])


def training_set(model: ModelConfig, data: PlaneData, seed: int) -> TrainingSet:
    """The planes in a folder, in a new order in each pass; held-out ones as they are."""
    found = split(model, data)
    held = PlaneDataset([*found.held_out.values()], model.scaling)
    return TrainingSet(
        kinds={"planes": PlaneDataset([*found.train.values()], model.scaling, seed)},
        reads={"planes": data.batch},
        share=0.0,
        collate=_collate,
        enter=lambda batch, device: batch.planes.to(device),
        held_out={name: held.planes(i)[None] for i, name in enumerate(found.held_out)},
        bad=found.bad,
    )


def _collate(planes: Sequence[Tensor]) -> PlaneBatch:
    return PlaneBatch(torch.stack(list(planes)), {})
