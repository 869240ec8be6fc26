"""A folder of videos and pictures -> a data set of multi-level latents."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from ..data import Source, UnreadableError, VideoReader, find_sources, to_float
from ..ladder import Ladder
from ..stream import encode_chunk, encode_end
from .device import autocast, chunk_units
from .manifest import Header, Item
from .prefetch import prefetch
from .store import LatentWriter

CHUNKS_AHEAD = 2  # decoded while the network is busy

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """A source that could not be read, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class LevelSummary:
    """What one level holds, over all items.

    Attributes:
        numbers: latent numbers.
        per_value: latent numbers per input value.
        bytes: on disk.
    """

    stride: tuple[int, ...]
    channels: int
    numbers: int
    per_value: float
    bytes: int


@dataclass(frozen=True)
class EncodeResult:
    """What `encode_folder` did; `levels` are coarsest first."""

    out: Path
    items: int
    frames: int
    seconds: float
    failed: tuple[Failure, ...]
    levels: tuple[LevelSummary, ...]

    def __str__(self) -> str:
        rate = self.frames / self.seconds
        lines = [
            f"{self.out}: {self.items} sources, {self.frames} frames, {rate:.1f} frames/s",
            f"{'level':<6} {'stride':<10} {'channels':>8} {'per input value':>16} {'bytes':>12}",
        ]
        for k, level in enumerate(self.levels):
            stride, share = "x".join(map(str, level.stride)), f"1/{1 / level.per_value:.0f}"
            lines.append(f"{k:<6} {stride:<10} {level.channels:>8} {share:>16} {level.bytes:>12,}")
        total = f"1/{1 / sum(level.per_value for level in self.levels):.0f}"
        size = sum(level.bytes for level in self.levels)
        lines.append(f"{'all':<6} {'':<10} {'':>8} {total:>16} {size:>12,}")
        if self.failed:
            lines.append(f"left out: {len(self.failed)}, named with the reason in failed.jsonl")
        return "\n".join(lines)


@dataclass(frozen=True)
class _Clip:
    name: str
    kind: str
    frames: int
    size: tuple[int, int]
    fps: float | None


@dataclass(frozen=True)
class _Piece:
    """Some frames of a clip; None after its last ones."""

    clip: _Clip
    frames: np.ndarray | None


def encode_folder(
    model: Ladder,
    root: str | Path,
    out: str | Path,
    reference: str,
    dtype: str = "float16",
    precision: str | None = None,
    replace: bool = False,
) -> EncodeResult:
    """Encode every video and picture below `root` with `model`, on the device where it lies.

    Videos of any length go through in constant memory: a thread decodes the next frames while the
    network is busy with these. A source that cannot be read is left out, named in the log, in the
    result and in `failed.jsonl`.

    Args:
        reference: what to load the model by again; decoding looks it up.
        dtype: of the stored latents, the posterior's means: `float16`, `bfloat16`, `float32`.
        precision: of the network: `fp32`, `bf16`; None is `bf16` where the device is made for it.
        replace: put the result in the place of a former data set.

    Raises:
        ValueError: nothing readable lies there, it does not suit the model, or `out` is taken.
    """
    sources = suitable_sources(model, root)
    header = Header.of(model, reference, dtype)
    device = next(model.parameters()).device
    tally, start = _Tally(header), time.perf_counter()
    with (
        LatentWriter(out, header, replace) as writer,
        closing(prefetch(_read(sources, model), CHUNKS_AHEAD)) as pieces,
        tqdm(total=len(sources), unit="file", disable=None) as bar,
        logging_redirect_tqdm(),
        torch.inference_mode(),
        autocast(device, precision),
    ):
        for done in _encode(model, pieces, writer, device):
            tally.add(done)
            bar.update()
            bar.set_postfix_str(f"{tally.frames / (time.perf_counter() - start):.0f} frames/s")
        if not tally.items:
            first = tally.failed[0]
            raise ValueError(
                f"nothing in {root} can be read (files tried: {len(sources)}); "
                f"the first, {first.name}: {first.reason}"
            )
    return tally.result(writer, time.perf_counter() - start)


