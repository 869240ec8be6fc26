"""One level of latents on any grid, exactly, and back.

    finer than the grid      folded: what lies under a position of the grid is side by side in it
    coarser than the grid    spread: the channels of a latent lie on the positions under it

        5 channels over 2 x 2 positions, 2 channels wide      0 1     4 0
                                                              2 3     1 2

Where there are more places than channels, the first ones stand there again; what is read back is
the mean of all copies, which of equal copies is the value itself, bit for bit. In time, where a
video begins with a step of its own, a latent is repeated at all steps under it: so a latent is
known from whatever step of its group there is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .domain import Domain
from .past import Past


class Layout:
    """How a level of `channels` channels and `stride` lies on a grid of stride `grid`.

    Attributes:
        width: channels on the grid.
        fine: latents of the level under a position of the grid, per axis.
        coarse: positions of the grid under a latent of the level, per axis.

    Raises:
        ValueError: along an axis neither stride is a multiple of the other.
    """

    def __init__(
        self, domain: Domain, channels: int, stride: Sequence[int], grid: Sequence[int]
    ) -> None:
        if any(s % g and g % s for s, g in zip(stride, grid, strict=True)):
            raise ValueError(
                f"a level of stride {list(stride)} does not lie evenly on a grid of {list(grid)}: "
                f"along each axis one must be a multiple of the other"
            )
        self.domain = domain
        self.fine = [max(1, g // s) for s, g in zip(stride, grid)]
        self.coarse = [max(1, s // g) for s, g in zip(stride, grid)]
        self.inner = channels * math.prod(self.fine)
        places = math.prod(domain.of_space(self.coarse))
        self.width = -(-self.inner // places)
        self.spread = max(self.coarse) > 1
        steps = math.prod(self.coarse) // places  # in time, which comes before space
        slots = torch.arange(places)[:, None] + places * torch.arange(self.width)
        self.slots = (slots % self.inner).flatten().repeat(steps)  # which channel lies where
        self.copies = torch.bincount(self.slots, minlength=self.inner)
        self.first = torch.tensor([self.slots.tolist().index(c) for c in range(self.inner)])

    def fold(self, z: Tensor, past: Past) -> Tensor:
        """`[B, C_l, *grid_l]` -> `[B, width, *grid]`."""
        z = self.domain.fold(z, self.fine, past)
        if not self.spread:
            return z
        return self.domain.unfold(z[:, self.slots.to(z.device)], self.coarse, past)

    def unfold(self, x: Tensor, past: Past) -> Tensor:
        """The inverse of `fold`."""
        if self.spread:
            x = self._gathered(self.domain.fold(x, self.coarse, past))
        return self.domain.unfold(x, self.fine, past)

    def _gathered(self, x: Tensor) -> Tensor:
        """The mean of the copies of each channel: the first one, and by how much others differ."""
        slots, first = self.slots.to(x.device), x[:, self.first.to(x.device)]
        differs = torch.zeros_like(first).index_add(1, slots, x - first[:, slots])
        copies = self.copies.to(x).view(-1, *[1] * (x.ndim - 2))
        return first + differs / copies


def grid_of(text: str, strides: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The stride of a grid from words: `coarsest` or `finest`, of these levels, coarsest first, the
    number of one of them, or the stride itself, such as `4x16x16`.

    Raises:
        ValueError: it is none of these.
    """
    if text in ("coarsest", "finest"):
        return tuple(strides[0 if text == "coarsest" else -1])
    parts = text.split("x")
    if all(part.isdecimal() for part in parts):
        values = tuple(map(int, parts))
        if len(values) == len(strides[0]) > 1:
            return values
        if len(values) == 1 and values[0] < len(strides):
            return tuple(strides[values[0]])
    raise ValueError(
        f"grid is '{text}'; give coarsest, finest, a level from 0 to {len(strides) - 1}, or a "
        f"stride such as {'x'.join(map(str, strides[-1]))}"
    )
