"""Training on planes that are data themselves, by domain `triplane`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...files import UnreadableError
from ...model.config import ModelConfig, Positive, Scaling
from ...model.domain import Domain
from ..training import DataConfig, SampleRead, TrainingSet, collate
from .data import PlaneDataset, find_planes, measure_scaling, read_planes


class PlaneData(DataConfig):
    """Of which size planes are, triplanes `[3, C, n, n]` (`.npy`, `.npz`).

    Attributes:
        side: n, samples per edge of a plane.
    """

    side: Positive = 64

    def size(self, domain: Domain) -> tuple[int, ...]:
        """Axes of one sample."""
        return (3, self.side, self.side)


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
    readable = {name: path for name, path in files.items() if name not in bad}
    data.check_names(readable, bad)
    names = data.validation.chosen(readable)
    good = {name: path for name, path in readable.items() if name not in names}
    data.check_left(good, "planes", bad)
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
        reads={"planes": data.batch_size},
        collate=lambda planes: collate([SampleRead(one) for one in planes]),
        held_out={name: held.planes(i)[None] for i, name in enumerate(found.held_out)},
        bad=found.bad,
    )
