"""Sound through the network, into the items of a data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ...model.ladder import Ladder
from ...model.passes import Encoded
from ...model.stream import State, encode_chunk, encode_end
from ..codes import codes_of, on_cpu, stored
from ..encoder import About, Named, Sink, SinkItem, SourceEncoder


@dataclass
class Sound:
    """A file under way: its item, what the network remembers of it, and how long it is so far."""

    item: SinkItem
    state: State | None = None
    count: int = 0


class SoundEncoder(SourceEncoder):
    """Encodes files of sound of any length, one after the other, in constant memory.

    Args:
        rate: samples per second.
    """

    def __init__(self, model: Ladder, sink: Sink, std: bool, rate: int) -> None:
        super().__init__(model, sink, std)
        self.rate = rate
        self._sound: Sound | None = None

    def encode(self, source: Named, about: Mapping[str, Any], values: np.ndarray) -> int:
        if not values.shape[1]:
            raise ValueError("it holds no samples")
        if self._sound is None:
            item = self.sink.item(About(source.name, source.name, 0, "sound", fps=self.rate))
            self._sound = Sound(item)
        sound, x = self._sound, torch.from_numpy(values.copy())[None].to(self.device)
        encoded, sound.state = encode_chunk(self.model, x, sound.state, stored)
        self._append(sound, encoded)
        sound.count += values.shape[1]
        if about["last"]:
            self._append(sound, encode_end(self.model, sound.state, stored)[0])
            sound.item.end((sound.count,))
            self._sound = None
        return values.shape[1]

    def _append(self, sound: Sound, encoded: Encoded) -> None:
        if encoded.steps:  # else nothing has become complete
            codes = codes_of(encoded, self.std)
            sound.item.append([on_cpu(code).sample(0) for code in codes])

    def fail(self, source: str, stage: str, reason: str) -> None:
        super().fail(source, stage, reason)
        if self._sound and self._sound.item.about.source == source:
            self._sound = None
