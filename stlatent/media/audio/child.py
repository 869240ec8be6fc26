"""How the child of `reader.py` reads sound, without torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .reader import read_sound


@dataclass(frozen=True)
class SoundPlan:
    """How sound is read.

    Attributes:
        rate: samples per second.
        channels: 1 or 2.
        chunk: samples that go through the network at a time.
    """

    module: ClassVar[str] = __name__

    rate: int
    channels: int
    chunk: int


def read(request: dict) -> Iterator[tuple[dict, np.ndarray]]:
    """The samples of a file, chunk by chunk, float32 `[C, n]`; `last` says that no more come.

    Chunks are of one size, so that what goes through the network together depends on the file
    alone.
    """
    left = request["first"] or np.inf
    waiting = np.empty((request["channels"], 0), np.float32)
    for samples in read_sound(request["path"], request["rate"], request["channels"]):
        waiting = np.concatenate([waiting, samples], 1)
        while waiting.shape[1] > request["chunk"] and left > request["chunk"]:
            yield {"last": False}, waiting[:, : request["chunk"]]
            left -= request["chunk"]
            waiting = waiting[:, request["chunk"] :]
        if waiting.shape[1] >= left:
            break
    yield {"last": True}, waiting[:, : int(min(left, waiting.shape[1]))]
