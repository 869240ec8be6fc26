"""What the coded features of a neighbourhood say about all others, so that blocks join smoothly.

A level codes the first features of every block. Alone they draw tiles: a block does not know how
the one beside it goes on. Together they do: means of blocks in a row draw a slope. The layer begins
as the linear prediction of least squared error that `transform.neighbours` gives, so that even an
untrained prefix is interpolated and not tiled.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .domain import Domain
from .layers import Conv
from .past import Past


class Spread(nn.Module):
    """`keep * h + conv(first features of h)`, `[B, width, *grid] -> [B, width, *grid]`.

    Beyond the border of space its outermost positions are repeated: zeros would be grey, and the
    slope towards them would be drawn.

    Args:
        known: number of first features that the others are told from.
        kernel: size along space axes.
    """

    def __init__(self, domain: Domain, width: int, known: int, kernel: int) -> None:
        super().__init__()
        self.domain, self.known = domain, known
        self.keep = nn.Parameter(torch.ones(width))
        self.conv = Conv(domain, known, width, kernel, gain=0.0)

    def extra_repr(self) -> str:
        return f"known={self.known}"

    def forward(self, h: Tensor, past: Past) -> Tensor:
        kernel = self.conv.weight.shape[2:]
        around = self.domain.surround(h.narrow(1, 0, self.known), kernel)
        told = self.domain.inside(self.conv(around, past), kernel)
        return h * self.keep.to(h.dtype).view(-1, *[1] * (h.ndim - 2)) + told
