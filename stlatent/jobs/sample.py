"""Draw from a model, with any of the levels taken from something real."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from ..checkpoint import Model


def held_levels(model: Model, x: Tensor, keep: Sequence[int]) -> dict[int, Tensor]:
    """The levels `keep` of the latents of `x` `[1, C, *axes]`.

    Raises:
        ValueError: a level does not exist.
    """
    there = range(len(model.levels))
    if wrong := [k for k in keep if k not in there]:
        raise ValueError(f"level {wrong[0]} does not exist; the model has levels 0 to {there[-1]}")
    levels = model.encode(x.to(next(model.parameters()).device)).levels
    return {k: levels[k] for k in sorted({*keep})}


def draw_samples(
    model: Model,
    size: Sequence[int],
    count: int,
    held: Mapping[int, Tensor],
    temperature: float = 1.0,
    seed: int = 0,
) -> Iterator[Tensor]:
    """`count` draws `[C, *axes]`, one at a time, with the latents of some levels `held`.

    Args:
        size: along the axes of the model's domain.
        temperature: scales the standard deviation of every prior; 0 is its mean.

    Raises:
        ValueError: the temperature is below 0 or no number.
    """
    if not 0 <= temperature < math.inf:
        raise ValueError(f"temperature is {temperature:g}; give 0 (the prior's mean) or more")
    generator = torch.Generator(next(model.parameters()).device).manual_seed(seed)
    for _ in range(count):
        yield model.sample(size, 1, held, temperature, generator)[0]
