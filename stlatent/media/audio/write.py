"""Sound to files, 16 bits per sample."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np

from ...files import written
from .reader import LAYOUTS

CODECS = {"wav": "pcm_s16le", "flac": "flac"}
BLOCK = 4096  # samples per frame


def write_sound(path: Path, parts: Iterable[np.ndarray], rate: int, format: str) -> int:
    """Write float `[C, n]` in [-1, 1], part by part, to a file that is complete or not there; how
    many samples there were."""

    def write(partial: Path) -> int:
        count, stream = 0, None
        with av.open(str(partial), "w", format=format) as container:
            for block in _blocks(parts):
                if stream is None:
                    stream = container.add_stream(CODECS[format], rate=rate)
                    stream.layout, stream.format = LAYOUTS[len(block)], "s16"
                packed = np.round(block.clip(-1, 1) * 32767).astype(np.int16).T.reshape(1, -1)
                frame = av.AudioFrame.from_ndarray(packed, "s16", LAYOUTS[len(block)])
                frame.sample_rate, frame.pts = rate, count
                count += block.shape[1]
                container.mux(stream.encode(frame))
            if stream is not None:
                container.mux(stream.encode())
        return count

    return written(path, write)


def _blocks(parts: Iterable[np.ndarray]) -> Iterable[np.ndarray]:
    """The same samples, `BLOCK` at a time."""
    waiting = None
    for part in parts:
        waiting = part if waiting is None else np.concatenate([waiting, part], 1)
        while waiting.shape[1] >= BLOCK:
            yield waiting[:, :BLOCK]
            waiting = waiting[:, BLOCK:]
    if waiting is not None and waiting.shape[1]:
        yield waiting
