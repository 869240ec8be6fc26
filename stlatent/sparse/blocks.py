"""What a sparse ladder reads and gives: voxels in blocks, of those blocks alone that are there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .cells import Cells


@dataclass(frozen=True)
class Blocks:
    """A batch of shapes near their surfaces.

    Attributes:
        index: int64 `[K, 4]`: the sample, and the place x, y, z of each block on the grid of
            blocks; each once, ordered by sample and place.
        values: float `[K, C, s, s, s]` in [-1, 1]: the distance to the surface in units of its
            truncation, negative inside of what has an inside; of 4 channels, red, green and blue
            come after it, all three exactly 0 where they are not known.
        resolution: voxels per edge of the cube, a multiple of s.
        batch: number of samples; one without blocks is empty.

    Raises:
        ValueError: these do not fit each other.
    """

    index: Tensor
    values: Tensor
    resolution: int
    batch: int = 1

    def __post_init__(self) -> None:
        count, side = len(self.values), self.values.shape[-1]
        cubes = self.values.ndim == 5 and self.values.shape[2:] == (side,) * 3
        if not cubes or self.index.shape != (count, 4):
            shapes = f"{list(self.index.shape)} and {list(self.values.shape)}"
            raise ValueError(
                f"index and values have shapes {shapes}; give [K, 4] and [K, C, s, s, s]"
            )
        if self.resolution % side:
            raise ValueError(
                f"resolution is {self.resolution}; blocks are {side}^3: give a multiple"
            )
        if not count:
            return
        most = self.index.new_tensor([self.batch, *[self.resolution // side] * 3])
        if (self.index < 0).any() or (self.index >= most).any():
            raise ValueError(f"a block lies outside of {self.batch} grids of {most[1]} per edge")
        if (self._cells.keys.diff() <= 0).any():
            raise ValueError("blocks are not ordered by sample and place, each once")

    @classmethod
    def ordered(cls, index: Tensor, values: Tensor, resolution: int, batch: int = 1) -> Blocks:
        """Of blocks in any order."""
        rows = Cells(index, resolution // values.shape[-1]).keys.argsort()
        return cls(index[rows], values[rows], resolution, batch)

    @property
    def side(self) -> int:
        """Voxels per edge of a block."""
        return self.values.shape[-1]

    @property
    def channels(self) -> int:
        """Values per voxel."""
        return self.values.shape[1]

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the whole cubes `(batch, C, n, n, n)`."""
        return (self.batch, self.channels, *[self.resolution] * 3)

    @property
    def device(self) -> torch.device:
        """Where the values are."""
        return self.values.device

    def numel(self) -> int:
        """Values in all blocks."""
        return self.values.numel()

    def to(self, device: torch.device | str) -> Blocks:
        """The same on a device."""
        return replace(self, index=self.index.to(device), values=self.values.to(device))

    def one(self, sample: int) -> Blocks:
        """One sample of the batch."""
        here = self.index[:, 0] == sample
        index = self.index[here] * self.index.new_tensor([0, 1, 1, 1])
        return Blocks(index, self.values[here], self.resolution)

    def chosen(self, samples: Sequence[int]) -> Blocks:
        """Some samples of the batch, in this order, any of them more than once."""
        return joined([self.one(sample) for sample in samples])

    def dense(self, elsewhere: float = 1.0) -> Tensor:
        """The whole cubes `[batch, C, n, n, n]`, with one value where no block is."""
        count, block = self.resolution // self.side, self.values.shape[1:]
        whole = self.values.new_full((self.batch, *[count] * 3, *block), elsewhere)
        whole[self.index.unbind(1)] = self.values
        return whole.permute(0, 4, 1, 5, 2, 6, 3, 7).reshape(self.shape)

    @property
    def _cells(self) -> Cells:
        return Cells(self.index, self.resolution // self.side)


def joined(parts: Sequence[Blocks]) -> Blocks:
    """Batches of one resolution as one.

    Raises:
        ValueError: they differ in resolution, channels or the size of blocks.
    """
    sizes = {(part.resolution, part.channels, part.side) for part in parts}
    if len(sizes) != 1:
        raise ValueError(f"shapes of {len(sizes)} kinds cannot be one batch; give one resolution")
    index, before = [], 0
    for part in parts:
        index.append(part.index + part.index.new_tensor([before, 0, 0, 0]))
        before += part.batch
    values = torch.cat([part.values for part in parts])
    return Blocks(torch.cat(index), values, parts[0].resolution, before)
