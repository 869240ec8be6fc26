"""Training on stretches of sound."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ...files import UnreadableError
from ...model.config import ModelConfig, Positive
from ...model.domain import Domain
from ..rounds import Rounds
from ..source import Source, named_files
from ..training import DataConfig, HeldOut, SampleRead, TrainingSet
from .reader import SUFFIXES, read_samples, sound_seconds

KINDS = dict.fromkeys(SUFFIXES, "sound")
WHAT = f"sound ({' '.join(SUFFIXES)})"


def find_sounds(root: str | Path) -> list[Source]:
    """All sound files below `root`, or `root` itself; ValueError where there are none."""
    return named_files(root, KINDS, WHAT)


class SoundHeldOut(HeldOut):
    """The same for sound: the beginning of each file.

    Attributes:
        samples: of each.
    """

    samples: Positive = 32768


class SoundData(DataConfig):
    """How sound is cut, a stretch a sample.

    Attributes:
        rate: samples per second; files of another rate are resampled.
        samples: per stretch. At least 1 + 2 strides of the coarsest level, or else convolutions
            never see their whole past in training, as they will in use.
    """

    rate: Positive = 16000
    samples: Positive = 16385
    batch_size: Positive = 8
    validation: SoundHeldOut = SoundHeldOut()

    def size(self, domain: Domain) -> tuple[int, ...]:
        """Axes of one sample."""
        return (self.samples,)


class SoundDataset(Dataset):
    """`dataset[i]` is the i-th stretch, a function of (seed, i) and the files alone.

    Files come in rounds, see `Rounds`; what is shorter than a stretch is followed by silence.

    Args:
        sources: files, and the seconds that each holds.
        samples: per stretch.
        rate, channels: as they are read.
    """

    def __init__(
        self,
        sources: Sequence[tuple[Source, float]],
        samples: int,
        rate: int,
        channels: int,
        seed: int = 0,
    ) -> None:
        self.sources, self.samples, self.seed = list(sources), samples, seed
        self.rate, self.channels = rate, channels
        self.rounds = Rounds([source.name for source, _ in self.sources], seed)

    def __getitem__(self, i: int) -> SampleRead:
        x, failed = self.rounds.read(i, lambda which: self._stretch(*self.sources[which], i))
        return SampleRead(x, failed)

    def _stretch(self, source: Source, seconds: float, i: int) -> Tensor:
        rng = np.random.default_rng((self.seed, 1, i))
        start = rng.uniform(0, max(0.0, seconds - self.samples / self.rate))
        found = read_samples(source.path, self.rate, self.channels, self.samples, start)
        out = torch.zeros(self.channels, self.samples)
        out[:, : found.shape[1]] = torch.from_numpy(found)
        return out


def training_set(model: ModelConfig, data: SoundData, seed: int) -> TrainingSet:
    """Random stretches of the files in a folder; of held-out ones the beginnings.

    Raises:
        ValueError: a folder is missing or holds nothing readable, or a held-out name is unknown.
    """
    found = {source.name: source for source in find_sounds(data.root)}
    data.check_names(found)
    lengths, bad = {}, {}
    for name, source in found.items():
        try:
            lengths[name] = sound_seconds(source.path)
        except UnreadableError as error:
            bad[name] = error.reason
    names = data.validation.chosen(lengths)
    good = [(found[name], seconds) for name, seconds in lengths.items() if name not in names]
    data.check_left(good, "sound", bad)
    held = {
        name: read_samples(found[name].path, data.rate, model.channels, data.validation.samples)
        for name in names
    }
    return TrainingSet(
        kinds={"sound": SoundDataset(good, data.samples, data.rate, model.channels, seed)},
        reads={"sound": data.batch_size},
        held_out={name: torch.from_numpy(x)[None] for name, x in held.items()},
        bad=bad,
    )
