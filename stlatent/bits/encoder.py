"""The encoder's side of `bitstream.py`: a clip that comes in pieces, as bits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from ..media.coder import TiledDecoder, TiledEncoder
from ..media.codes import Code, HowTold
from ..media.metrics import psnr
from ..model.around import ladder_in
from ..model.choose import Choose, Site
from ..model.device import as_written
from ..model.ladder import Ladder
from ..model.passes import Step, by_level
from ..model.past import Past
from .bitstream import begins_anew, check_mode, chunk_frames, known_steps, step_unit
from .coding import BitBudget, Coding, scale_of
from .keys import AsRead
from .quantise import CodedStream, Writing
from .search import CANDIDATES, search


@dataclass
class Chunk:
    """A chunk as it may be told.

    Attributes:
        codes: per level.
        widths: of the steps of each level, in deviations of the posterior; None is not told.
        steps: of rounding, see `Writing`.
        states: of the streams of each tile, after it.
        decoder: goes on from the chunk before; None where nobody asks for the quality.
        x: what was encoded `[1, C, *axes]`.
        rate_weight: λ, where it is chosen.
    """

    codes: list[Code]
    widths: Sequence[float | None]
    steps: Mapping[Site, Tensor]
    states: list[States]
    decoder: TiledDecoder | None
    x: Tensor
    rate_weight: float | None = None

    @property
    def size_bits(self) -> int:
        """Of its streams and what lies before them."""
        return 8 * sum(len(code.stream) for code in self.codes)

    @cached_property
    def psnr_db(self) -> float:
        """Of what is decoded; computed when somebody asks."""
        axes = self.decoder.model.domain
        y = self.decoder.push([code.latents for code in self.codes], self.rate_weight)
        y = axes.steps(y, 0, axes.of_time(self.x.shape[2:])) if axes.has_time else y
        return psnr(self.x, y).item()

    def with_quality(self) -> list[Code]:
        """The codes, and how they were chosen; the PSNR of a chunk without a target is not
        measured."""
        psnr_db = self.psnr_db if self.decoder else math.inf
        return [
            code._replace(told=(HowTold(width, 8 * len(code.stream), psnr_db, self.rate_weight),))
            for code, width in zip(self.codes, self.widths, strict=True)
        ]


class States(NamedTuple):
    """What streams remember of a tile between two chunks: upwards, downwards, and downwards as
    whoever reads from the last key on; None before there is anything."""

    up: Mapping[str, Tensor] | None = None
    down: Mapping[str, Tensor] | None = None
    read: Mapping[str, Tensor] | None = None


class Risen(NamedTuple):
    """Some steps of a tile, bottom-up: features per level, the size of the coarsest one, and what
    the streams remember of the chunk before, see `States`."""

    features: Sequence[Tensor]
    grid: tuple[int, ...]
    up: Past
    down: Past
    read: Past | None

    @property
    def states(self) -> States:
        """After the passes that have been last."""
        return States(*(past and past.state for past in (self.up, self.down, self.read)))


class Rising(NamedTuple):
    """A chunk, bottom-up: the model, at the λ that it was read at, its tiles, and what is known of
    steps of rounding there."""

    model: Ladder
    tiles: Sequence[Risen]
    steps: Mapping[Site, Tensor]


class StreamEncoder(TiledEncoder):
    """Entropy-codes one clip, in pieces of any length, chunk by chunk. A latent that comes out is
    what is read again.

    Args:
        size, tile: as for `TiledEncoder`.
        budget: that other clips share; by default, what a target allows this one.

    Raises:
        ValueError: the model is in training mode; later, latents are too far from their priors.
    """

    def __init__(
        self,
        model: Ladder,
        size: Sequence[int],
        coding: Coding,
        tile: int | None = None,
        budget: BitBudget | None = None,
    ) -> None:
        check_mode(model)
        super().__init__(model, size, tile=tile)
        self.coding = coding
        self._frames = chunk_frames(model, coding, size)
        self._steps: Mapping[Site, Tensor] = {}
        self._states = [States() for _ in self.tiling.tiles]
        self._count = 0  # of chunks so far
        self._decoder = TiledDecoder(model, size, tile=tile) if coding.target else None
        allowed = coding.target.bits_per_pixel if coding.target else None
        self._budget = budget or BitBudget(allowed or 0.0)
        self._waiting: Tensor | None = None  # until it fills a chunk

    def push(self, x: Tensor) -> list[Code]:
        """As `TiledEncoder.push`, but whole chunks at a time."""
        axes = self.model.domain
        if not axes.has_time:
            return self._chunk(x)
        if self._waiting is not None:
            x = axes.joined([self._waiting, x])
        chunks = []
        while axes.of_time(x.shape[2:]) >= (count := self._frames + (not self._count)):
            chunks.append(self._chunk(axes.steps(x, 0, count)))
            x = axes.steps(x, count, axes.of_time(x.shape[2:]))
        self._waiting = x.clone() if axes.of_time(x.shape[2:]) else None
        return [self._together(parts) for parts in zip(*chunks, strict=True)]

    def end(self) -> list[Code]:
        """The steps that wait to fill a chunk, per level."""
        x, self._waiting = self._waiting, None
        return [] if x is None else self._chunk(x)

    def _chunk(self, x: Tensor) -> list[Code]:
        """What goes through together; the last one need not be whole."""
        x = self.model.as_input(x)
        with torch.no_grad(), as_written(self.device):
            chunk = self._aimed(x) if self.coding.target else self._told(x, self._rising(x))
        self._steps, self._states, self._decoder = chunk.steps, chunk.states, chunk.decoder
        self._count += 1
        return chunk.with_quality() if self.coding.listed else chunk.codes

    def _rising(self, x: Tensor, rate_weight: float | None = None) -> Rising:
        """The next steps of all tiles, bottom-up, at a λ, or at that of the model."""
        model = self.model if rate_weight is None else self.model.at_rate(rate_weight)
        tiles = [self._risen(model, *pair) for pair in zip(self._states, self._cut(x), strict=True)]
        return Rising(model, tiles, known_steps(model, self.coding.step) or self._steps)

    def _risen(self, model: Ladder, states: States, x: Tensor) -> Risen:
        """The next steps of a tile, bottom-up."""
        up, down = Past(states.up), Past(states.down)
        read = None if states.read is None else Past(states.read)
        if begins_anew(model, self.coding, self.size, self._count):
            read = Past(anew=True)
        return Risen(*model.rise(x, up), up, down, read)

    def _aimed(self, x: Tensor) -> Chunk:
        """Told such that it reaches the target."""
        levels, target = len(self.model.levels), self.coding.target
        rising = lru_cache(maxsize=1)(partial(self._rising, x))  # candidates of one λ come together

        def attempt(rate_weight: float | None, told: int, width: int) -> Chunk:
            bytes_told = [1 + width] * told + [0] * (levels - told)
            chunk = self._told(x, rising(rate_weight), bytes_told)
            return replace(chunk, rate_weight=rate_weight)

        chosen = self.coding.rate_chosen
        rates = ladder_in(self.model).config.rate.spaced(CANDIDATES) if chosen else [None]
        self._budget.left_bits += self._budget.bits_per_pixel * math.prod(x.shape[2:])
        chunk = search(target, self._budget.left_bits, levels, attempt, rates)
        self._budget.left_bits -= chunk.size_bits
        return chunk

    def _told(self, x: Tensor, rising: Rising, told: Sequence[int] = ()) -> Chunk:
        """With the steps of each level as wide as these bytes say, see `scale_of`."""
        scales = [scale_of(one) for one in told] or [1.0] * len(self.model.levels)
        unit = step_unit(rising.model, self.coding)
        narrowest = [step / unit for step in self.coding.step]
        choose = Writing(narrowest, rising.steps, [s and s * unit for s in scales])
        latents, streams, states = [], [], []
        for tile in rising.tiles:
            steps = self._descend(rising.model, tile, choose)
            if not streams:
                before = self._before(choose.steps, told)
            latents.append(by_level(steps, [step.z for step in steps]))
            streams.append(choose.end_chunk(None if streams else before[1]))
            states.append(tile.states)
        levels = zip(*latents, strict=True), zip(*streams, strict=True), before[0]
        codes = [self._code(k, *parts) for k, parts in enumerate(zip(*levels, strict=True))]
        decoder = self._decoder and self._decoder.fork()
        widths = [s and s * step for s, step in zip(scales, self.coding.step)]
        return Chunk(codes, widths, choose.steps, states, decoder, x)

    def _descend(self, model: Ladder, tile: Risen, choose: Choose) -> Sequence[Step]:
        """Latents, and how they were chosen."""
        if tile.read is not None:
            choose = AsRead(model, tile.grid, tile.read, choose)
        levels = len(model.levels)
        return model.descend(choose, tile.grid, tile.down, tile.features, levels=levels)[0]

    def _code(
        self, level: int, latents: Sequence[Tensor], streams: Sequence[CodedStream], before: bytes
    ) -> Code:
        one = self.model.levels[level]
        stride = self.model.domain.of_space(one.stride)
        return Code(
            self.tiling.gather(latents, stride, bool(one.codebook)).cpu(),
            torch.tensor([sum(stream.bits for stream in streams)], dtype=torch.float64),
            stream=before + b"".join(stream.content for stream in streams),
            tolerance=min(stream.tolerance for stream in streams),
        )

    def _before(
        self, steps: Mapping[Site, Tensor], told: Sequence[int]
    ) -> tuple[list[bytes], list[bytes]]:
        """What stands before the streams of a chunk, per level: steps, of its groups side by side,
        if it is the first, and how much wider they are; and the part of it that is checked."""
        levels = range(len(self.model.levels))
        told_before = self._count or self.model.config.posterior.kind == "rounded"
        heads = [b"" if told_before else bytes_of(steps, level) for level in levels]
        bytes_told = [bytes([one]) for one in told] or [b""] * len(levels)
        checked = heads if self.coding.steps_checked else [b""] * len(levels)
        return tuple(
            [a + b for a, b in zip(parts, bytes_told, strict=True)] for parts in (heads, checked)
        )

    def _together(self, chunks: Sequence[Code]) -> Code:
        """Chunks that follow each other in time, as one."""
        return Code(
            self.model.domain.joined(code.latents for code in chunks),
            torch.stack([code.bits for code in chunks]).sum(0),
            stream=b"".join(code.stream for code in chunks),
            tolerance=min(code.tolerance for code in chunks),
            told=tuple(chain.from_iterable(code.told for code in chunks)),
        )


def bytes_of(steps: Mapping[Site, Tensor], level: int) -> bytes:
    """Of its groups side by side; none of codes."""
    groups = [one for site, one in steps.items() if site.level == level]
    return b"".join(one.view(torch.int16).numpy().astype("<i2").tobytes() for one in groups)
