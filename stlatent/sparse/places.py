"""The way through the levels: which cells the rows belong to that a layer is given."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..model.past import Past
from .blocks import Blocks
from .cells import Cells


class Places(Past):
    """Goes through a ladder in place of a past. `Down` goes to the coarser cells, `Up` to the finer
    ones; whoever goes to finer ones that are not there yet has to `mark` their parents first.

    Args:
        strides: voxels per cell along an edge: of the levels, the stem, and the voxels.
        top: the cells of level 0.
    """

    def __init__(self, strides: Sequence[int], top: Cells) -> None:
        super().__init__()
        self.strides, self.at = (*strides, 1), 0
        self.levels, self.marks = [top], []

    @classmethod
    def of(cls, blocks: Blocks, strides: Sequence[int]) -> Places:
        """All the cells that an input has, at the end of the way: at its voxels."""
        n, device = blocks.resolution // strides[0], blocks.index.device
        places = cls(strides, Cells.everywhere(blocks.batch, n, device))
        for stride in strides[:-1]:
            factor = stride // blocks.side
            places.mark(places.cells.holding(blocks.index, factor))
            places.at += 1
        places.at += 1
        return places

    @property
    def cells(self) -> Cells:
        """Those that the rows belong to now; of voxels there are none."""
        return self.levels[self.at]

    def mark(self, marks: Tensor) -> None:
        """Say in which of the present cells, bool `[N]`, anything finer is."""
        if self.at == len(self.marks):
            self.marks.append(marks)
            self.levels.append(self.cells.children(marks, self._factor(self.at)))

    def neighbours(self, kernel: Sequence[int]) -> Tensor:
        """See `rows.Places`."""
        return self.cells.neighbours(kernel)

    def coarser(self, x: Tensor) -> Tensor:
        """See `rows.Places`."""
        self.at -= 1
        x = x.reshape(-1, self._factor(self.at) ** 3 * x.shape[1])
        if self.at == len(self.marks):  # every cell of the stem has its voxels
            return x
        return x.new_zeros(len(self.cells), x.shape[1]).index_put((self.marks[self.at],), x)

    def finer(self, x: Tensor) -> Tensor:
        """See `rows.Places`."""
        if self.at < len(self.marks):
            x = x[self.marks[self.at]]
        self.at += 1
        return x.reshape(-1, x.shape[1] // self._factor(self.at - 1) ** 3)

    def rows(self, blocks: Blocks) -> Tensor:
        """The voxels of an input in the order of the stem's cells `[V, C]`."""
        index = self.levels[-2].index[self.marks[-1]]
        order = Cells(blocks.index, self.levels[-2].side).find(index)
        values, stem = blocks.values[order], self.strides[-2]
        for axis in (4, 3, 2):
            values = values.unflatten(axis, (-1, stem))
        return values.permute(0, 2, 4, 6, 3, 5, 7, 1).reshape(-1, blocks.channels)

    def blocks(self, rows: Tensor, resolution: int, batch: int) -> Blocks:
        """The inverse of `rows`: what lies in the marked cells of the last level."""
        stem, side = self.strides[-2], self.strides[-3]
        channels, found = rows.shape[1], self.levels[-2].index[self.marks[-1]]
        values = rows.view(-1, *[side // stem] * 3, *[stem] * 3, channels)
        values = values.permute(0, 7, 1, 4, 2, 5, 3, 6).reshape(-1, channels, *[side] * 3)
        return Blocks.ordered(found, values, resolution, batch)

    def _factor(self, level: int) -> int:
        return self.strides[level] // self.strides[level + 1]


def start(strides: Sequence[int], resolution: int, batch: int, device: torch.device) -> Places:
    """The beginning of the way down, where nothing is known but the size."""
    return Places(strides, Cells.everywhere(batch, resolution // strides[0], device))
