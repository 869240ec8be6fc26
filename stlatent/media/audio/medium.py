"""Sound as a medium."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...files import UnreadableError
from ...model.device import chunk_pixels
from ...model.ladder import Ladder
from ..encoder import About, Named
from ..figures import Bands, Figure
from ..options import Extent, SourceOptions
from ..output import Output
from ..sample import Sample
from ..source import Source
from ..streaming import Streaming
from ..training import TrainingSet
from .child import SoundPlan
from .measures import DEFINITIONS, FIGURES, snr_db, spectral_distance_db, spectrogram
from .reader import LAYOUTS, read_samples
from .training import KINDS, SoundData, find_sounds, training_set
from .write import CODECS, write_sound

RATE, SECONDS = 16000, 2.0  # where a model says nothing, and nobody asks
ALIKE: Mapping[str, Any] = {}  # nothing has to be known of a sound
SHOWN_SECONDS = 4  # of a file, in pictures
SHARE = 4  # of the pixels of frames that go through a network at a time, as many samples


class Sounds(Streaming):
    """Sound, domain `audio`: its waveform `[C, t]` in [-1, 1], mono or stereo; a part is some
    samples of it."""

    what = "sounds"
    parts = "samples"
    kinds = KINDS
    shipped = "audio"
    formats = tuple(CODECS)
    extents = ("seconds",)
    data = SoundData
    noun = "sound"
    definitions = DEFINITIONS
    time_bands = Bands("samples", (256, 128, 64, 32, 16, 8, 4))

    @classmethod
    def reads(cls, domain: str, field: bool) -> bool:
        return domain == "audio"

    @property
    def rate(self) -> int:
        """Samples per second."""
        return self.config.sample_rate or RATE

    @property
    def channels(self) -> int:
        if self.config.channels not in LAYOUTS:
            raise ValueError(
                f"the model reads {self.config.channels} channels; sounds have 1 (mono) or 2"
            )
        return self.config.channels

    # sources to latents -------------------------------------------------------------------------

    def find(self, root: Path) -> list[Source]:
        return find_sounds(root)

    def plan(self, options: SourceOptions, device: torch.device) -> SoundPlan:
        return SoundPlan(self.rate, self.channels, self.units(device) * self._unit)

    @property
    def _unit(self) -> int:
        """Samples under one step of the coarsest level."""
        return self.config.levels[0].stride[0]

    def units(self, device: torch.device, size: Sequence[int] = ()) -> int:
        return max(1, chunk_pixels(device) // SHARE // self._unit)

    def where(self, source: Named, about: Mapping[str, Any]) -> About:
        return About(source.name, source.name, 0, "sound", fps=self.rate)

    def enter(self, values: np.ndarray, about: Mapping[str, Any] = ALIKE) -> Tensor:
        """`[C, n]` as a model reads it."""
        return torch.from_numpy(values)[None]

    # latents to files ---------------------------------------------------------------------------

    def take(self, model: Ladder, x: Tensor, sample: Sample) -> np.ndarray:
        return x[0].detach().float().clamp(-1, 1).cpu().numpy()

    def write(self, path: Path, parts: Iterable[np.ndarray], sample: Sample, how: Output) -> int:
        return write_sound(path, parts, round(sample.fps or self.rate), self.format(how))

    # pictures -----------------------------------------------------------------------------------

    def beginning(self, sample: Sample, start: int) -> int:
        return min(sample.size[0], SHOWN_SECONDS * self.rate)

    def read_picture(
        self, pieces: Iterable[tuple[Mapping[str, Any], np.ndarray]], start: int
    ) -> np.ndarray | None:
        heard = [values.copy() for _, values in pieces]
        return self._picture(np.concatenate(heard, 1)) if heard else None

    def part_picture(self, parts: Iterable[np.ndarray], sample: Sample) -> np.ndarray:
        count, heard = self.beginning(sample, 0), []
        for part in parts:
            heard.append(part)
            if sum(one.shape[1] for one in heard) >= count:
                break
        return self._picture(np.concatenate(heard, 1)[:, :count])

    def _picture(self, samples: np.ndarray) -> np.ndarray:
        return self.frames(self.enter(samples))[0]

    # samples ------------------------------------------------------------------------------------

    def _count(self, extent: Extent) -> int:
        return max(1, round((extent.seconds or SECONDS) * self.rate))

    def blank(self, extent: Extent) -> Sample:
        extent.check(self.what, self.extents)
        return Sample("sound", (self._count(extent),), float(self.rate))

    def open(self, path: Path, sample: Sample) -> tuple[Tensor, Sample]:
        x = self.enter(read_samples(path, self.rate, self.channels, sample.size[0]))
        if tuple(x.shape[2:]) != sample.size:
            seconds = x.shape[2] / self.rate
            raise ValueError(f"{path} has {seconds:.2f} s to give; ask for less with --seconds")
        return x, replace(sample)

    def beginning_of(self, source: Source, extent: Extent) -> Tensor:
        x = read_samples(source.path, self.rate, self.channels, self._count(extent))
        if not x.shape[1]:
            raise UnreadableError(source.path, "it holds no samples")
        return self.enter(x)

    # measuring and training ---------------------------------------------------------------------

    @property
    def figures(self) -> tuple[Figure, ...]:
        return FIGURES

    def quality(self, x: Tensor, y: Tensor) -> float:
        return snr_db(x, y)

    def compare(self, x: Tensor, y: Tensor) -> dict[str, float]:
        return super().compare(x, y) | {"distance_db": spectral_distance_db(x, y)}

    def frames(self, x: Tensor) -> np.ndarray:
        """A spectrogram: time to the right, high frequencies above, loud ones bright."""
        return spectrogram(x)[None]

    def training_set(self, data: SoundData, seed: int) -> TrainingSet:
        return training_set(self.config, data, seed)

    def check_data(self, data: SoundData) -> None:
        if self.config.sample_rate not in (None, data.rate):
            raise ValueError(
                f"data.rate is {data.rate}, but model.sample_rate is {self.config.sample_rate}; "
                f"leave one of them out"
            )
        _ = self.channels

    def known(self, data: SoundData) -> dict[str, object]:
        return {"sample_rate": data.rate}

    object_type = "np"

    def objects(self, model: Ladder, x: Tensor) -> np.ndarray:
        """Waveforms `[B, C, t]`, as the pipelines of `diffusers` for sound give them."""
        return x.detach().float().clamp(-1, 1).cpu().numpy()
