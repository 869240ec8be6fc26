"""What is done to the axes of a tensor. With `axes.py`, the only file that knows about dimensions.

Tensors are always `[B, C, *axes]`. Inside a group of a causal axis, see `axes.py`, everything may
look at everything: the group is the unit of streaming anyway.

Tensors are kept with channels last in memory (`[B, *axes, C]` seen as `[B, C, *axes]`), which is
the layout in which convolutions are fastest on CPUs and GPUs alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from .axes import DomainAxes
from .convolution import convolve
from .past import Past


@dataclass(frozen=True)
class Domain(DomainAxes):
    """An ordered set of axes and every operation on tensors whose meaning depends on them.

    Attributes:
        square: whether its space axes must be of equal size.
        colours: whether channels are much the same, as red, green and blue are.
        sparse: whether tensors are rows `[N, C]` of the cells that are there, see `rows.py`.
    """

    square: ClassVar[bool] = False
    sparse: ClassVar[bool] = False
    colours: ClassVar[bool] = True

    @property
    def whole(self) -> Domain:
        """That of latents as data sets have them: on whole grids."""
        return self

    # time -------------------------------------------------------------------------------------

    def steps(self, x: Tensor, start: int, stop: int) -> Tensor:
        """`[B, C, *axes]` from step `start` to before `stop` along the causal axis; all of it where
        there is none."""
        return x if self.causal is None else x.narrow(2 + self.causal, start, stop - start)

    def last(self, x: Tensor, count: int) -> Tensor:
        """The last `count` steps of `[B, C, *axes]` along the causal axis."""
        there = self.of_time(x.shape[2:])
        return self.steps(x, there - count, there)

    def chunks(self, x: Tensor, steps: int) -> tuple[Tensor, ...]:
        """`[B, C, *axes]` in pieces of at most so many steps along the causal axis."""
        return (x,) if self.causal is None else x.split(steps, 2 + self.causal)

    def joined(self, chunks: Iterable[Tensor]) -> Tensor:
        """Pieces `[B, C, *axes]` that follow each other along the causal axis, as one; where there
        is none, there is one piece."""
        if self.causal is None:
            (whole,) = chunks
            return whole
        return torch.cat(list(chunks), 2 + self.causal)

    # edges ------------------------------------------------------------------------------------

    def pad(self, x: Tensor, stride: Sequence[int], started: bool = False) -> Tensor:
        """Repeat the last sample along each axis until whole groups of `stride` are full."""
        full = self.samples(self.shape(x.shape[2:], stride, started), stride, started)
        for dim, n in enumerate(full, start=2):
            if missing := n - x.shape[dim]:
                last = x.narrow(dim, x.shape[dim] - 1, 1)
                x = torch.cat([x, last.expand(*x.shape[:dim], missing, *x.shape[dim + 1 :])], dim)
        return x

    def crop(self, x: Tensor, size: Sequence[int]) -> Tensor:
        """The first `size` samples along each axis: undoes `pad`."""
        return x[(..., *(slice(n) for n in size))]

    # resampling -------------------------------------------------------------------------------

    def fold(self, x: Tensor, factors: Sequence[int], past: Past | None = None) -> Tensor:
        """Space to channel, exactly: `[B, C, n f, ...] -> [B, C prod(f), n, ...]`.

        The first step of a causal axis is repeated to fill its group, unless `past` says that the
        stream has started already.
        """
        causal = self.causal
        if causal is not None and factors[causal] > 1 and not (past and past.started):
            first = x.narrow(2 + causal, 0, 1)
            x = torch.cat([first] * (factors[causal] - 1) + [x], 2 + causal)
        blocks, grid, offsets, sizes = self._blocks(factors)
        return rearrange(x, f"b c {blocks} -> b {grid} ({offsets} c)", **sizes).movedim(-1, 1)

    def unfold(self, x: Tensor, factors: Sequence[int], past: Past | None = None) -> Tensor:
        """Channel to space: the exact inverse of `fold`."""
        blocks, grid, offsets, sizes = self._blocks(factors)
        x = x.movedim(1, -1)
        x = rearrange(x, f"b {grid} ({offsets} c) -> b {blocks} c", **sizes).movedim(-1, 1)
        causal = self.causal
        if causal is not None and factors[causal] > 1 and not (past and past.started):
            surplus = factors[causal] - 1
            x = x.narrow(2 + causal, surplus, x.shape[2 + causal] - surplus)
        return x

    def _blocks(self, factors: Sequence[int]) -> tuple[str, str, str, dict[str, int]]:
        """For einops, whatever axes are called: all axes as blocks, `(n0 f0) (n1 f1)`; the grid of
        blocks, `n0 n1`; the offsets inside one, `f0 f1`; and how many these are."""
        count = range(len(self.axes))
        grid, offsets = [f"n{i}" for i in count], [f"f{i}" for i in count]
        blocks = " ".join(f"({n} {f})" for n, f in zip(grid, offsets, strict=True))
        sizes = dict(zip(offsets, factors, strict=True))
        return blocks, " ".join(grid), " ".join(offsets), sizes

    def pool(self, x: Tensor, factors: Sequence[int]) -> Tensor:
        """Mean over blocks of the space axes; a causal axis is never pooled (it leaks the future).

        `[B, C, *axes] -> [B, C, *axes / factors]`, with the causal and index axes left as they are.
        """
        for dim, (axis, f) in enumerate(zip(self.axes, factors, strict=True), start=2):
            if axis.kind == "space" and f > 1:
                x = x.unflatten(dim, (x.shape[dim] // f, f)).mean(dim + 1)
        return x

    # mixing -----------------------------------------------------------------------------------

    def kernel(self, space: int, causal: int) -> tuple[int, ...]:
        """Kernel size per axis."""
        size = {"space": space, "causal": causal, "index": 1}
        return tuple(size[axis.kind] for axis in self.axes)

    def conv(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        groups: int,
        past: Past,
        layer: str = "",
    ) -> Tensor:
        """Convolution with `weight` `[C_out, C_in / groups, *kernel]` that keeps every size.

        layer: under which name `past` keeps what it remembers.

        Axes whose kernel is 1 go into the batch or next to each other, so that most convolutions
        of video and triplanes run as 2-D ones, and pointwise ones as a matrix product.
        """
        kernel = weight.shape[2:]
        if max(kernel) == 1 and groups == 1:
            return F.linear(x.movedim(1, -1), weight.flatten(1), bias).movedim(-1, 1)
        x = self.preceded(x, kernel, past, layer)
        return convolve(x, weight, bias, self.padding(kernel), groups)

    def padding(self, kernel: Sequence[int]) -> tuple[int, ...]:
        """Zeros on both sides of each axis, by which a kernel keeps its size; none in time."""
        return tuple(0 if i == self.causal else k // 2 for i, k in enumerate(kernel))

    def preceded(self, x: Tensor, kernel: Sequence[int], past: Past, layer: str) -> Tensor:
        """`x` with the steps in front of it that a kernel looks back to; `layer` as in `conv`."""
        if self.causal is None or kernel[self.causal] == 1:
            return x
        return past.extend(layer, x, 2 + self.causal, kernel[self.causal] - 1)

    def surround(self, x: Tensor, kernel: Sequence[int]) -> Tensor:
        """Repeat the outermost positions of the space axes by what `kernel` reaches beyond them."""
        for dim, reach in self._reach(kernel):
            first, last = x.narrow(dim, 0, 1), x.narrow(dim, x.shape[dim] - 1, 1)
            x = torch.cat([*[first] * reach, x, *[last] * reach], dim)
        return x

    def inside(self, x: Tensor, kernel: Sequence[int]) -> Tensor:
        """Undo `surround`."""
        for dim, reach in self._reach(kernel):
            x = x.narrow(dim, reach, x.shape[dim] - 2 * reach)
        return x

    def _reach(self, kernel: Sequence[int]) -> list[tuple[int, int]]:
        """Dimension and reach to either side of each space axis along which a kernel looks."""
        axes = enumerate(zip(self.axes, kernel, strict=True), start=2)
        return [(dim, k // 2) for dim, (axis, k) in axes if axis.kind == "space" and k > 1]

    def tokens(self, x: Tensor) -> Tensor:
        """`[B, C, *axes] -> [B', N, C]`: the space axes as a sequence, the others in the batch."""
        count = math.prod(self.of_space(x.shape[2:]))
        return x.permute(self._tokens_order()).reshape(-1, count, x.shape[1])

    def untokens(self, y: Tensor, like: Tensor) -> Tensor:
        """The inverse of `tokens` for a tensor with the batch and axes of `like`."""
        order = self._tokens_order()
        y = y.reshape(*(like.shape[i] for i in order[:-1]), y.shape[-1])
        return y.permute([order.index(i) for i in range(like.ndim)])

    def _tokens_order(self) -> list[int]:
        """The dimensions of a tensor: batch, other axes, space, channels."""
        other = [i for i in range(len(self.axes)) if i not in self.space]
        return [0, *(2 + i for i in (*other, *self.space)), 1]

    def exchange(self, x: Tensor) -> Tensor | None:
        """What a place knows of others that it shares an axis with, but that are no neighbours, in
        twice as many channels; None where there are none, as in most domains."""
        return None
