"""How the levels of a ladder are packed."""

from __future__ import annotations

from collections.abc import Sequence

from ..evaluate.latents import level_channels
from ..model.ladder import Ladder
from ..model.packing import Packing


def packing_of(
    model: Ladder,
    levels: int,
    mean: Sequence[float],
    std: Sequence[float],
    grid: Sequence[int] | None = None,
    least: int = 0,
) -> Packing:
    """The first `levels` levels of `model` on the grid of level 0 or another; see `Packing`.

    Raises:
        ValueError: the model has fewer levels, or else see there.
    """
    if not 1 <= levels <= len(model.levels):
        raise ValueError(f"levels is {levels}; this model has {len(model.levels)}, give 1 to it")
    strides = [level.stride for level in model.levels[:levels]]
    return Packing(model.domain, strides, level_channels(model)[:levels], mean, std, grid, least)
