"""What came before a window of a video, as tokens: a pyramid of context.

level 0    ░░░░░░░░░░░░░░░ │ ████     every level remembers some of its own steps, the coarse
level 1          ░░░░░░░░░ │ ████     ones, which are small, for longer; where there is nothing
level 2                ░░░ │ ████     to remember yet, tokens say so
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..model.domain import Domain


class Context(NamedTuple):
    """Steps before a window, as `LatentWindow` has them.

    Attributes:
        levels: `[B, C_l, p_l, *space_l]`, whitened, 0 where there was nothing.
        known: `[B, p_l]`, whether there was something.
    """

    levels: Sequence[Tensor]
    known: Sequence[Tensor]


class ContextEncoder(nn.Module):
    """A token per remembered position, with coordinates on the grid of a stage.

    Args:
        domain: of the grid.
        channels: of the levels.
        scales: steps of the stage's grid that one latent of a level covers, per level and axis.
        width: of the tokens.
    """

    def __init__(
        self,
        domain: Domain,
        channels: Sequence[int],
        scales: Sequence[Sequence[float]],
        width: int,
    ) -> None:
        super().__init__()
        self.domain, self.scales = domain, scales
        self.read = nn.ModuleList(nn.Linear(n + 1, width) for n in channels)

    def forward(self, context: Context) -> tuple[Tensor, Tensor]:
        """Tokens `[B, N, width]` and their coordinates `[N, axes]`; the window begins at 1."""
        tokens, places = [], []
        for read, scale, z, known in zip(self.read, self.scales, *context, strict=False):
            grid = tuple(z.shape[2:])
            ones = self.domain.with_time([1] * len(grid), self.domain.of_time(grid))
            flags = known.view(len(z), 1, *ones).to(z.dtype).expand(-1, -1, *grid)
            tokens.append(read(torch.cat([z, flags], 1).flatten(2).transpose(1, 2)))
            places.append(self._places(grid, scale, z.device))
        return torch.cat(tokens, 1), torch.cat(places)

    def _places(self, grid: Sequence[int], scale: Sequence[float], device: torch.device) -> Tensor:
        """Where the middle of every latent lies, the last one right before the window."""
        first = self.domain.with_time([0] * len(grid), -self.domain.of_time(grid))
        ranges = [
            0.5 + (torch.arange(n, device=device) + start + 0.5) * by
            for n, start, by in zip(grid, first, scale, strict=True)
        ]
        return torch.cartesian_prod(*ranges).view(-1, len(grid))
