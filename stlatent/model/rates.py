"""For which prices of the rate a model is, where it is for more than one."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field, model_validator
from torch import Tensor

from .strict import Positive, Strict

Price = Annotated[float, Field(gt=0)]


class RateRange(Strict):
    """Prices of the rate, in nats per input value against the distortion: λ, which training draws
    and encoding chooses; see `dial.py`.

    Attributes:
        range: the lowest λ, at which there are most bits, and the highest.
        width: of its embedding.
    """

    range: tuple[Price, Price]
    width: Positive = 32

    @model_validator(mode="after")
    def _ascends(self) -> RateRange:
        if not self.range[0] < self.range[1]:
            raise ValueError(f"range is {list(self.range)}; give the lower end first")
        return self

    @property
    def middle(self) -> float:
        """Of the logarithms: what is taken where nobody chooses."""
        return math.sqrt(math.prod(self.range))

    def spaced(self, count: int) -> list[float]:
        """So many of them over the whole range, ascending, in equal ratios; at least two."""
        low, high = self.range
        between = (low * (high / low) ** (i / (count - 1)) for i in range(1, count - 1))
        return [low, *between, high]

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """So many of them, log-uniform, one from each of as many equal parts of the range."""
        device = generator.device
        parts = torch.randperm(count, generator=generator, device=device)
        places = (parts + torch.rand(count, generator=generator, device=device)) / count
        low, high = self.range
        return low * (high / low) ** places


def check_rate_weight(rates: RateRange | None, weight: float) -> None:
    """ValueError unless a model for these takes such a λ."""
    if rates is None:
        raise ValueError(
            f"the rate's weight is {weight:g}, but this model is for one price alone; leave it out"
        )
    low, high = rates.range
    if not low <= weight <= high:
        raise ValueError(
            f"the rate's weight is {weight:g}; this model takes {low:g} (most bits) to {high:g}"
        )
