"""Frames to codes and back, clip by clip, on the device where the model lies.

A code is what one level says about some frames: `[B, C', t, H, W]`, its channels being the latents
(the posteriors' means, C of them), their standard deviations if they are asked for (C more), and
last the rate in bits at each position.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .. import choose as choosing
from ..choose import Choose, Distribution, Site
from ..data import to_float, to_uint8
from ..gaussian import BITS_PER_NAT, Gaussian
from ..ladder import Ladder
from ..latents import Latents
from ..stream import State, decode_chunk, encode_chunk
from .tiles import Tiling


class Noting:
    """Chooses the posterior's mean, and keeps the posteriors and priors it has seen.

    held: chooses latents that then are the means of the posteriors.
    """

    def __init__(self, held: Choose | None = None) -> None:
        self.held = held
        self.seen: list[tuple[int, Distribution, Distribution]] = []

    def __call__(self, site: Site, posterior: Distribution | None, prior: Distribution) -> Tensor:
        if self.held:
            posterior = Gaussian(self.held(site, posterior, prior), posterior.log_std)
        self.seen.append((site.level, posterior, prior))
        return posterior.mean

    def codes(self, levels: Sequence[Tensor], std: bool) -> list[Tensor]:
        """The latents of all levels, with their deviations and rates."""
        made = []
        for k, z in enumerate(levels):
            seen = [(q, p) for level, q, p in self.seen if level == k]
            parts = [z]
            if std:
                parts += [q.std for q, _ in seen] or [torch.zeros_like(z)]
            rates = [q.kl(p).sum(1, keepdim=True) for q, p in seen] or [torch.zeros_like(z[:, :1])]
            made.append(torch.cat([*parts, BITS_PER_NAT * sum(rates)], 1).float())
        return made


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

    def push(self, frames: np.ndarray) -> list[Tensor]:
        """Codes per level of what became complete, on the CPU.

        frames: uint8 `[B, t, H, W, 3]`; for an image model t is 1, and codes have no time axis.
        """
        x = self._resized(torch.from_numpy(frames).to(self.device))
        if self._waiting is not None:
            x = torch.cat([self._waiting, x], 1)
        if self.model.domain.causal is None:
            return self._encode(x)
        first, unit = 0 if self._started else 1, self.model.levels[0].stride[0]
        ready = max(0, first + (x.shape[1] - first) // unit * unit)
        self._waiting = x[:, ready:].clone() if ready < x.shape[1] else None
        if not ready:
            return []
        self._started = True
        return self._encode(x[:, :ready])

    def end(self) -> list[Tensor]:
        """Codes of the frames that wait to fill a unit."""
        if self._waiting is None:
            return []
        x, self._waiting = self._waiting, None
        missing = -x.shape[1] % self.model.levels[0].stride[0]
        return self._encode(torch.cat([x, *[x[:, -1:]] * missing], 1))

    def _encode(self, x: Tensor) -> list[Tensor]:
        """uint8 `[B, t, H, W, 3]`, whole units -> codes."""
        parts = []
        for i, tile in enumerate(self.tiling.tiles):
            cut = to_float(x[:, :, slice(*tile.rows), slice(*tile.columns)])
            notes = Noting()
            if self.model.domain.causal is None:
                levels = self.model.encode(cut[:, :, 0], notes).levels
            else:
                levels, self._states[i] = encode_chunk(self.model, cut, self._states[i], notes)
            parts.append(notes.codes(levels, self.std))
        strides = [level.stride[-2:] for level in self.model.levels]
        return [
            self.tiling.join(tiles, stride).cpu()
            for tiles, stride in zip(zip(*parts, strict=True), strides, strict=True)
        ]

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
