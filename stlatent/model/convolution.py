"""Convolutions over any number of axes, by those over two or three that machines are good at."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

CONV = {2: F.conv2d, 3: F.conv3d}


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: Sequence[int], groups: int = 1
) -> Tensor:
    """`[B, C, *axes]` with `weight` `[C_out, C / groups, *kernel]`, zeros on both sides of an axis.

    Axes of kernel 1 in front of others join the batch, and those behind them become one, so that
    most convolutions of video, volumes and triplanes run as 2-D ones.
    """
    kernel = weight.shape[2:]
    wide = [i for i, k in enumerate(kernel) if k > 1] or [0]
    still = [i for i in range(wide[-1]) if i not in wide]
    rest = list(range(wide[-1] + 1, len(kernel)))
    order = [0, *(2 + i for i in still), 1, *(2 + i for i in (*wide, *rest))]
    flat = x.permute(order).flatten(0, len(still))
    size = flat.shape[2:]
    if rest:
        flat = flat.movedim(1, -1).flatten(1 + len(wide), -2).movedim(-1, 1)
    shape = [kernel[i] for i in wide] + [1] * bool(rest)
    pads = [padding[i] for i in wide] + [0] * bool(rest)
    y = _dense(flat, weight.reshape(*weight.shape[:2], *shape), bias, pads, groups)
    if rest:
        y = y.unflatten(-1, size[len(wide) :])
    y = y.unflatten(0, [x.shape[0], *(x.shape[2 + i] for i in still)])
    return y.permute([order.index(i) for i in range(x.ndim)])


def _dense(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: Sequence[int], groups: int
) -> Tensor:
    """Over axes of which at most the last has kernel 1.

    Over more than three, and for each channel alone over three, it is a sum over the steps of the
    kernel along the first axis: the gradients of depthwise 3-D convolutions are some 15 times
    slower than those of 2-D ones on CPUs.
    """
    count = x.ndim - 2
    if count == 1:  # as a picture of one line, so that channels stay last in memory
        return F.conv2d(x[:, :, None], weight[:, :, None], bias, 1, (0, *padding), 1, groups)[
            :, :, 0
        ]
    if count == 2 or (count == 3 and groups == 1):
        return CONV[count](x, weight, bias, padding=tuple(padding), groups=groups)
    before = padding[0]
    x = F.pad(x.movedim(1, -1), (*[0, 0] * count, before, before)).movedim(-1, 2)
    size, y = x.shape[1] - weight.shape[2] + 1, 0
    for i, part in enumerate(weight.unbind(2)):
        step = x[:, i : i + size].flatten(0, 1)
        y = y + _dense(step, part, bias if i == 0 else None, padding[1:], groups)
    return y.unflatten(0, (len(x), size)).transpose(1, 2)
