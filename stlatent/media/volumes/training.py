"""Training on volumes over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ...files import UnreadableError
from ...model.config import ModelConfig, Positive, Scaling
from ...model.domain import Domain
from ..source import Source, named_files
from ..training import DataConfig, HeldOut, Reading, TrainingSet
from .files import SUFFIXES, centre, numbers, open_volumes, value_range

KINDS = dict.fromkeys(SUFFIXES, "volumes")
WHAT = f"sequences of volumes ({' '.join(SUFFIXES)})"


class VolumesHeldOut(HeldOut):
    """The same for volumes over time: centre crop, first volumes.

    Attributes:
        frames: of each file.
        crop: edge of the cube, in voxels.
    """

    frames: Positive = 17
    crop: Positive = 64


class VolumesData(DataConfig):
    """How volumes over time are cut, of `.npy` files `[T, X, Y, Z]` or `[T, X, Y, Z, C]`.

    Attributes:
        frames: volumes per sample; files that are shorter have their last one repeated.
        crop: edge of the cube, in voxels, at most that of the smallest volume.
    """

    frames: Positive = 9
    crop: Positive = 32
    batch_size: Positive = 2
    validation: VolumesHeldOut = VolumesHeldOut()

    def size(self, domain: Domain) -> tuple[int, ...]:
        """Axes of one sample."""
        return (self.frames, self.crop, self.crop, self.crop)


def find_volumes(root: str | Path) -> list[Source]:
    """All files below `root`, or `root` itself; ValueError where there are none."""
    return named_files(root, KINDS, WHAT)


def normalised(volumes: np.ndarray, scaling: Scaling | None) -> Tensor:
    """`[t, X, Y, Z, C]` in their own range -> `[C, t, X, Y, Z]` as a model reads them."""
    x = torch.from_numpy(np.ascontiguousarray(volumes)).movedim(-1, 0)
    if scaling is None:
        return x
    offset, scale = (torch.tensor(v).view(-1, 1, 1, 1, 1) for v in (scaling.offset, scaling.scale))
    return ((x - offset) / scale).clamp(-1, 1)


class VolumesDataset(Dataset):
    """`dataset[i]` is the i-th sample `[C, T, X, Y, Z]`, a function of (seed, i) and the files
    alone; every pass goes over all files once, in a new order."""

    def __init__(
        self, sources: Sequence[Source], data: VolumesData, scaling: Scaling | None, seed: int
    ) -> None:
        self.sources, self.data, self.scaling, self.seed = list(sources), data, scaling, seed

    def __getitem__(self, i: int) -> Reading:
        number, place = divmod(i, len(self.sources))
        order = np.random.default_rng((self.seed, 0, number)).permutation(len(self.sources))
        path, rng = self.sources[order[place]].path, np.random.default_rng((self.seed, 1, i))
        volumes, crop = open_volumes(path), self.data.crop
        first = rng.integers(max(1, len(volumes) - self.data.frames + 1))
        corner = [rng.integers(n - crop + 1) for n in volumes.shape[1:4]]
        cube = [slice(c, c + crop) for c in corner]
        cut = volumes[(slice(first, first + self.data.frames), *cube)]
        x = normalised(numbers(cut, path), self.scaling)
        missing = self.data.frames - x.shape[1]
        return Reading(torch.cat([x, *[x[:, -1:]] * missing], 1))


def training_set(model: ModelConfig, data: VolumesData, seed: int) -> TrainingSet:
    """Random stretches and cubes of the files in a folder; of held-out ones the centre.

    Raises:
        ValueError: a folder is missing or holds nothing readable, or a held-out name is unknown.
    """
    good, bad = readable(model, data)
    data.check_names(good, bad)
    names = data.validation.chosen(good)
    size = (data.validation.frames, *[data.validation.crop] * 3)
    held = {n: numbers(centre(open_volumes(good[n].path), size), good[n].path) for n in names}
    left = [source for name, source in good.items() if name not in names]
    data.check_left(left, "volumes", bad)
    return TrainingSet(
        kinds={"volumes": VolumesDataset(left, data, model.scaling, seed)},
        reads={"volumes": data.batch_size},
        held_out={name: normalised(x, model.scaling)[None] for name, x in held.items()},
        bad=bad,
    )


def readable(model: ModelConfig, data: VolumesData) -> tuple[dict[str, Source], dict[str, str]]:
    """Files that a model can be trained on by name, and why others cannot be.

    Raises:
        ValueError: there are none of the first.
    """
    good, bad = {}, {}
    for source in find_volumes(data.root):
        try:
            *_, x, y, z, channels = open_volumes(source.path).shape
        except UnreadableError as error:
            bad[source.name] = error.reason
            continue
        if channels != model.channels:
            bad[source.name] = f"has {channels} channels; the model has {model.channels}"
        elif min(x, y, z) < data.crop:
            bad[source.name] = f"has volumes of {x}x{y}x{z}; data.crop is {data.crop}"
        else:
            good[source.name] = source
    data.check_left(good, "volumes", bad)
    return good, bad


def measured_scaling(model: ModelConfig, data: VolumesData) -> Scaling:
    """What brings the values of all files that can be trained on to [-1, 1]."""
    good, _ = readable(model, data)
    low, high = value_range(source.path for source in good.values())
    half = (high.astype(float) - low) / 2
    half[half == 0] = 1.0
    middle = (high.astype(float) + low) / 2
    return Scaling(offset=tuple(middle.tolist()), scale=tuple(half.tolist()))