def suitable_sources(model: Ladder, root: str | Path) -> list[Source]:
    """What lies below `root`; ValueError unless `model` can encode all of it.

    To an image model every picture stands for itself; to a video model a picture is a video of one
    frame, and a folder of numbered pictures a video.
    """
    if model.domain.name not in ("video", "image"):
        raise ValueError(
            f"the model's domain is '{model.domain.name}'; videos need one of domain 'video', "
            f"pictures one of 'video' or 'image'"
        )
    picture = model.domain.name == "image"
    sources = find_sources(root, frame_folders=not picture)
    videos = [source.name for source in sources if source.kind != "image"]
    if picture and videos:
        raise ValueError(
            f"the model's domain is 'image', but {root} holds {len(videos)} videos, such as "
            f"{videos[0]}; give a video model, or a folder of pictures alone"
        )
    return sources


def _read(sources: Sequence[Source], model: Ladder) -> Iterator[_Piece | Failure]:
    """All sources, chunk by chunk; a failure may come after some chunks of its source."""
    causal, device = model.domain.causal, next(model.parameters()).device
    unit = 1 if causal is None else model.levels[0].stride[causal]
    for source in sources:
        try:
            with VideoReader(source.path, threads=0) as reader:
                if causal is None and reader.frames > 1:
                    reason = f"it has {reader.frames} frames, an image model takes one"
                    raise UnreadableError(source.path, reason)
                moves = source.kind == "image" and reader.frames > 1  # an animated picture
                kind = "video" if moves else source.kind
                clip = _Clip(source.name, kind, reader.frames, tuple(reader.size), reader.fps)
                for frames in reader.chunks(unit * chunk_units(device, clip.size, unit)):
                    yield _Piece(clip, frames)
                yield _Piece(clip, None)
        except UnreadableError as error:
            yield Failure(source.name, error.reason)


def _encode(
    model: Ladder,
    pieces: Iterator[_Piece | Failure],
    writer: LatentWriter,
    device: torch.device,
) -> Iterator[tuple[_Clip, Item] | Failure]:
    """Write the latents of all pieces; yields once per source, when done with it."""
    state = None
    for piece in pieces:
        if isinstance(piece, Failure):
            log.warning("left out %s: %s", piece.name, piece.reason)
            writer.fail(piece.name, piece.reason)
            state = None
            yield piece
        elif piece.frames is not None:
            x = to_float(torch.from_numpy(piece.frames).to(device))[None]
            if model.domain.causal is None:
                levels = model.encode(x[:, :, 0]).levels
            else:
                levels, state = encode_chunk(model, x, state)
            writer.append([z[0] for z in levels])
        else:
            clip, size = piece.clip, piece.clip.size
            if model.domain.causal is not None:
                levels, state = encode_end(model, state)
                writer.append([z[0] for z in levels])
                size, state = (clip.frames, *size), None
            yield clip, writer.end(clip.name, clip.kind, size, clip.fps)


class _Tally:
    """Counts what has been encoded."""

    def __init__(self, header: Header) -> None:
        self.header = header
        self.items, self.frames, self.values = 0, 0, 0
        self.numbers = [0] * len(header.levels)
        self.failed: list[Failure] = []

    def add(self, done: tuple[_Clip, Item] | Failure) -> None:
        if isinstance(done, Failure):
            self.failed.append(done)
            return
        clip, item = done
        self.items += 1
        self.frames += clip.frames
        self.values += 3 * clip.frames * math.prod(clip.size)
        for k, (level, grid) in enumerate(zip(self.header.levels, item.grids, strict=True)):
            self.numbers[k] += level.channels * math.prod(grid)

    def result(self, writer: LatentWriter, seconds: float) -> EncodeResult:
        levels = [
            LevelSummary(level.stride, level.channels, count, count / self.values, size)
            for level, count, size in zip(
                self.header.levels, self.numbers, writer.bytes, strict=True
            )
        ]
        failed = tuple(self.failed)
        return EncodeResult(writer.out, self.items, self.frames, seconds, failed, tuple(levels))
