"""The domain of what is there only in places: a tensor `[N, C]` has a row for every cell that is.

The layers of `layers.py` work on rows as they do on grids. Which cells the rows belong to, and who
lies beside whom, is known by the `past` that goes through all of them, a `Places`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from .domain import Domain


class Places(Protocol):
    """Where the rows are that a layer is given."""

    def neighbours(self, kernel: Sequence[int]) -> Tensor:
        """Of every cell, the rows of those that a kernel sees, offset by offset in the order of its
        weights, int64 `[N, prod(kernel)]`; N where there is none."""

    def coarser(self, x: Tensor) -> Tensor:
        """From the cells `[N, C]` to those a level above: siblings side by side, and zeros where
        nothing finer is `[M, siblings * C]`."""

    def finer(self, x: Tensor) -> Tensor:
        """The inverse, of those cells in which something is."""


class Rows(Domain):
    """Axes are those of the grid that cells lie on; a kernel sees zeros where no cell is."""

    sparse: ClassVar[bool] = True
    colours: ClassVar[bool] = False

    @property
    def whole(self) -> Domain:
        return Domain("voxel", self.axes)

    def fold(self, x: Tensor, factors: Sequence[int], past: Places | None = None) -> Tensor:
        return past.coarser(x)

    def unfold(self, x: Tensor, factors: Sequence[int], past: Places | None = None) -> Tensor:
        return past.finer(x)

    def conv(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        groups: int,
        past: Places,
        layer: str = "",
    ) -> Tensor:
        kernel = weight.shape[2:]
        if max(kernel) == 1 and groups == 1:
            return F.linear(x, weight.flatten(1), bias)
        y = Gathered.apply(x, weight.flatten(2).to(x.dtype), past.neighbours(kernel))
        return y if bias is None else y + bias.to(x.dtype)


class Gathered(torch.autograd.Function):
    """A convolution over neighbours that are found by their row: `[N, C_in] -> [N, C_out]`.

    One product per offset of the kernel, so that no neighbourhood is ever laid out whole, forwards
    or backwards. Whoever is a neighbour at one offset has its neighbour at the opposite one, so the
    gradient is such a convolution again, with the kernel turned round.

    weight: `[C_out, C_in, offsets]`, or `[C, 1, offsets]` of one filter per channel.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, rows)
        return _gather(x, weight, rows)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight, rows = ctx.saved_tensors
        grad, depthwise, grad_x, grad_weight = grad.contiguous(), weight.shape[1] == 1, None, None
        if ctx.needs_input_grad[0]:
            turned = weight.flip(2)
            grad_x = _gather(grad, turned if depthwise else turned.transpose(0, 1), rows)
        if ctx.needs_input_grad[1]:
            parts = [
                seen.mul_(grad).sum(0)[:, None] if depthwise else grad.T @ seen
                for seen in _seen(x, rows)
            ]
            grad_weight = torch.stack(parts, 2)
        return grad_x, grad_weight, None


def _gather(x: Tensor, weight: Tensor, rows: Tensor) -> Tensor:
    y = x.new_zeros(len(x), weight.shape[0])
    offsets = weight.permute(2, 1, 0).contiguous()  # far faster than columns of the weight
    for seen, own in zip(_seen(x, rows), offsets, strict=True):
        if weight.shape[1] == 1:
            y.addcmul_(seen, own)
        else:
            y.addmm_(seen, own)
    return y


def _seen(x: Tensor, rows: Tensor) -> Iterator[Tensor]:
    """What lies at each offset `[N, C]`; zeros where nothing does."""
    x = torch.cat([x, x.new_zeros(1, x.shape[1])])
    return (x.index_select(0, own) for own in rows.unbind(1))
