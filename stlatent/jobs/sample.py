"""Draw from a model, with any of the levels taken from something real."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ..checkpoint import Model
from ..media.registry import medium_of
from ..model.choose import check_strength

# Of what is drawn below levels that are held; few models were pressed to learn the prior itself, 1.
TEMPERATURE = 0.3


def held_levels(model: Model, x: Tensor, keep: Sequence[int]) -> Any:
    """The levels `keep` of the latents of `x` `[1, C, *axes]`, as `model.sample` holds them.

    Raises:
        ValueError: a level does not exist, or cannot be held without others.
    """
    return model.encode(x.to(next(model.parameters()).device)).held(keep)


def draw_samples(
    model: Model,
    size: Sequence[int],
    count: int,
    held: Any,
    temperature: float = 1.0,
    seed: int = 0,
    strength: float = 0.0,
) -> Iterator[Tensor]:
    """`count` draws `[1, C, *axes]`, one at a time, without what nobody would keep of them, see
    `Medium.tidied`.

    Args:
        held: what `held_levels` gives, or nothing.
        size: along the axes of the model's domain.
        temperature: scales the standard deviation of every prior; 0 is its mean.
        strength: how far draws go from what is held, up to 1; 0 is not at all.

    Raises:
        ValueError: the temperature is below 0 or no number, or the strength is not in [0, 1].
    """
    if not 0 <= temperature < math.inf:
        raise ValueError(f"temperature is {temperature:g}; give 0 (the prior's mean) or more")
    check_strength(strength)
    generator = torch.Generator(next(model.parameters()).device).manual_seed(seed)
    medium = medium_of(model)
    for _ in range(count):
        yield medium.tidied(model.sample(size, 1, held, temperature, generator, strength))
