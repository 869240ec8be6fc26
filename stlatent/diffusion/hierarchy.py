"""A diffusion model read as a very deep ladder, with the report of a ladder.

A hierarchical VAE and a diffusion model minimise the same bound, term by term (Sohl-Dickstein et
al. 2015; Ho et al. 2020, eq. 5; Kingma et al. 2021, VDM, section 4). Level l of the ladder is the
l-th timestep of the scheduler, counted from the noisiest, t_0 > t_1 > ... > t_{L-1}:

    ladder                                   diffusion model
    level 0, the coarsest                    t_0, nearly pure noise
    latents z_l, smaller on coarse levels    z_l = alpha_l x + sigma_l noise, all of x's size
    posterior q(z_l | z_<l, x), learned      q(z_l | z_{l-1}, x), given by the noise
    prior p(z_l | z_<l), learned             q(z_l | z_{l-1}, x^(z_{l-1})), x^ the denoiser's guess
    prior of level 0                         N(0, I)
    one network with a cell per level        one network, told the timestep
    likelihood p(x | z)                      N(x^(z_{L-1}), sigma^2 / alpha^2)

With S_l = alpha_l^2 / sigma_l^2, the signal-to-noise ratio, the posterior is (VDM, appendix A)

    q(z_l | z_{l-1}, x) = N(k z_{l-1} + a x, v),    r = S_{l-1} / S_l,
    k = (alpha_{l-1} / alpha_l) (sigma_l / sigma_{l-1})^2,  a = alpha_l (1 - r),
    v = sigma_l^2 (1 - r),

for any alpha and sigma whose S rises, so for flow matching (alpha = 1 - sigma) as well: a model
trained for a deterministic sampler is measured as the stochastic one with the same denoiser. Where
the prior has the same variance v, the rate of a level is a weighted squared error (VDM, eq. 13):

    KL_l = (S_l - S_{l-1}) |x - x^(z_{l-1})|^2 / 2   nats.

A prior of variance v exp(2 c) has KL = (1 + (S_l - S_{l-1}) e^2) exp(-2 c) / 2 - 1 / 2 + c per
value of error e. With the best c that all values of a level share (Bao et al. 2022, Analytic-DPM,
theorem 1), d values of mean squared error m cost

    d log(1 + (S_l - S_{l-1}) m) / 2   nats,

which is never more, and much less where noise falls quickly: a schedule whose last steps are
sigma = 1/T, 2/T, 3/T, ... keeps the same distance from the entropy for every T with variance v, and
none in the limit with the best.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from ..model.gaussian import Gaussian
from .noise import NoiseLevels, noise_levels
from .report import DiffusionReport, DiffusionTally, Visit

GREY_VALUES = 256
ON_GRID = 0.02  # of a grey value: what rounding in float32 or half precision may leave


@torch.no_grad()
def diffusion_report(
    denoiser: Callable[..., Any],
    scheduler: Any,
    batches: Iterable[Tensor],
    grey_values: int | None = GREY_VALUES,
    generator: torch.Generator | None = None,
) -> DiffusionReport:
    """Measure a diffusion model of `diffusers` as if it were a ladder.

    Each batch goes down the levels once, with one call of the denoiser per level: an unbiased
    estimate of every rate. Memory does not grow with the levels.

    Args:
        denoiser: UNet or transformer, called as `denoiser(z, timestep=t)` with z in float32 and t
            `[B]`; bind conditions with `functools.partial`, and wrap what wants other axes.
        scheduler: the one that it was trained with, see `noise_levels`; what it clips is clipped.
        batches: `[B, C, H, W]` or `[B, C, T, H, W]` as the denoiser takes them, each of any size.
        grey_values: pixels in [-1, 1] of so many grey values, whose probability is bounded (Ho et
            al. 2020, eq. 13); None for latents and other real numbers: their density.
        generator: source of the noise, on the device of the batches; None is torch's global one.

    Raises:
        ValueError: no batches, other shapes or values, or a scheduler that fits no hierarchy.
    """
    noise = noise_levels(scheduler)
    tally = DiffusionTally(noise)
    spread = 0.5 * (1 / noise.snr[-1]).log()
    for x in batches:
        _check(x, grey_values)
        x, rows = x.float(), []
        for visit in _descend(denoiser, noise, x, generator):
            rows.append(visit.sums(x))
        decoded = Gaussian(visit.guess, spread.to(x))
        tally.add(x, rows, reconstruction_nats(decoded, x, grey_values))
    return tally.result(grey_values)


def reconstruction_nats(decoded: Gaussian, x: Tensor, grey_values: int | None) -> Tensor:
    """-log p(x) per value `[B, C, *axes]`: of a density, or of the nearest of `grey_values`.

    A grey value has the mass of the interval of width 2 / (grey_values - 1) around it; black and
    white reach to infinity (Ho et al. 2020, eq. 13).
    """
    if grey_values is None:
        return -decoded.log_prob(x)
    grey, std = _grey(x, grey_values).round(), decoded.std.double()
    offset = 2 * grey / (grey_values - 1) - 1 - decoded.mean.double()
    half = 1 / (grey_values - 1)
    upper = torch.where(grey == grey_values - 1, math.inf, (offset + half) / std)
    lower = torch.where(grey == 0, -math.inf, (offset - half) / std)
    flip = upper + lower > 0  # the lower tail is the one that floating point resolves
    upper, lower = torch.where(flip, -lower, upper), torch.where(flip, -upper, lower)
    log_upper = torch.special.log_ndtr(upper)
    return -log_upper - torch.log(-torch.expm1(torch.special.log_ndtr(lower) - log_upper))


def _descend(
    denoiser: Callable[..., Any], noise: NoiseLevels, x: Tensor, generator: torch.Generator | None
) -> Iterator[Visit]:
    """The levels of one batch, coarsest first.

    Each z is drawn from q(z_l | x) by itself: a term of the bound depends on one z only, and noise
    that differs from level to level averages out over them, where a chain would carry it along.
    """
    alpha, sigma, snr = noise.alpha.tolist(), noise.sigma.tolist(), noise.snr.tolist()
    prior = Gaussian(torch.zeros_like(x), x.new_zeros(()))
    posterior = _known(x, alpha[0], sigma[0])
    before, _ = _guess(denoiser, noise, 0, prior.sample(generator))
    for level in range(len(noise)):
        z = _known(x, alpha[level], sigma[level]).sample(generator)
        guess, share = _guess(denoiser, noise, level, z)
        yield Visit(posterior.kl(prior), posterior.mean, before, guess)
        if level + 1 == len(noise):
            return
        new = 1 - snr[level] / snr[level + 1]
        kept = alpha[level] / alpha[level + 1] * (sigma[level + 1] / sigma[level]) ** 2 * z
        log_std = x.new_tensor(math.log(sigma[level + 1]) + 0.5 * math.log(new))
        wider = share * math.log(sigma[level] / sigma[level + 1])
        posterior = Gaussian(kept + alpha[level + 1] * new * x, log_std)
        prior = Gaussian(kept + alpha[level + 1] * new * guess, log_std + wider)
        before = guess


def _known(x: Tensor, alpha: float, sigma: float) -> Gaussian:
    """q(z_l | x)."""
    return Gaussian(alpha * x, x.new_tensor(math.log(sigma)))


def _guess(
    denoiser: Callable[..., Any], noise: NoiseLevels, level: int, z: Tensor
) -> tuple[Tensor, Tensor | float]:
    """What the denoiser makes of `z`, and the variance of the next step as `noise.variance`."""
    output = denoiser(z, timestep=noise.timesteps[level].to(z.device).expand(len(z)))
    output = (output if isinstance(output, Tensor) else output[0]).float()
    double = (z.shape[0], 2 * z.shape[1], *z.shape[2:])
    if output.shape not in (z.shape, double) or (noise.variance is None and output.shape != double):
        raise ValueError(
            f"the denoiser made {list(output.shape)} of {list(z.shape)}; expected the same shape, "
            "or twice the channels where it says the variance (variance_type='learned_range')"
        )
    mean, said = output[:, : z.shape[1]], output[:, z.shape[1] :]
    guess = noise.by_noisy[level].item() * z + noise.by_output[level].item() * mean
    share = (said + 1) / 2 if noise.variance is None else noise.variance
    return guess.clamp(-noise.clip, noise.clip), share


def _check(x: Tensor, grey_values: int | None) -> None:
    if x.ndim not in (4, 5):
        raise ValueError(f"a batch is {list(x.shape)}; give [B, C, H, W] or [B, C, T, H, W]")
    if grey_values is None:
        return
    grey = _grey(x, grey_values)
    if x.abs().max() > 1 or (grey - grey.round()).abs().max() > ON_GRID:
        raise ValueError(
            f"a batch has values outside of [-1, 1], or between its {grey_values} grey values; "
            "round them, or give grey_values=None for the density of real numbers"
        )


def _grey(x: Tensor, grey_values: int) -> Tensor:
    """[-1, 1] -> [0, grey_values - 1], float64."""
    return (x.double() + 1) * (grey_values - 1) / 2
