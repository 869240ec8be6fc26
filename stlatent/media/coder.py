"""Samples of any domain through a model and back: in pieces along time, in tiles across space."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy

from torch import Tensor

from ..checkpoint import Model
from ..model import choose as choosing
from ..model.choose import Choose
from ..model.config import Level
from ..model.latents import Latents
from ..model.passes import Encoded
from ..model.stream import State, decode_chunk, encode_chunk, encode_end
from .codes import Code, codes_of, on_cpu, stored
from .sample import Stored
from .tiles import Tiling


class TiledEncoder:
    """Encodes samples of one size side by side, in pieces of any length.

    Args:
        size: of what is encoded, along the space axes.
        std: whether standard deviations are wanted.
        tile: side in pixels of the tiles that larger samples are cut into; None does not cut.
    """

    def __init__(
        self, model: Model, size: Sequence[int], std: bool = False, tile: int | None = None
    ) -> None:
        self.model, self.size, self.std = model, tuple(size), std
        self.device = next(model.parameters()).device
        self.tiling = Tiling(size, model.domain.of_space(model.levels[0].stride), tile)
        self._states: list[State | None] = [None] * len(self.tiling.tiles)

    def push(self, x: Tensor) -> list[Code]:
        """What became complete of samples `[B, C, *axes]`, per level; an empty list if nothing
        did."""
        return self._joined([self._next(i, cut) for i, cut in enumerate(self._cut(x))])

    def end(self) -> list[Code]:
        """The steps that wait to fill a unit, per level."""
        if None in self._states:  # nothing came, or nothing waits
            return []
        ends = [encode_end(self.model, state, stored) for state in self._states]
        self._states = [state for _, state in ends]
        return self._joined([encoded for encoded, _ in ends])

    def _cut(self, x: Tensor) -> Iterator[Tensor]:
        """What each tile shows."""
        for tile in self.tiling.tiles:
            yield x[(..., *tile.slices)]

    def _next(self, tile: int, x: Tensor) -> Encoded:
        """What became complete of a tile."""
        if not self.model.domain.has_time:
            return self.model.encode(x, stored)
        encoded, self._states[tile] = encode_chunk(self.model, x, self._states[tile], stored)
        return encoded

    def _joined(self, tiles: Sequence[Encoded]) -> list[Code]:
        """What the levels say of whole samples, from what they say of tiles."""
        if not tiles[0].steps:
            return []
        codes = zip(*(codes_of(encoded, self.std) for encoded in tiles), strict=True)
        return [self._level(*pair) for pair in zip(self.model.levels, codes, strict=True)]

    def _level(self, level: Level, tiles: Sequence[Code]) -> Code:
        stride = self.model.domain.of_space(level.stride)
        rates = self.tiling.join([code.bits for code in tiles], stride)
        codes = bool(level.codebook)
        latents, stds, indices = (
            None if parts[0] is None else self.tiling.gather(parts, stride, codes)
            for parts in zip(*((code.latents, code.std, code.indices) for code in tiles))
        )
        return on_cpu(Code(latents, rates, stds, indices))


# what encodes samples of one size along the space axes, such as into bits
CoderFor = Callable[[Sequence[int]], TiledEncoder]


class TiledDecoder:
    """Decodes one sample, in pieces along time where there is any.

    Args:
        size: to come out along the space axes.
        draw: how the levels that are not given are chosen.
        tile: as for `TiledEncoder`.
    """

    def __init__(
        self,
        model: Model,
        size: Sequence[int],
        draw: Choose = choosing.mean,
        tile: int | None = None,
    ) -> None:
        self.model, self.draw = model, draw
        self.device = next(model.parameters()).device
        self.tiling = Tiling(size, model.domain.of_space(model.levels[0].stride), tile)
        self._states: list[State | None] = [None] * len(self.tiling.tiles)

    def fork(self) -> TiledDecoder:
        """Another one that goes on from here."""
        other = copy(self)
        other._states = list(self._states)
        return other

    def pieces(self, latents: Stored, size: Sequence[int], steps: int) -> Iterator[Tensor]:
        """A sample of this size as `[1, C, *axes]`, piece by piece where there is time, each of so
        many steps of the coarsest level at most."""
        axes, weights = self.model.domain, latents.rate_weights(steps)
        if not axes.has_time:
            yield self.push(latents.whole().levels, next(weights))
            return
        left = axes.of_time(size)
        for levels, weight in zip(latents.stream(steps), weights, strict=False):
            if not left:
                return
            x = self.push(levels, weight)
            count = min(left, axes.of_time(x.shape[2:]))
            left -= count
            yield axes.steps(x, 0, count)

    def push(self, levels: Sequence[Tensor], rate_weight: float | None = None) -> Tensor:
        """`[1, C, *axes]` from the next latents `[1, C, *axes]` of the first levels, at a λ, or at
        that of the model."""
        model = self.model if rate_weight is None else self.model.at_rate(rate_weight)
        strides = [self.model.domain.of_space(level.stride) for level in self.model.levels]
        cut = [
            self.tiling.split(z.to(self.device), stride)
            for z, stride in zip(levels, strides, strict=False)
        ]
        tiles = enumerate(self.tiling.tiles)
        return self.tiling.join(
            [self._next(model, i, [parts[i] for parts in cut], tile.size) for i, tile in tiles]
        )

    def _next(
        self, model: Model, tile: int, levels: Sequence[Tensor], size: Sequence[int]
    ) -> Tensor:
        axes, state = model.domain, self._states[tile]
        if not axes.has_time:
            return model.decode(Latents(tuple(levels), axes.size(1, size)), draw=self.draw)
        x, self._states[tile] = decode_chunk(model, levels, size, state, self.draw)
        return x
