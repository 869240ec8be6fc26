"""Sound as a medium."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...model import choose as choosing
from ...model.choose import Choose
from ...model.device import chunk_pixels
from ...model.ladder import Ladder
from ...model.stream import decode_chunk
from ..base import Medium, Sample, Stored
from ..chunks import ChunkEncoder
from ..encoder import Sink
from ..figures import Bands, Figure
from ..options import Extent, SourceOptions
from ..output import Output
from ..source import Kind, Source, UnreadableError
from ..training import TrainingSet
from .child import SoundPlan
from .measures import DEFINITIONS, FIGURES, snr_db, spectral_distance_db, spectrogram
from .reader import LAYOUTS, read_samples
from .training import KINDS, SoundData, find_sounds, training_set
from .write import CODECS, write_sound

RATE, SECONDS = 16000, 2.0  # where a model says nothing, and nobody asks
SHOWN_SECONDS = 4  # of a file, in pictures
SHARE = 4  # of the pixels of frames that go through a network at a time, as many samples

log = logging.getLogger(__name__)


class Sounds(Medium[np.ndarray]):
    """Sound, domain `audio`: its waveform `[C, t]` in [-1, 1], mono or stereo; a part is some
    samples of it."""

    what = "sounds"
    parts = "samples"
    kinds = KINDS
    shipped = "audio"
    formats = tuple(CODECS)
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
        return SoundPlan(self.rate, self.channels, self._units(device) * self._unit)

    def encoder(
        self,
        model: Ladder,
        options: SourceOptions,
        sink: Sink,
        std: bool,
        coder: Callable[..., Any] | None,
    ) -> ChunkEncoder:
        return ChunkEncoder(model, sink, std, "sound", _entered, self.rate)

    @property
    def _unit(self) -> int:
        """Samples under one step of the coarsest level."""
        return self.config.levels[0].stride[0]

    def _units(self, device: torch.device) -> int:
        """How many of these go through the network at a time."""
        return max(1, chunk_pixels(device) // SHARE // self._unit)

    # latents to files ---------------------------------------------------------------------------

    def decode(
        self,
        model: Ladder,
        latents: Stored,
        sample: Sample,
        draw: Choose = choosing.mean,
        how: Output = Output(),  # noqa: B008
    ) -> Iterator[np.ndarray]:
        """Sounds of any length go through in constant memory."""
        (left,), state, device = sample.size, None, next(model.parameters()).device
        for levels in latents.stream(self._units(device)):
            levels = [z.to(device) for z in levels]
            x, state = decode_chunk(model, levels, (), state, draw)
            if min(left, x.shape[2]):
                yield self.take(model, x[..., :left], sample)
            left -= min(left, x.shape[2])

    def take(self, model: Ladder, x: Tensor, sample: Sample) -> np.ndarray:
        return x[0].detach().float().clamp(-1, 1).cpu().numpy()

    def write(self, path: Path, parts: Iterable[np.ndarray], sample: Sample, how: Output) -> int:
        return write_sound(path, parts, round(sample.fps or self.rate), self.format(how))

    def ending(self, kind: Kind, how: Output) -> str:
        return f".{self.format(how)}"

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
        return self.frames(torch.from_numpy(samples)[None])[0]

    # samples ------------------------------------------------------------------------------------

    def _count(self, extent: Extent) -> int:
        return max(1, round((extent.seconds or SECONDS) * self.rate))

    def blank(self, extent: Extent) -> Sample:
        for name in ("frames", "size"):
            if getattr(extent, name):
                raise ValueError(f"--{name} is for videos; sounds have --seconds")
        return Sample("sound", (self._count(extent),), float(self.rate))

    def open(self, path: Path, sample: Sample) -> tuple[Tensor, Sample]:
        x = torch.from_numpy(read_samples(path, self.rate, self.channels, sample.size[0]))[None]
        if tuple(x.shape[2:]) != sample.size:
            seconds = x.shape[2] / self.rate
            raise ValueError(f"{path} has {seconds:.2f} s to give; ask for less with --seconds")
        return x, replace(sample)

    def samples(self, root: Path, count: int, extent: Extent) -> Iterator[tuple[str, Tensor]]:
        sources, length = self.find(root), self._count(extent)
        count = min(count, len(sources))
        for source in (sources[i * len(sources) // count] for i in range(count)):
            try:
                x = read_samples(source.path, self.rate, self.channels, length)
                if not x.shape[1]:
                    raise UnreadableError(source.path, "it holds no samples")
            except UnreadableError as error:
                log.warning("left out %s: %s", source.name, error.reason)
                continue
            yield source.name, torch.from_numpy(x)[None]

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


def _entered(values: np.ndarray) -> Tensor:
    """`[C, n]` as a model reads it."""
    return torch.from_numpy(values)[None]
