"""Which cells there are on every level, and who lies beside whom.

    level 0         level 1             stem                    voxels
    ┌───┬───┐      ┌─┬─┐
    │ ■ │   │      │■│ │ children      children of the         s^3 in each
    ├───┼───┤  ──► ├─┼─┤ of marked ──► marked cells of    ──►  cell of the
    │   │ ■ │      │ │■│ cells, all    the last level          stem
    └───┴───┘      └─┴─┘ of them

Level 0 is a whole grid. A mark on a cell says that something finer is there; the rows of its
children then stand together, in the order of their offsets, so that going to a coarser level is a
reshaping.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor


class Cells:
    """Cells of one size in the cubes of a batch.

    Attributes:
        index: int64 `[N, 4]`: of every cell the sample and its place x, y, z on the grid.
        side: cells along an edge of the whole grid.
    """

    def __init__(self, index: Tensor, side: int) -> None:
        self.index, self.side = index, side
        self._neighbours: dict[tuple[int, ...], Tensor] = {}

    @classmethod
    def everywhere(cls, batch: int, side: int, device: torch.device | str) -> Cells:
        """All cells of a grid, the last axis running fastest."""
        counts = [torch.arange(n, device=device) for n in (batch, side, side, side)]
        return cls(torch.cartesian_prod(*counts), side)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def sample(self) -> Tensor:
        """The sample that each belongs to `[N]`."""
        return self.index[:, 0]

    @property
    def keys(self) -> Tensor:
        """One number per cell, in the order of the grid `[N]`."""
        return self._key(self.index)

    def children(self, marks: Tensor, factor: int) -> Cells:
        """The cells inside of those that are marked, bool `[N]`, `factor` along each edge."""
        steps = torch.arange(factor, device=self.index.device)
        inside = torch.cartesian_prod(steps, steps, steps)
        inside = torch.cat([torch.zeros_like(inside[:, :1]), inside], 1)
        scale = torch.tensor([1, factor, factor, factor], device=self.index.device)
        own = (self.index[marks] * scale)[:, None] + inside
        return Cells(own.flatten(0, 1), self.side * factor)

    def holding(self, index: Tensor, factor: int) -> Tensor:
        """Whether any of finer cells `[K, 4]`, `factor` along each edge, is inside: bool `[N]`."""
        coarse = torch.cat([index[:, :1], index[:, 1:] // factor], 1)
        return torch.isin(self.keys, self._key(coarse))

    def find(self, index: Tensor) -> Tensor:
        """The rows of cells `[..., 4]`; N where a cell is not there."""
        keys, order = self._ranked
        wanted = self._key(index)
        at = torch.searchsorted(keys, wanted)
        within = ((index[..., 1:] >= 0) & (index[..., 1:] < self.side)).all(-1)
        there = within & (keys[at] == wanted)
        return torch.where(there, order[at], len(self))

    def neighbours(self, kernel: Sequence[int]) -> Tensor:
        """See `rows.Places.neighbours`."""
        kernel = tuple(kernel)
        if kernel not in self._neighbours:
            reach = (range(-(k // 2), k // 2 + 1) for k in kernel)
            offsets = [(0, *steps) for steps in itertools.product(*reach)]
            found = [self.find(self.index + self.index.new_tensor(step)) for step in offsets]
            self._neighbours[kernel] = torch.stack(found, 1)
        return self._neighbours[kernel]

    def per_sample(self, values: Tensor, batch: int) -> Tensor:
        """Sums over the cells of each sample: `[N, ...] -> [batch, ...]`."""
        return values.new_zeros(batch, *values.shape[1:]).index_add_(0, self.sample, values)

    @cached_property
    def _ranked(self) -> tuple[Tensor, Tensor]:
        """The keys in their order, and the rows that they are of; a key beyond all ends them."""
        keys, order = self.keys.sort()
        end = keys.new_full((1,), torch.iinfo(keys.dtype).max)
        return torch.cat([keys, end]), torch.cat([order, order.new_full((1,), len(order))])

    def _key(self, index: Tensor) -> Tensor:
        sample, x, y, z = index.unbind(-1)
        return ((sample * self.side + x) * self.side + y) * self.side + z
