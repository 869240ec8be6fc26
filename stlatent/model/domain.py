"""What the axes of a tensor mean. The only file that knows about dimensions.

Tensors are always `[B, C, *axes]`. An axis has a kind, and the kind says how it is treated:

    space    padded on both sides            n  ->  ceil(n / f)            h, w, x, y, z, u, v
    causal   padded on the past side only    1 + k f  ->  1 + k            t
    index    never convolved or resampled    n  ->  n                      the planes of a triplane

A causal axis starts with one step of its own, so that one frame is a valid video:

    frames   0 | 1 2 3 4 | 5 6 7 8 | ...        grouped by f = 4
    latents  0 |    1    |    2    | ...        later groups never change earlier ones

Inside a group everything may look at everything: the group is the unit of streaming anyway.

Tensors are kept with channels last in memory (`[B, *axes, C]` seen as `[B, C, *axes]`), which is
the layout in which convolutions are fastest on CPUs and GPUs alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from .convolution import convolve
from .past import Past

Kind = Literal["space", "causal", "index"]


@dataclass(frozen=True)
class Axis:
    """One axis of a domain; `size` is fixed for index axes and free (None) for the others."""

    name: str
    kind: Kind
    size: int | None = None


@dataclass(frozen=True)
class Domain:
    """An ordered set of axes and every operation whose meaning depends on them.

    Args:
        name: how configs call it.
        axes: in the order in which they follow the channels; at most one of them is causal.

    Attributes:
        square: whether its space axes must be of equal size.
        colours: whether channels are much the same, as red, green and blue are.
    """

    name: str
    axes: tuple[Axis, ...]
    square: ClassVar[bool] = False
    colours: ClassVar[bool] = True

    # axes -------------------------------------------------------------------------------------

    @property
    def causal(self) -> int | None:
        """Position of the causal axis among the axes, or None."""
        return next((i for i, axis in enumerate(self.axes) if axis.kind == "causal"), None)

    @property
    def space(self) -> tuple[int, ...]:
        """Positions of the space axes among the axes."""
        return tuple(i for i, axis in enumerate(self.axes) if axis.kind == "space")

    @property
    def pictures(self) -> bool:
        """Whether samples are pictures, or made of them."""
        return [axis.name for axis in self.axes][-2:] == ["h", "w"]

    def of_space(self, values: Sequence[int]) -> tuple[int, ...]:
        """Of one value per axis, such as a size or a stride, those of the space axes."""
        return tuple(values[i] for i in self.space)

    def of_time(self, values: Sequence[int]) -> int:
        """Of one value per axis, that of the causal axis; 1 where there is none."""
        return 1 if self.causal is None else values[self.causal]

    def size(self, steps: int, space: Sequence[int]) -> tuple[int, ...]:
        """Of a sample of so many steps in time, where there is any, and of size `space`."""
        sides = iter(space)
        return tuple(
            steps if axis.kind == "causal" else axis.size or next(sides) for axis in self.axes
        )

    def with_time(self, values: Sequence[int], steps: int) -> tuple[int, ...]:
        """One value per axis, that of the causal axis replaced by `steps`."""
        return tuple(steps if i == self.causal else n for i, n in enumerate(values))

    def steps(self, x: Tensor, start: int, stop: int) -> Tensor:
        """`[B, C, *axes]` from step `start` to before `stop` along the causal axis; all of it where
        there is none."""
        return x if self.causal is None else x.narrow(2 + self.causal, start, stop - start)

    # sizes ------------------------------------------------------------------------------------

    def shape(
        self, size: Sequence[int], stride: Sequence[int], started: bool = False
    ) -> tuple[int, ...]:
        """Size of the grid that covers `size` samples at `stride`, rounded up.

        With `started`, a causal axis goes on after its first step, so it has whole groups only.
        """
        first = [0 if started or axis.kind != "causal" else 1 for axis in self.axes]
        return tuple(
            a - (a - n) // f
            for a, n, f in zip(first, size, stride, strict=True)  # rounded up
        )

    def samples(
        self, grid: Sequence[int], stride: Sequence[int], started: bool = False
    ) -> tuple[int, ...]:
        """Number of samples that a grid covers: the inverse of `shape` on whole groups."""
        first = [0 if started or axis.kind != "causal" else 1 for axis in self.axes]
        return tuple(a + (n - a) * f for a, n, f in zip(first, grid, stride, strict=True))

    def check(self, size: Sequence[int]) -> None:
        """Raise ValueError unless `size` can be the axes of a tensor of this domain."""
        if not isinstance(size, Sequence) or any(isinstance(n, float) for n in size):
            raise ValueError(f"size is {size!r}; give one integer per axis of domain '{self.name}'")
        names = ", ".join(axis.name for axis in self.axes)
        if len(size) != len(self.axes):
            raise ValueError(
                f"a tensor of domain '{self.name}' is [B, C, {names}], but {len(size)} axes after "
                f"B, C were given ({tuple(size)}): reshape it to {len(self.axes)} axes"
            )
        for axis, n in zip(self.axes, size, strict=True):
            legal = axis.size or max(n, 1)
            if n != legal:
                raise ValueError(
                    f"axis '{axis.name}' of domain '{self.name}' has size {n}; "
                    f"the nearest legal size is {legal}"
                )

    def check_stride(self, stride: Sequence[int]) -> None:
        """Raise ValueError unless `stride` is a legal stride of this domain."""
        if len(stride) != len(self.axes):
            names = ", ".join(axis.name for axis in self.axes)
            raise ValueError(
                f"stride {list(stride)} has {len(stride)} entries; domain '{self.name}' "
                f"needs one each for {names}"
            )
        for axis, f in zip(self.axes, stride, strict=True):
            if f < 1 or (axis.kind == "index" and f != 1):
                raise ValueError(
                    f"axis '{axis.name}' of domain '{self.name}' cannot have stride {f}; "
                    f"the nearest legal stride is 1"
                )

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

        layer: under which name `past` keeps what it remembers.

        Axes whose kernel is 1 go into the batch or next to each other, so that most convolutions
        of video and triplanes run as 2-D ones, and pointwise ones as a matrix product.
        """
        kernel = weight.shape[2:]
        if max(kernel) == 1 and groups == 1:
            return F.linear(x.movedim(1, -1), weight.flatten(1), bias).movedim(-1, 1)
        padding = [k // 2 for k in kernel]
        if (causal := self.causal) is not None and kernel[causal] > 1:
            x = past.extend(layer, x, 2 + causal, kernel[causal] - 1)
            padding[causal] = 0
        return convolve(x, weight, bias, padding, groups)

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
