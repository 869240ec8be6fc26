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
from ..rounds import Rounds
from ..source import Kind, Source, named_files, suffix_of
from ..training import DataConfig, HeldOut, SampleRead, TrainingSet
from ..walk import files_below
from .child import open_volumes
from .files import VolumeSequence
from .scans import DICOM, NIFTI

KINDS: dict[str, Kind] = {".npy": "volumes", **dict.fromkeys(NIFTI, "scan")}
WHAT = f"volumes ({' '.join(KINDS)}, or folders of {DICOM})"
Crop = Positive | tuple[Positive, Positive, Positive]


class VolumesHeldOut(HeldOut):
    """The same for volumes over time: centre crop, first volumes.

    Attributes:
        frames: of each file.
        crop: edge of the cube, in voxels, or one for each axis.
    """

    frames: Positive = 17
    crop: Crop = 64


class VolumesData(DataConfig):
    """How volumes over time are cut: of `.npy` files `[T, X, Y, Z]` or `[T, X, Y, Z, C]`, of NIfTI
    files, and of folders of the slices of a DICOM series.

    Attributes:
        frames: volumes per sample; files that are shorter have their last one repeated.
        crop: edge of the cube, in voxels, or one for each axis; at most those of the smallest
            volume.
        own_range: whether each file is brought to [-1, 1] by its own least and greatest value, as
            suits scans whose units mean nothing (MR), and not by those of all files (CT).
    """

    frames: Positive = 9
    crop: Crop = 32
    own_range: bool = False
    batch_size: Positive = 2
    validation: VolumesHeldOut = VolumesHeldOut()

    def size(self, domain: Domain) -> tuple[int, ...]:
        """Axes of one sample."""
        return (self.frames, *edges(self.crop))


def edges(crop: Crop) -> tuple[int, int, int]:
    """Of a box, along x, y, z."""
    return (crop,) * 3 if isinstance(crop, int) else crop


def find_volumes(root: str | Path) -> list[Source]:
    """All files below `root` and all folders of DICOM files, or `root` itself, ordered by name;
    ValueError where there are none."""
    root, series = Path(root), {}
    files = files_below(root)
    for name, path in files.items():
        if suffix_of(name) == DICOM:
            place = path if path == root else path.parent
            named = place.relative_to(root).as_posix() if place != root else place.resolve().name
            series[named] = Source(place, named, "series")
    single = any(suffix_of(name) in KINDS for name in files)
    found = named_files(root, KINDS, WHAT, [DICOM]) if single or not series else []
    return sorted([*found, *series.values()], key=lambda source: source.name)


def normalised(volumes: np.ndarray, scaling: Scaling | None) -> Tensor:
    """`[t, X, Y, Z, C]` in their own range -> `[C, t, X, Y, Z]` as a model reads them."""
    x = torch.from_numpy(np.ascontiguousarray(volumes)).movedim(-1, 0)
    if scaling is None:
        return x
    offset, scale = (torch.tensor(v).view(-1, 1, 1, 1, 1) for v in (scaling.offset, scaling.scale))
    return ((x - offset) / scale).clamp(-1, 1)


class VolumesDataset(Dataset):
    """`dataset[i]` is the i-th sample `[C, T, X, Y, Z]`, a function of (seed, i) and the files
    alone; files come in rounds, see `Rounds`."""

    def __init__(
        self, sources: Sequence[Source], data: VolumesData, scaling: Scaling | None, seed: int
    ) -> None:
        self.sources, self.data, self.seed = list(sources), data, seed
        self.scalings = [
            scaling or scaling_of(*open_volumes(source.path).range()) for source in self.sources
        ]
        self._opened: dict[int, VolumeSequence] = {}  # by this process
        self.rounds = Rounds([source.name for source in self.sources], seed)

    def __getitem__(self, i: int) -> SampleRead:
        return SampleRead(*self.rounds.read(i, lambda which: self._cut(which, i)))

    def _cut(self, which: int, i: int) -> Tensor:
        """The i-th stretch and box, of a file."""
        rng = np.random.default_rng((self.seed, 1, i))
        if which not in self._opened:
            self._opened[which] = open_volumes(self.sources[which].path)
        volumes, frames = self._opened[which], self.data.frames
        first = int(rng.integers(max(1, volumes.shape[0] - frames + 1)))
        sides = zip(volumes.shape[1:4], edges(self.data.crop), strict=True)
        corner = [(int(rng.integers(n - edge + 1)), edge) for n, edge in sides]
        box = [slice(start, start + edge) for start, edge in corner]
        cut = volumes.read(first, min(first + frames, volumes.shape[0]), box)
        x = normalised(cut, self.scalings[which])
        return torch.cat([x, *[x[:, -1:]] * (frames - x.shape[1])], 1)


def training_set(model: ModelConfig, data: VolumesData, seed: int) -> TrainingSet:
    """Random stretches and boxes of the files in a folder; of held-out ones the centre.

    Raises:
        ValueError: a folder is missing or holds nothing readable, or a held-out name is unknown.
    """
    good, bad = readable(model, data)
    data.check_names(good, bad)
    names = data.validation.chosen(good)
    size, held = (data.validation.frames, *edges(data.validation.crop)), {}
    for name in names:
        found = open_volumes(good[name].path)
        scaling = model.scaling or scaling_of(*found.range())
        held[name] = normalised(found.beginning(size), scaling)[None]
    left = [source for name, source in good.items() if name not in names]
    data.check_left(left, "volumes", bad)
    return TrainingSet(
        kinds={"volumes": VolumesDataset(left, data, model.scaling, seed)},
        reads={"volumes": data.batch_size},
        held_out=held,
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
        elif any(n < edge for n, edge in zip((x, y, z), edges(data.crop), strict=True)):
            bad[source.name] = f"has volumes of {x}x{y}x{z}; data.crop is {data.crop}"
        else:
            good[source.name] = source
    data.check_left(good, "volumes", bad)
    return good, bad


def measured_scaling(model: ModelConfig, data: VolumesData) -> Scaling:
    """What brings the values of all files that can be trained on to [-1, 1]."""
    good, _ = readable(model, data)
    ranges = [open_volumes(source.path).range() for source in good.values()]
    low, high = zip(*ranges, strict=True)
    return scaling_of(np.min(low, 0), np.max(high, 0))


def scaling_of(low: Sequence[float], high: Sequence[float]) -> Scaling:
    """What brings values from `low` to `high`, per channel, to [-1, 1]."""
    low, high = np.asarray(low, float), np.asarray(high, float)
    half = (high - low) / 2
    half[half == 0] = 1.0
    return Scaling(offset=tuple(((high + low) / 2).tolist()), scale=tuple(half.tolist()))
