"""Diagonal Gaussians: the distribution of all latents that are not codes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .choose import Cut, Pick, whole

BITS_PER_NAT = 1 / math.log(2)


def bounded(x: Tensor, limit: float | None) -> Tensor:
    """Soft clamp to `(-limit, limit)`, the identity near 0 (Vahdat & Kautz 2020, NVAE); None is the
    identity everywhere."""
    return x if limit is None else limit * torch.tanh(x / limit)


@dataclass(frozen=True)
class Gaussian:
    """Independent normal variables `[B, C, *axes]`, always in float32.

    Attributes:
        mean: means.
        log_std: natural logarithms of the standard deviations.
    """

    mean: Tensor
    log_std: Tensor
    penalty = 0.0  # codes have one

    @property
    def std(self) -> Tensor:
        """Standard deviations `[B, C, *axes]`."""
        return self.log_std.exp()

    def sample(self, generator: torch.Generator | None = None, temperature: float = 1.0) -> Tensor:
        """A draw; `temperature` scales the standard deviation."""
        noise = torch.randn(
            self.mean.shape, generator=generator, device=self.mean.device, dtype=self.mean.dtype
        )
        return self.mean + temperature * self.std * noise

    def walk(self, pick: Pick) -> Tensor:
        """See `Distribution.walk`: there is one part."""
        return pick(self, whole)

    def given(self, z: Tensor) -> Gaussian:
        """See `Distribution.given`: one part tells nothing of another."""
        return self

    def cut(self, cut: Cut) -> Gaussian:
        """Of part of the variables."""
        return Gaussian(cut(self.mean), cut(self.log_std))

    def kl(self, other: Gaussian) -> Tensor:
        """KL(self || other) in nats, per variable `[B, C, *axes]`."""
        ratio = self.log_std - other.log_std
        offset = (self.mean - other.mean) * torch.exp(-other.log_std)
        return 0.5 * (offset.square() + torch.expm1(2 * ratio)) - ratio

    def log_prob(self, z: Tensor) -> Tensor:
        """Logarithm of the density at `z` in nats, per variable `[B, C, *axes]`."""
        offset = (z - self.mean) * torch.exp(-self.log_std)
        return -0.5 * offset.square() - self.log_std - 0.5 * math.log(2 * math.pi)

    def log_ratio(self, other: Gaussian, z: Tensor) -> Tensor:
        """log other(z) - log self(z) in nats, per variable: what importance weights are made of."""
        return other.log_prob(z) - self.log_prob(z)

    def __mul__(self, other: Gaussian) -> Gaussian:
        """The normalised product of two densities: precisions add, means are weighed by them."""
        share = torch.sigmoid(2 * (other.log_std - self.log_std))
        log_precision = torch.logaddexp(-2 * self.log_std, -2 * other.log_std)
        return Gaussian(other.mean + share * (self.mean - other.mean), -0.5 * log_precision)
