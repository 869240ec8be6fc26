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
from ...model.passes import Encoded
from ...model.stream import State, decode_chunk, encode_chunk, encode_end
from ..codes import Code, codes_of, on_cpu, stored
from ..tiles import Tiling
from .pixels import to_uint8


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
        self.tiling = Tiling(size, model.domain.of_space(model.levels[0].stride), tile)
        self._states: list[State | None] = [None] * len(self.tiling.tiles)

    def push(self, frames: np.ndarray) -> list[Code]:
        """What became complete, per level; an empty list if nothing did.

        frames: uint8 `[B, t, H, W, 3]`; for an image model t is 1, and codes have no time axis.
        """
        x = self._resized(torch.from_numpy(frames).to(self.device))
        return self._joined([self._next(i, cut) for i, cut in enumerate(self._cut(x))])

    def end(self) -> list[Code]:
        """The frames that wait to fill a unit, per level."""
        if None in self._states:  # nothing came, or nothing waits
            return []
        ends = [encode_end(self.model, state, stored) for state in self._states]
        self._states = [state for _, state in ends]
        return self._joined([encoded for encoded, _ in ends])

    def _cut(self, x: Tensor) -> Iterator[Tensor]:
        """What each tile shows, uint8 `[B, 3, t, h, w]`."""
        for tile in self.tiling.tiles:
            yield x[(slice(None), slice(None), *tile.slices)].movedim(-1, 1)

    def _next(self, tile: int, x: Tensor) -> Encoded:
        """What became complete of a tile."""
        if not self.model.domain.has_time:
            return self.model.encode(x[:, :, 0], stored)
        encoded, self._states[tile] = encode_chunk(self.model, x, self._states[tile], stored)
        return encoded

    def _joined(self, tiles: Sequence[Encoded]) -> list[Code]:
        """What the levels say of whole frames, from what they say of tiles."""
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
        self.tiling = Tiling(size, model.domain.of_space(model.levels[0].stride), tile)
        self._states: list[State | None] = [None] * len(self.tiling.tiles)

    def push(self, levels: Sequence[Tensor]) -> np.ndarray:
        """Frames uint8 `[t, H, W, 3]` from latents `[1, C, t, H, W]` of the first levels."""
        strides = [self.model.domain.of_space(level.stride) for level in self.model.levels]
        cut = [
            self.tiling.split(z.to(self.device), stride)
            for z, stride in zip(levels, strides, strict=False)
        ]
        made = []
        for i, tile in enumerate(self.tiling.tiles):
            part = [tiles[i] for tiles in cut]
            if not self.model.domain.has_time:
                x = self.model.decode(Latents(tuple(part), tile.size), draw=self.draw)[:, :, None]
            else:
                x, self._states[i] = decode_chunk(
                    self.model, part, tile.size, self._states[i], self.draw
                )
            made.append(x)
        return to_uint8(self.tiling.join(made)[0])
