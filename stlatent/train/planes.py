"""Training on planes that are data themselves, by domain `triplane`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..checkpoint import Model
from ..evaluate.metrics import psnr
from ..media.planes.data import PlaneDataset, find_planes, measure_scaling, read_planes
from ..media.source import UnreadableError
from ..model.config import Scaling
from .config import PlaneDataConfig, RunConfig
from .data import Figures, TrainingData
from .measure import measured, write_picture
from .order import Mixture, Order, loader

SHOWN = 8


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


def split(config: RunConfig) -> Split:
    """Read all files once, and tell them apart.

    Raises:
        ValueError: nothing is left to train on, or a held-out file is missing or no planes.
    """
    data: PlaneDataConfig = config.data
    files, bad = find_planes(data.root), {}
    shape = (config.model.channels, 3, data.side, data.side)
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
    good = {n: p for n, p in files.items() if n not in bad and n not in names}
    if not good:
        some = "".join(f"; {name} {why}" for name, why in [*bad.items()][:1])
        raise ValueError(f"no planes to train on in {data.root}{some}")
    return Split(good, {name: files[name] for name in names}, bad)


def planes_scaling(config: RunConfig) -> Scaling:
    """The measured range of the planes that a run trains on."""
    return measure_scaling([*split(config).train.values()])


class Planes(TrainingData):
    """The planes in a folder, in a new order in each pass; held-out ones as they are."""

    quality = "psnr_db"

    def __init__(self, config: RunConfig) -> None:
        self.config, scaling, found = config, config.model.scaling, split(config)
        self.bad = found.bad
        self.mixture = Mixture(
            {"planes": PlaneDataset([*found.train.values()], scaling, config.seed)}
        )
        held = PlaneDataset([*found.held_out.values()], scaling)
        self.held_out = [held.planes(i)[None] for i in range(len(held.paths))]

    def batches(self, step: int, rank: int = 0, processes: int = 1) -> Iterable[PlaneBatch]:
        data, accumulate = self.config.data, self.config.optimiser.accumulate
        order = Order({"planes": data.batch}, 0.0, accumulate, self.config.seed, rank, processes)
        return loader(self.mixture, order, step, data.workers, _collate)

    def enter(self, batch: PlaneBatch, device: torch.device) -> Tensor:
        return batch.planes.to(device)

    def measure(self, model: Model, step: int) -> Figures | None:
        """PSNR per prefix (a range of 2, which is four deviations) and bits per level, means over
        the held-out planes."""
        if not self.held_out:
            return None
        quality, bits, rows = [], [], []
        for planes in self.held_out:
            decoded, own_bits = measured(model, planes)
            quality.append([float(psnr(x, planes)) for x in decoded])
            bits.append(own_bits)
            if len(rows) < SHOWN:
                rows.append(np.concatenate([_picture(x[0]) for x in (planes, *decoded)], 1))
        write_picture(self.config.out, step, np.concatenate(rows))
        return {
            "psnr_db": [round(float(p), 4) for p in np.mean(quality, 0)],
            "bits_per_value": [round(float(b), 5) for b in np.mean(bits, 0)],
        }


def _collate(planes: Sequence[Tensor]) -> PlaneBatch:
    return PlaneBatch(torch.stack(list(planes)), {})


def _picture(planes: Tensor) -> np.ndarray:
    """The first channel of the three planes side by side, uint8 `[n, 3 n, 3]`."""
    grey = torch.cat(list(planes[0].float().cpu()), 1).clamp(-1, 1)
    return ((grey + 1) * 127.5).round().to(torch.uint8)[..., None].expand(-1, -1, 3).numpy()
