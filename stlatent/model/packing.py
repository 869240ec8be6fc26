"""Levels of latents on one grid, normalised, and back.

    level 0   [B, C0, n]        ─────────────────────────────┐
    level 1   [B, C1, 2 n]      ── fold ─► [B, 2 C1, n]  ────┼─ side by side ─► [B, C, n]
    level 2   [B, C2, 4 n]      ── fold ─► [B, 4 C2, n]  ────┘

The grid is that of the coarsest level, so a pipeline's own formula for the number of latents
holds, frames included: 1 + k f frames are 1 + k latents. Folding moves numbers and changes none.
At the first step of a causal axis a finer level has a single latent where later steps have several:
it is repeated, and unfolding keeps the last copy.

Normalised per channel of a level: (z - mean) / std, so that levels of unlike scale, which a
pipeline can only treat alike, all have mean 0 and deviation 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .domain import Domain
from .past import Past


class Packing:
    """Which levels are packed, and how they are normalised.

    Args:
        strides: of these levels, coarsest first.
        level_channels: C_l of these levels.
        mean, std: of every channel of these levels, coarsest level first `[sum of C_l]`.

    Attributes:
        stride: of the packed tensor.
        factors: how many latents of a level one packed latent holds, per level and axis.

    Raises:
        ValueError: there are not as many figures as channels, or a deviation is not above 0.
    """

    def __init__(
        self,
        domain: Domain,
        strides: Sequence[Sequence[int]],
        level_channels: Sequence[int],
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        self.domain, self.stride = domain, tuple(strides[0])
        self.factors = [[c // f for c, f in zip(self.stride, stride)] for stride in strides]
        self.level_channels = list(level_channels)
        self.widths = [
            n * math.prod(factors) for n, factors in zip(self.level_channels, self.factors)
        ]
        if not len(mean) == len(std) == sum(self.level_channels):
            raise ValueError(
                f"{len(mean)} means and {len(std)} deviations are given for levels of "
                f"{self.level_channels} channels; give one of each per channel"
            )
        if not all(value > 0 for value in std):
            raise ValueError("a deviation is not above 0; measure them on other data")
        self.mean, self.std = tuple(mean), tuple(std)

    @property
    def channels(self) -> int:
        """C of the packed tensor."""
        return sum(self.widths)

    def whiten(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """(z - mean) / std of latents `[B, C_l, *grid_l]`, float32."""
        return [(z.float() - m) / s for z, m, s in zip(levels, *self._figures(levels[0].device))]

    def unwhiten(self, levels: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The inverse of `whiten`."""
        figures = self._figures(levels[0].device)
        return tuple(z.float() * s + m for z, m, s in zip(levels, *figures))

    def pack(self, levels: Sequence[Tensor], started: bool = False) -> Tensor:
        """Latents of these levels `[B, C_l, *grid_l]` -> `[B, C, *grid]`, float32.

        Args:
            started: the first step is not the beginning of a stream, so it is a whole group.
        """
        return self.fold(self.whiten(levels), started)

    def unpack(self, packed: Tensor, started: bool = False) -> tuple[Tensor, ...]:
        """The inverse of `pack`, exact but for the rounding of the normalisation."""
        return self.unwhiten(self.unfold(packed, started))

    def pack_log_var(self, levels: Sequence[Tensor], started: bool = False) -> Tensor:
        """Log-variances of latents -> those of packed latents."""
        _, std = self._figures(levels[0].device)
        return self.fold([v.float() - 2 * s.log() for v, s in zip(levels, std)], started)

    def fold(self, levels: Sequence[Tensor], started: bool = False) -> Tensor:
        """Side by side on the coarsest grid, bit for bit."""
        past = _past(started)
        folded = [self.domain.fold(z, f, past) for z, f in zip(levels, self.factors)]
        return torch.cat(folded, 1)

    def unfold(self, packed: Tensor, started: bool = False) -> tuple[Tensor, ...]:
        """The inverse of `fold`, bit for bit.

        Raises:
            ValueError: not as many channels as these levels have.
        """
        if packed.shape[1] != self.channels:
            raise ValueError(
                f"latents have {packed.shape[1]} channels; this autoencoder has {self.channels}"
            )
        past, parts = _past(started), packed.split(self.widths, 1)
        return tuple(self.domain.unfold(z, f, past) for z, f in zip(parts, self.factors))

    def _figures(self, device: torch.device) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Means and deviations per level, each `[C_l, 1, ...]`."""
        one = [1] * len(self.stride)
        means, stds = (
            torch.tensor(values, device=device).view(-1, *one).split(self.level_channels)
            for values in (self.mean, self.std)
        )
        return means, stds


def _past(started: bool) -> Past:
    return Past({}) if started else Past()
