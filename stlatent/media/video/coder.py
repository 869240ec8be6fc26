"""Frames to codes and back, clip by clip, on the device where the model lies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...model import choose as choosing
from ...model.choose import Choose
from ...model.config import Level
from ...model.ladder import Ladder
from ...model.latents import Latents
from ...model.stream import State, decode_chunk, encode_chunk
from ..codes import Code, Noting, on_cpu
from .pixels import to_float, to_uint8
from .tiles import Tiling


class ClipEncoder:
    """Encodes clips of one size side by side, in pieces of any length.

    Args:
        size: height and width of what is encoded; frames of another size are resized.
        std: whether standard deviations are wanted.
        tile: side in pixels of the tiles that larger frames are cut into; None does not cut.
    """

    def __init__(
        self, model: Ladder, size: Sequence[int], std: bool = False, tile: int | None = None
    ) -> None:
        self.model, self.size, self.std = model, tuple(size), std
        self.device = next(model.parameters()).device
        self.tiling = Tiling(size, model.levels[0].stride[-2:], tile)
        self._states: list[State | None] = [None] * len(self.tiling.tiles)
        self._waiting: Tensor | None = None  # uint8, which is a quarter of float32
        self._started = False

    def push(self, frames: np.ndarray) -> list[Code]:
        """What became complete, per level; an empty list if nothing did.

        frames: uint8 `[B, t, H, W, 3]`; for an image model t is 1, and codes have no time axis.
        """
        x = self._resized(torch.from_numpy(frames).to(self.device))
        if self._waiting is not None:
            x = torch.cat([self._waiting, x], 1)
        if self.model.domain.causal is None:
            return self._encode(x)
        ready = self._ready(x.shape[1])
        self._waiting = x[:, ready:].clone() if ready < x.shape[1] else None
        if not ready:
            return []
        codes = self._encode(x[:, :ready])
        self._started = True
        return codes

    def end(self) -> list[Code]:
        """The frames that wait to fill a unit, per level."""
        if self._waiting is None:
            return []
        x, self._waiting = self._waiting, None
        first = 0 if self._started else 1
        missing = (first - x.shape[1]) % self.model.levels[0].stride[0]
        return self._encode(torch.cat([x, *[x[:, -1:]] * missing], 1))

    def _ready(self, waiting: int) -> int:
        """How many of the frames that wait can go through the network."""
        first, unit = 0 if self._started else 1, self.model.levels[0].stride[0]
        return max(0, first + (waiting - first) // unit * unit)

    def _encode(self, x: Tensor) -> list[Code]:
        """uint8 `[B, t, H, W, 3]`, whole units -> what the levels say."""
        parts = []
        for i, cut in enumerate(self._cut(x)):
            notes = Noting()
            levels = self._pass(i, cut, notes)
            parts.append([notes.level(k, z, self.std) for k, z in enumerate(levels)])
        return [
            self._joined(level, tiles)
            for level, tiles in zip(self.model.levels, zip(*parts, strict=True), strict=True)
        ]

    def _cut(self, x: Tensor) -> Iterator[Tensor]:
        """What each tile shows, `[B, 3, t, h, w]` in [-1, 1]."""
        for tile in self.tiling.tiles:
            yield to_float(x[:, :, slice(*tile.rows), slice(*tile.columns)])

    def _pass(self, tile: int, x: Tensor, choose: Choose) -> tuple[Tensor, ...]:
        """Latents of the next frames of a tile."""
        if self.model.domain.causal is None:
            return self.model.encode(x[:, :, 0], choose).levels
        levels, self._states[tile] = encode_chunk(self.model, x, self._states[tile], choose)
        return levels

    def _joined(self, level: Level, tiles: Sequence[Code]) -> Code:
        stride = level.stride[-2:]
        rates = self.tiling.join([code.bits for code in tiles], stride)
        join = self.tiling.pick if level.codebook else self.tiling.join
        latents, stds, indices = (
            None if parts[0] is None else join(parts, stride)
            for parts in zip(*((code.latents, code.std, code.indices) for code in tiles))
        )
        return on_cpu(Code(latents, rates, stds, indices))

    def _resized(self, x: Tensor) -> Tensor:
        """uint8 `[B, t, H, W, 3]` at `size`, as training resizes it."""
        if tuple(x.shape[2:4]) == self.size:
            return x
        flat = x.flatten(0, 1).movedim(-1, 1)
        flat = flat if x.device.type == "cpu" else flat.float()  # GPUs resize no bytes
        flat = F.interpolate(flat, self.size, mode="bicubic", antialias=True)
        flat = flat if flat.dtype == torch.uint8 else flat.round_().clamp_(0, 255).byte()
        return flat.movedim(1, -1).unflatten(0, x.shape[:2])


class ClipDecoder:
    """Decodes one video in pieces, or one picture.

    Args:
        size: height and width to come out.
        draw: how the levels that are not given are chosen.
        tile: as for `ClipEncoder`.
    """

    def __init__(
        self,
        model: Ladder,
        size: Sequence[int],
        draw: Choose = choosing.mean,
        tile: int | None = None,
    ) -> None:
        self.model, self.size, self.draw = model, tuple(size), draw
        self.device = next(model.parameters()).device
        self.tiling = Tiling(size, model.levels[0].stride[-2:], tile)
        self._states: list[State | None] = [None] * len(self.tiling.tiles)

    def push(self, levels: Sequence[Tensor]) -> np.ndarray:
        """Frames uint8 `[t, H, W, 3]` from latents `[1, C, t, H, W]` of the first levels."""
        strides = [level.stride[-2:] for level in self.model.levels]
        cut = [
            self.tiling.split(z.to(self.device), stride)
            for z, stride in zip(levels, strides, strict=False)
        ]
        made = []
        for i, tile in enumerate(self.tiling.tiles):
            part = [tiles[i] for tiles in cut]
            if self.model.domain.causal is None:
                x = self.model.decode(Latents(tuple(part), tile.size), draw=self.draw)[:, :, None]
            else:
                x, self._states[i] = decode_chunk(
                    self.model, part, tile.size, self._states[i], self.draw
                )
            made.append(x)
        return to_uint8(self.tiling.join(made)[0])
