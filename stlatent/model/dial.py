"""One model for all rates: the price of the rate, λ, is an input.

Every residual block scales and shifts what it reads by an embedding of log λ (Duan et al. 2023,
QARV). Both start at nothing: a new ladder is that which it would be without, at every λ.
"""

from __future__ import annotations

import math
from copy import copy
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .past import Past
from .rates import RateRange, check_rate_weight

D = TypeVar("D", bound="Dialled")
OCTAVES = 4  # of the waves that tell where in its range log λ lies


class Dial(nn.Module):
    """What layers are told of λ: log (λ / middle of the range), and an embedding of it."""

    def __init__(self, rates: RateRange) -> None:
        super().__init__()
        self.rates = rates
        self.enter = nn.Linear(1 + 2 * OCTAVES, rates.width)
        self.leave = nn.Linear(rates.width, rates.width)

    def forward(self, weights: float | Tensor, batch: int) -> Tensor:
        """Of one λ for all samples, or one for each `[B]`: `[B, 1 + width]`, float32."""
        weights = torch.as_tensor(weights, dtype=torch.float32, device=self.enter.weight.device)
        log_weight = (weights / self.rates.middle).log().expand(batch)[:, None]
        place = log_weight / math.log(self.rates.range[1] / self.rates.middle)  # -1 to 1
        angles = place * (math.pi / 2) * 2.0 ** torch.arange(OCTAVES, device=place.device)
        with torch.autocast(place.device.type, enabled=False):
            y = F.silu(self.enter(torch.cat([place, angles.sin(), angles.cos()], 1)))
            return torch.cat([log_weight, F.silu(self.leave(y))], 1)


class Dialled(nn.Module):
    """What a model is that may take λ.

    Attributes:
        dial: of one that does; None is for one price alone.
    """

    dial: Dial | None
    _rate_weight: float | None = None

    @property
    def rate_weight(self) -> float | None:
        """λ of every pass that is not given another, at first the middle of the range; None where a
        model takes none."""
        return self._rate_weight or (self.config.rate and self.config.rate.middle)

    @property
    def rate_open(self) -> bool:
        """Whether it takes λ, and nobody has chosen one."""
        return self.config.rate is not None and self._rate_weight is None

    def at_rate(self: D, weight: float) -> D:
        """The same model, weights shared, at another λ; streams, prefixes and bits that were made
        at one are read at that alone.

        Raises:
            ValueError: λ is outside of what the model was trained for, or it takes none.
        """
        check_rate_weight(self.config.rate, weight)
        other = copy(self)
        other._rate_weight = weight
        return other

    def check_usual_rate(self: D) -> D:
        """The model itself; ValueError where it is at a λ that nobody takes unasked."""
        if self._rate_weight not in (None, usual := self.config.rate and self.config.rate.middle):
            raise ValueError(
                f"the rate's weight is {self._rate_weight:g}, but exports run at {usual:g} "
                f"alone: encode without --rate-weight"
            )
        return self

    def tell(self, past: Past, batch: int, weights: Tensor | None = None) -> None:
        """Let the layers of a pass over so many samples know of λ, if they do not."""
        if self.dial is not None and past.rate is None:
            past.rate = self.dial(self.rate_weight if weights is None else weights, batch)


class LinearInRate(nn.Module):
    """Numbers of a layer, such as scales and shifts, that follow λ: linear in what `Dial` gives, at
    first 0."""

    def __init__(self, rates: RateRange, outputs: int) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(outputs, 1 + rates.width))
        self.offset = nn.Parameter(torch.zeros(outputs))

    def forward(self, past: Past, axes: int) -> Tensor:
        """`[B, outputs, 1, ...]` with so many axes."""
        found = F.linear(past.rate.float(), self.slope.float(), self.offset.float())
        return found.view(*found.shape, *[1] * axes)


class Modulation(nn.Module):
    """`x * (1 + scale) + shift`, by λ and channel: `[B, C, *axes] -> [B, C, *axes]`."""

    def __init__(self, rates: RateRange, width: int) -> None:
        super().__init__()
        self.heeded = LinearInRate(rates, 2 * width)

    def forward(self, x: Tensor, past: Past) -> Tensor:
        scale, shift = self.heeded(past, x.ndim - 2).to(x.dtype).chunk(2, 1)
        return torch.addcmul(x + shift, x, scale)
