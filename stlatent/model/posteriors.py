"""q(z | coarser levels, x) of one group, and the form of the prior that belongs to it.

    residual    from h and e, an offset from the prior             NVAE: Vahdat & Kautz 2020, 3.2
    precision   e's own estimate and the prior, multiplied         Ladder VAE: Sønderby et al. 2016
    joint       from h and e, on its own                           VDVAE: Child 2021
    bottom_up   from e alone: no top-down coupling                 the naive hierarchy, to compare
    rounded     from h and e, what rounding to steps leaves open   QARV: Duan et al. 2023
    codes       from h and e, the nearest vectors of a codebook    VQ-VAE-2: Razavi et al. 2019

h are the top-down features, e the bottom-up ones, both `[B, width, *grid]`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .blocks import blocks
from .codebook import CodePrior, Codes, make_codebook
from .config import Level, ModelConfig
from .dial import LinearInRate
from .gaussian import Gaussian, Rounded, bounded
from .layers import Conv
from .past import Past


class Evidence(nn.Module):
    """What the input says about a group: `[B, width, *grid]` twice -> `[B, outputs, *grid]`.

    coupled: whether the top-down features are looked at.
    """

    def __init__(self, config: ModelConfig, width: int, outputs: int, coupled: bool) -> None:
        super().__init__()
        self.join = Conv(config.axes, 2 * width, width) if coupled else None
        self.blocks = blocks(config, width, 1, rising=True)
        self.out = Conv(config.axes, width, outputs, gain=0.1)

    def forward(self, h: Tensor, e: Tensor, past: Past) -> Tensor:
        if self.join is not None:
            e = self.join(torch.cat([h, e], 1), past)
        return self.out(self.blocks(e, past), past).float()


class GaussianLatent(nn.Module):
    """What all Gaussian kinds share: a mean and a logarithm of the deviation, of the posterior from
    evidence and of the prior from its head."""

    coupled = True

    def __init__(self, config: ModelConfig, level: Level, outputs: int | None = None) -> None:
        super().__init__()
        outputs = outputs or 2 * level.latent
        self.evidence = Evidence(config, level.width, outputs, self.coupled)
        self.prior_channels = 2 * level.latent
        self.log_std_limit = config.posterior.log_std_limit

    def extra_repr(self) -> str:
        return f"latent={self.prior_channels // 2}, log_std_limit={self.log_std_limit}"

    def prior(self, parameters: Tensor) -> Gaussian:
        """The prior from its head's output `[B, prior_channels, *grid]`."""
        return self._gaussian(parameters.float())

    def forward(self, h: Tensor, e: Tensor, prior: Gaussian, past: Past) -> Gaussian:
        return self.place(self._gaussian(self.evidence(h, e, past)), prior)

    def _gaussian(self, parameters: Tensor) -> Gaussian:
        mean, log_std = parameters.chunk(2, 1)
        return Gaussian(mean, bounded(log_std, self.log_std_limit))

    def place(self, evidence: Gaussian, prior: Gaussian) -> Gaussian:
        """The posterior, from what the evidence says and the prior."""
        return evidence


class ResidualPosterior(GaussianLatent):
    """The evidence is an offset in units of the prior's deviation, and a ratio of deviations, so
    that a level that has nothing to add costs no bits."""

    def place(self, evidence: Gaussian, prior: Gaussian) -> Gaussian:
        return Gaussian(prior.mean + prior.std * evidence.mean, prior.log_std + evidence.log_std)


class PrecisionPosterior(GaussianLatent):
    """Evidence and prior multiplied: each counts by its precision (equations 17-19)."""

    coupled = False

    def place(self, evidence: Gaussian, prior: Gaussian) -> Gaussian:
        return evidence * prior


class JointPosterior(GaussianLatent):
    """Free of the prior, but made from the same features."""


class BottomUpPosterior(GaussianLatent):
    """Free of everything that was decided above."""

    coupled = False


class RoundedPosterior(GaussianLatent):
    """The evidence is an offset from the prior's mean. Its noise is that of rounding, with one
    deviation per channel: the square root of λ gives it, at a slope of the distortion that is the
    price of the rate, and what is learned on top."""

    def __init__(self, config: ModelConfig, level: Level) -> None:
        super().__init__(config, level, outputs=level.latent)
        self.log_std = nn.Parameter(torch.full([level.latent], config.posterior.log_noise))
        self.by_rate = LinearInRate(config.rate, level.latent) if config.rate else None

    def forward(self, h: Tensor, e: Tensor, prior: Gaussian, past: Past) -> Rounded:
        offset = self.evidence(h, e, past)
        return Rounded(prior.mean + offset, self.noise(past, h.ndim - 2).expand_as(offset))

    def noise(self, past: Past, axes: int) -> Tensor:
        """Logarithm of the deviation of each channel `[B or 1, latent, 1, ...]` with so many axes:
        whoever reads knows it, too."""
        log_std = self.log_std.float().view(1, -1, *[1] * axes)
        if self.by_rate is not None:
            log_std = log_std + self.by_rate(past, axes)
            log_std = log_std + past.rate[:, :1].view(-1, *[1] * (1 + axes)) / 2
        return bounded(log_std, self.log_std_limit)


class CodeLatent(nn.Module):
    """A vector from the evidence, replaced by the nearest ones of a codebook."""

    def __init__(self, config: ModelConfig, level: Level) -> None:
        super().__init__()
        self.codebook = make_codebook(level.codebook, level.latent)
        self.evidence = Evidence(config, level.width, level.latent, coupled=True)
        self.prior_channels = self.codebook.depth * self.codebook.size

    def prior(self, parameters: Tensor) -> CodePrior:
        """The prior from its head's output `[B, depth * size, *grid]`."""
        return CodePrior(
            parameters.float().unflatten(1, (self.codebook.depth, -1)), self.codebook.table()
        )

    def forward(self, h: Tensor, e: Tensor, prior: CodePrior, past: Past) -> Codes:
        return self.codebook(self.evidence(h, e, past))


KINDS = {
    "residual": ResidualPosterior,
    "precision": PrecisionPosterior,
    "joint": JointPosterior,
    "bottom_up": BottomUpPosterior,
    "rounded": RoundedPosterior,
}


def make_posterior(config: ModelConfig, level: Level) -> GaussianLatent | CodeLatent:
    """What a level asks for."""
    kind = CodeLatent if level.codebook else KINDS[config.posterior.kind]
    return kind(config, level)
