"""Autoencoders beside each other on one set: quality, size, speed and memory in one run."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

import numpy as np
import psutil
import torch
from torch import Tensor

from ..media.metrics import psnr, ssim
from ..model.device import autocast
from .networks import (
    LEAST_CLIPS,
    ClipFeatures,
    PictureDistance,
    check_clips,
    frechet_distance,
)
from .peers import Peer

WAIT_S = 0.005  # between two looks at the memory


@dataclass(frozen=True)
class Row:
    """What one way of decoding gives, means over the clips; None is not known.

    Attributes:
        model, levels: what was decoded; of a ladder, each prefix.
        psnr_db, ssim: see `media/metrics.py`.
        lpips, fvd: see `networks.py`.
        values_per_number: values of the clip for each latent number.
        bits_per_value: of the rate.
        encode_fps, decode_fps: frames per second, the first clip left out where there are more.
        memory_mib: most that encoding and decoding took above what lay there before.
    """

    model: str
    levels: str
    psnr_db: float
    ssim: float
    lpips: float | None
    fvd: float | None
    values_per_number: float
    bits_per_value: float | None
    encode_fps: float
    decode_fps: float
    memory_mib: float
    parameters: int


@dataclass
class RowTally:
    """Sums of one row."""

    figures: list[tuple[float, float]] = field(default_factory=list)
    lpips: list[float] = field(default_factory=list)
    features: list[np.ndarray] = field(default_factory=list)
    times: list[tuple[float, float, int]] = field(default_factory=list)  # encode, decode, frames
    numbers: int = 0
    values: int = 0
    bits: float | None = 0.0
    memory: float = 0.0


@torch.inference_mode()
def evaluate(
    peers: Sequence[Peer],
    clips: Iterable[tuple[str, Tensor]],
    precision: str | None = None,
    lpips: PictureDistance | None = None,
    fvd: ClipFeatures | None = None,
) -> list[Row]:
    """Measure `peers` on clips `[1, 3, T, H, W]` in [-1, 1], which are read once.

    Args:
        precision: `fp32`, `bf16`, or what the device is made for.

    Raises:
        ValueError: there are no clips, or with `fvd` fewer than two.
    """
    clips = _enough(clips) if fvd else clips
    tallies: dict[tuple[int, str], RowTally] = {}
    real: list[np.ndarray] = []
    for _, x in clips:
        if fvd:
            real.append(fvd(x))
        for place, peer in enumerate(peers):
            for levels, y, tally in _measured(peer, x, place, tallies, precision):
                tally.figures.append((float(psnr(x, y)), float(ssim(x, y))))
                if lpips:
                    tally.lpips.append(lpips(x, y))
                if fvd:
                    tally.features.append(fvd(y))
                tallies[place, levels] = tally
    if not tallies:
        raise ValueError("there is nothing to measure on; give a folder of videos or pictures")
    rows = sorted(tallies.items(), key=lambda item: item[0][0])
    return [_row(peers[place], levels, tally, real) for (place, levels), tally in rows]


def _enough(clips: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """The clips, of which there are enough for FVD; said before anything is measured."""
    first = list(itertools.islice(clips := iter(clips), LEAST_CLIPS))
    check_clips(len(first))
    return itertools.chain(first, clips)


def _measured(
    peer: Peer,
    x: Tensor,
    place: int,
    tallies: dict[tuple[int, str], RowTally],
    precision: str | None,
) -> Iterator[tuple[str, Tensor, RowTally]]:
    """Each way of decoding `x`, with what it took added to its tally."""
    given, memory = x.to(peer.device), Memory(peer.device)
    # not around what is yielded: whoever measures it does so in float32
    with autocast(peer.device, precision), memory.watched(), Stopwatch(peer.device) as encoding:
        code = peer.encode(given)
    ways, encoded = iter(peer.decodings(code)), memory.peak
    while True:
        with autocast(peer.device, precision), memory.watched(), Stopwatch(peer.device) as decoding:
            found = next(ways, None)
        if found is None:
            return
        levels, y, numbers, bits = found
        tally = tallies.get((place, levels)) or RowTally()
        tally.times.append((encoding.seconds, decoding.seconds, x.shape[2]))
        tally.memory = max(tally.memory, encoded, memory.peak)
        tally.numbers, tally.values = tally.numbers + numbers, tally.values + x.numel()
        tally.bits = None if bits is None or tally.bits is None else tally.bits + bits
        yield levels, y.float().cpu(), tally


def _row(peer: Peer, levels: str, tally: RowTally, real: Sequence[np.ndarray]) -> Row:
    quality = np.mean(tally.figures, 0)
    times = np.sum(tally.times[1:] or tally.times, 0)
    return Row(
        model=peer.name,
        levels=levels,
        psnr_db=round(float(quality[0]), 3),
        ssim=round(float(quality[1]), 4),
        lpips=round(float(np.mean(tally.lpips)), 4) if tally.lpips else None,
        fvd=round(frechet_distance(real, tally.features), 2) if tally.features else None,
        values_per_number=round(tally.values / tally.numbers, 1),
        bits_per_value=None if tally.bits is None else round(tally.bits / tally.values, 5),
        encode_fps=round(float(times[2] / times[0]), 2),
        decode_fps=round(float(times[2] / times[1]), 2),
        memory_mib=round(tally.memory / 2**20, 1),
        parameters=peer.parameters,
    )


HEADINGS = {
    "model": "model",
    "levels": "levels",
    "psnr_db": "PSNR dB",
    "ssim": "SSIM",
    "lpips": "LPIPS",
    "fvd": "FVD",
    "values_per_number": "values per number",
    "bits_per_value": "bits per value",
    "encode_fps": "encode frames/s",
    "decode_fps": "decode frames/s",
    "memory_mib": "memory MiB",
    "parameters": "parameters",
}


def table(rows: Sequence[Row]) -> str:
    """As Markdown, without columns of which nothing is known."""
    shown = [asdict(row) for row in rows]
    keys = [key for key in HEADINGS if any(row[key] is not None for row in shown)]
    lines = [[HEADINGS[key] for key in keys], ["---"] * len(keys)]
    lines += [[_cell(row[key]) for key in keys] for row in shown]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value}"


class Stopwatch:
    """Seconds that a block took, what runs on a GPU included."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def __enter__(self) -> Stopwatch:
        self._wait()
        self.began = time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self._wait()
        self.seconds = time.perf_counter() - self.began

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


class Memory:
    """The most that blocks took above what lay there before, in bytes: of a GPU as torch counts it,
    else of the process, looked at every few milliseconds.

    Attributes:
        peak: of the last block.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.peak = device, 0.0

    @contextmanager
    def watched(self) -> Iterator[None]:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            before = torch.cuda.memory_allocated(self.device)
            yield
            self.peak = torch.cuda.max_memory_allocated(self.device) - before
            return
        process, ended, seen = psutil.Process(), threading.Event(), []
        before = process.memory_info().rss

        def look() -> None:
            while not ended.wait(WAIT_S):
                seen.append(process.memory_info().rss)

        watcher = threading.Thread(target=look, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()
        self.peak = max([*seen, process.memory_info().rss]) - before
