"""Diagonal Gaussians: the distribution of all latents that are not codes."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
        return self.mean + temperature * self.std * self.noise(self.mean.shape, generator)

    def near(self, z: Tensor, strength: float, generator: torch.Generator | None = None) -> Tensor:
        """See `Distribution.near`: the offset from the mean shrinks as the noise grows, so that the
        variance stays (the preconditioned proposal of Cotter et al. 2013)."""
        drawn = self.sample(generator) - self.mean
        return z + ((1 - strength**2) ** 0.5 - 1) * (z - self.mean) + strength * drawn

    def noise(self, shape: Sequence[int], generator: torch.Generator | None = None) -> Tensor:
        """What draws are made of: of mean 0 and deviation 1."""
        like = {"device": self.mean.device, "dtype": self.mean.dtype}
        return torch.randn(shape, generator=generator, **like)

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


STEP_STDS = math.sqrt(12)  # width of a step in deviations of the noise that rounding to it makes
LEAST_GAP = 1e-6  # of logarithms of two tails, whose difference is the mass between them


class Rounded(Gaussian):
    """What rounding to steps leaves open: uniform over the step around `mean`, with deviations
    `std`. It stands for a whole number of steps from the mean of a prior, which costs what the
    prior has in that step (Ballé et al. 2017; Duan et al. 2023, QARV)."""

    def noise(self, shape: Sequence[int], generator: torch.Generator | None = None) -> Tensor:
        """Uniform, of mean 0 and deviation 1."""
        like = {"device": self.mean.device, "dtype": self.mean.dtype}
        return STEP_STDS * (torch.rand(shape, generator=generator, **like) - 0.5)

    def kl(self, other: Gaussian) -> Tensor:
        """Nats that a step around a draw costs under the prior `other`, per variable, on average
        over two draws that stand for all: those at one deviation (Gauss-Legendre quadrature)."""
        near, far = (self.told(self.mean + draw, other) for draw in (-self.std, self.std))
        return 0.5 * (near + far)

    def told(self, z: Tensor, other: Gaussian) -> Tensor:
        """Nats that the step around `z` costs under the prior `other`, per variable."""
        scale = torch.exp(-other.log_std)
        return _step_nats(scale * (z - other.mean), scale * self.std * (STEP_STDS / 2))

    def log_prob(self, z: Tensor) -> Tensor:
        """Logarithm of the density in nats, per variable."""
        return (-self.log_std - math.log(STEP_STDS)).expand_as(z)


def _step_nats(offset: Tensor, half: Tensor) -> Tensor:
    """-log of the mass that N(0, 1) has within `half` of `offset`, however far out that is."""
    size = offset.abs()
    outer, inner = (torch.special.log_ndtr(-(size + half)), torch.special.log_ndtr(half - size))
    return -inner - torch.log(-torch.expm1((outer - inner).clamp(max=-LEAST_GAP)))
