"""Whether the blocks that latents stand for can be seen in what is decoded from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ..model.domain import Domain


def border_ratio(x: Tensor, domain: Domain, stride: Sequence[int]) -> float:
    """Mean absolute difference of neighbours across the borders of blocks of `stride`, divided by
    that of all other neighbours; over the space axes of `x` `[B, C, *axes]`.

    It is 1 where borders cannot be told from other places, and more where blocks are tiles; NaN
    where no border lies inside.
    """
    across, elsewhere = [], []
    for dim, (axis, block) in enumerate(zip(domain.axes, stride, strict=True), start=2):
        if axis.kind == "space" and 1 < block < x.shape[dim]:
            steps = x.float().diff(dim=dim).abs().movedim(dim, -1)
            border = (torch.arange(steps.shape[-1]) + 1) % block == 0
            across.append(steps[..., border].flatten())
            elsewhere.append(steps[..., ~border].flatten())
    if not across:
        return math.nan
    return (torch.cat(across).mean() / torch.cat(elsewhere).mean()).item()


def worst_border_ratio(x: Tensor, domain: Domain, strides: Iterable[Sequence[int]]) -> float:
    """The largest `border_ratio` of blocks of several sizes, those of all levels for instance; NaN
    where there is none."""
    ratios = [border_ratio(x, domain, stride) for stride in strides]
    return max((ratio for ratio in ratios if not math.isnan(ratio)), default=math.nan)
