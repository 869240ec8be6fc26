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


class Past(NamedTuple):
    """Steps before a window, as `LatentWindow` has them.

    Attributes:
        levels: `[B, C_l, p_l, *space_l]`, whitened, 0 where there was nothing.
        known: `[B, p_l]`, whether there was something.
    """

    levels: Sequence[Tensor]
    known: Sequence[Tensor]


class Memory(nn.Module):
    """A token per remembered position, with coordinates on the grid of a stage.

    Args:
        channels: of the levels.
        scales: steps of the stage's grid that one latent of a level covers, per level and axis.
        time: which axis of the grid is time.
        width: of the tokens.
    """

    def __init__(
        self, channels: Sequence[int], scales: Sequence[Sequence[float]], time: int, width: int
    ) -> None:
        super().__init__()
        self.scales, self.time = scales, time
        self.read = nn.ModuleList(nn.Linear(n + 1, width) for n in channels)

    def forward(self, past: Past) -> tuple[Tensor, Tensor]:
        """Tokens `[B, N, width]` and their coordinates `[N, axes]`; the window begins at 1."""
        tokens, places = [], []
        for read, scale, z, known in zip(self.read, self.scales, *past, strict=False):
            shape = [len(z), 1, *(n if i == self.time else 1 for i, n in enumerate(z.shape[2:]))]
            flags = known.view(shape).to(z.dtype).expand(-1, -1, *z.shape[2:])
            tokens.append(read(torch.cat([z, flags], 1).flatten(2).transpose(1, 2)))
            places.append(self._places(z.shape[2:], scale, z.device))
        return torch.cat(tokens, 1), torch.cat(places)

    def _places(self, grid: Sequence[int], scale: Sequence[float], device: torch.device) -> Tensor:
        """Where the middle of every latent lies, the last one right before the window."""
        first = [-n if i == self.time else 0 for i, n in enumerate(grid)]
        ranges = [
            0.5 + (torch.arange(n, device=device) + start + 0.5) * by
            for n, start, by in zip(grid, first, scale, strict=True)
        ]
        return torch.cartesian_prod(*ranges).view(-1, len(grid))
