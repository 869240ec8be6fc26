"""Levels of latents on one grid, normalised, and back.

    level 0   [B, C0, n]        ─────────────────────────────┐
    level 1   [B, C1, 2 n]      ── fold ─► [B, 2 C1, n]  ────┼─ side by side ─► [B, C, n]
    level 2   [B, C2, 4 n]      ── fold ─► [B, 4 C2, n]  ────┘

The grid is that of the coarsest level, so a pipeline's own formula for the number of latents
holds, frames included: 1 + k f frames are 1 + k latents. Folding moves numbers and changes none.
At the first step of a causal axis a finer level has a single latent where later steps have several:
it is repeated, and unfolding keeps the last copy. On any other grid, whose stride divides that of
the coarsest level, coarser levels are spread over positions, see layout.py.

Normalised per channel of a level: (z - mean) / std, so that levels of unlike scale, which a
pipeline can only treat alike, all have mean 0 and deviation 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .domain import Domain
from .layout import Layout
from .past import Past

CERTAIN = -30.0  # log-variance of what leaves nothing to draw; diffusers clamps there


class Packing:
    """Which levels are packed, and how they are normalised.

    Args:
        strides: of these levels, coarsest first.
        level_channels: C_l of these levels.
        mean, std: of every channel of these levels, coarsest level first `[sum of C_l]`.
        grid: stride of the packed tensor; None is that of the coarsest level.
        least: the packed tensor has so many channels at least; those beyond hold zeros.

    Attributes:
        stride: of the packed tensor.
        unit: packed latents under one of the coarsest level, per axis: what is packed is a
            multiple of it, but for the first step in time.

    Raises:
        ValueError: there are not as many figures as channels, a deviation is not above 0, or levels
            do not lie evenly on the grid.
    """

    def __init__(
        self,
        domain: Domain,
        strides: Sequence[Sequence[int]],
        level_channels: Sequence[int],
        mean: Sequence[float],
        std: Sequence[float],
        grid: Sequence[int] | None = None,
        least: int = 0,
    ) -> None:
        self.domain, self.stride = domain, tuple(grid or strides[0])
        domain.check_stride(self.stride)
        self.level_channels = list(level_channels)
        self.layouts = [
            Layout(domain, n, stride, self.stride)
            for n, stride in zip(self.level_channels, strides, strict=True)
        ]
        if any(c % g for c, g in zip(strides[0], self.stride)):
            raise ValueError(
                f"a grid of {list(self.stride)} does not divide level 0, of {list(strides[0])}"
            )
        self.unit = [c // g for c, g in zip(strides[0], self.stride)]
        self.widths = [layout.width for layout in self.layouts]
        self.surplus = max(0, least - sum(self.widths))
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
        return sum(self.widths) + self.surplus

    def grid(self, size: Sequence[int]) -> tuple[int, ...]:
        """Size of the packed grid for an input of `size`: whole units along space, and along time
        as many steps as the stride of the packed tensor asks for."""
        coarsest = [s * n for s, n in zip(self.stride, self.unit)]
        whole = self.domain.samples(self.domain.shape(size, coarsest), self.unit)
        steps = self.domain.of_time(self.domain.shape(size, self.stride))
        return self.domain.with_time(whole, steps)

    def completed(self, packed: Tensor) -> Tensor:
        """`packed` `[B, C, *grid]` with its last step repeated until whole units are full.

        Raises:
            ValueError: along space it is not made of whole units.
        """
        grid = tuple(packed.shape[2:])
        full = self.domain.samples(self.domain.shape(grid, self.unit), self.unit)
        if self.domain.of_space(full) != self.domain.of_space(grid):
            units = " x ".join(map(str, self.domain.of_space(self.unit)))
            raise ValueError(
                f"latents have a grid of {list(grid)}; along space it must be a multiple of "
                f"{units}, such as {list(full)}, since so many hold a latent of level 0"
            )
        return self.domain.pad(packed, self.unit)

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
        scaled = [v.float() - 2 * s.log() for v, s in zip(levels, std)]
        return self.fold(scaled, started, CERTAIN)

    def fold(self, levels: Sequence[Tensor], started: bool = False, blank: float = 0) -> Tensor:
        """Side by side on the grid, bit for bit.

        Args:
            blank: what channels hold that no level needs.
        """
        past = _past(started)
        folded = [layout.fold(z, past) for z, layout in zip(levels, self.layouts, strict=True)]
        if self.surplus:
            one = folded[0][:, :1]
            folded.append(torch.full_like(one, blank).expand(-1, self.surplus, *one.shape[2:]))
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
        past, parts = _past(started), packed.split([*self.widths, self.surplus], 1)
        return tuple(layout.unfold(z, past) for z, layout in zip(parts, self.layouts))

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
