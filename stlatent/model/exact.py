"""The finest level of an exact ladder: what all others leave over, so that nothing is lost.

    x ─────────────────────────────────┐
                                       ▼
    h ──► mean, std ────────►  z = (x - mean) / std        x = mean + std * z

The mean is what the coarser levels decode to; the deviation of every value is told by the same
features. Given those levels it is an affine map whose prior is N(0, 1): one step of a flow (Dinh et
al. 2017, Real NVP). So all levels together give back the input up to the rounding of floats,
whatever the training; without this one, z is 0 and what is decoded is the mean.

What it costs is the probability of the input itself under N(mean, std^2). Values are continuous, so
that is stated at a precision: of the interval of `PRECISION` around each. Over 8-bit pixels it is
the probability of the pixel, and the rate of all levels the length of a lossless code; over other
values, such as latents, that of a code which rounds to 256 steps from -1 to 1.

The coarser levels must be the same when they are read again, so those of an exact ladder are
numbers that float16 holds, in which they are stored.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .blocks import blocks
from .config import ModelConfig
from .gaussian import Gaussian, bounded
from .layers import Norm, Up
from .past import Past

PRECISION = 1 / 127.5  # one step of 8-bit values in [-1, 1]
LOG_STD = -2.0  # of a new one: 0.14, as much as few numbers leave over
LIMIT = 6.0  # of logarithms of deviations, in size, softly: a third of a step of 8 bits


@dataclass(frozen=True)
class Noise(Gaussian):
    """N(0, 1), the prior of what is left over, and what it does to the values `[B, C, *size]`.

    Attributes:
        centre: what the coarser levels decode to.
        log_scale: logarithm of how far values lie from it.
    """

    centre: Tensor
    log_scale: Tensor

    def values(self, z: Tensor) -> Tensor:
        """The values that latents stand for."""
        return self.centre + self.log_scale.exp() * z

    def exactly(self, x: Tensor) -> Exactly:
        """The posterior of values `x`: no other latents stand for them."""
        return Exactly((x.float() - self.centre) * torch.exp(-self.log_scale))


@dataclass(frozen=True)
class Exactly:
    """A posterior that is certain: the latents that stand for an input.

    Attributes:
        mean: these `[B, C, *size]`, float32.
    """

    mean: Tensor
    penalty = 0.0

    def sample(self, generator: torch.Generator | None = None, temperature: float = 1.0) -> Tensor:
        """There is nothing to draw."""
        return self.mean

    def kl(self, other: Noise) -> Tensor:
        """-log of the prior's probability of the interval of `PRECISION` around each value, in nats
        `[B, C, *size]`."""
        half = PRECISION / 2 * torch.exp(-other.log_scale)
        distance = self.mean.abs()
        inner, outer = (torch.special.log_ndtr(d - distance) for d in (half, -half))
        # log(P(inner) - P(outer)), where both may be far out
        return -inner - torch.log(-torch.expm1((outer - inner).clamp_max(-1e-7)))

    def log_ratio(self, other: Noise, z: Tensor) -> Tensor:
        """log other(z) - log 1, in nats, of the same interval."""
        return -self.kl(other)


class ExactCell(nn.Module):
    """Tells how far the values lie from what is decoded: `[B, width, *grid]` -> `[B, C, *size]`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        axes, stem = config.axes, config.stem
        self.blocks = blocks(config, stem.width, 1)
        self.norm = Norm(stem.width)
        self.scale = Up(axes, stem.width, config.channels, stem.stride)
        nn.init.zeros_(self.scale.conv.weight)
        nn.init.constant_(self.scale.conv.bias, LOG_STD)

    def prior(self, decoded: Tensor, h: Tensor, past: Past) -> Noise:
        """From what the coarser levels decode to `[B, C, *size]`, and the finest features."""
        log_scale = bounded(self.scale(self.norm(self.blocks(h, past)), past).float(), LIMIT)
        none = torch.zeros_like(log_scale)
        return Noise(none, none, decoded.float(), log_scale)


def in_half(z: Tensor) -> Tensor:
    """The nearest numbers that float16 holds; gradients pass straight through."""
    return z + (z.half().to(z.dtype) - z).detach()
