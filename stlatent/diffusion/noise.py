"""What a scheduler of `diffusers` says about every noise level, as numbers of a ladder's levels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

VARIANCES = ("fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log", "learned_range")


@dataclass(frozen=True)
class NoiseLevels:
    """z_l = alpha_l x + sigma_l noise, noisiest level first; all `[levels]`, float64 on the CPU.

    Attributes:
        timesteps: what the denoiser is called with, in the scheduler's type.
        alpha, sigma: share of the signal, standard deviation of the noise.
        by_noisy, by_output: the guess of x is `by_noisy * z + by_output * output` (Salimans & Ho
            2022, section 4, for noise, data and velocity; Lipman et al. 2023 for flow matching).
        clip: guesses are clipped to [-clip, clip]; infinite for not at all.
        variance: of the reverse step, between the posterior's (0) and the forward step's (1), on a
            logarithmic scale; None if the denoiser says so (Nichol & Dhariwal 2021, eq. 15).
    """

    timesteps: Tensor
    alpha: Tensor
    sigma: Tensor
    by_noisy: Tensor
    by_output: Tensor
    clip: float
    variance: float | None

    def __len__(self) -> int:
        return len(self.timesteps)

    @property
    def snr(self) -> Tensor:
        """Signal-to-noise ratio alpha^2 / sigma^2 `[levels]`."""
        return (self.alpha / self.sigma).square()


def noise_levels(scheduler: Any) -> NoiseLevels:
    """The levels of a scheduler: one per entry of `scheduler.timesteps`.

    Call `scheduler.set_timesteps(n)` first for the hierarchy that a sampler of n steps walks down;
    a new scheduler has all the timesteps of training.

    Args:
        scheduler: `FlowMatchEulerDiscreteScheduler`, or one with `alphas_cumprod` and whole
            timesteps, such as `DDPMScheduler` and `DDIMScheduler`.

    Raises:
        ValueError: a scheduler of another kind, or settings that define no hierarchy.
    """
    from diffusers import FlowMatchEulerDiscreteScheduler

    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        levels = _flow_levels(scheduler)
    else:
        check_diffusion(scheduler)
        levels = _diffusion_levels(scheduler)
    if not ((levels.snr.diff() > 0).all() and levels.snr.isfinite().all()):
        raise ValueError(
            f"the noise of {type(scheduler).__name__} does not fall from step to step, down to "
            "more than none; give another scheduler or other timesteps"
        )
    return levels


def check_diffusion(scheduler: Any) -> None:
    """ValueError unless a scheduler that is none of flow says how noisy its steps are."""
    if not hasattr(scheduler, "alphas_cumprod"):
        raise ValueError(
            f"{type(scheduler).__name__} has no alphas_cumprod; give DDPMScheduler, another that "
            "has, or FlowMatchEulerDiscreteScheduler"
        )


def _flow_levels(scheduler: Any) -> NoiseLevels:
    """z = (1 - sigma) x + sigma noise; the output is noise - x."""
    if scheduler.config.invert_sigmas:
        raise ValueError("the scheduler has inverted sigmas; give one with invert_sigmas=False")
    timesteps = scheduler.timesteps.cpu()
    sigma = scheduler.sigmas[: len(timesteps)].cpu().double()
    one = torch.ones_like(sigma)
    return NoiseLevels(timesteps, 1 - sigma, sigma, one, -sigma, math.inf, 0.0)


def _diffusion_levels(scheduler: Any) -> NoiseLevels:
    """z = sqrt(c) x + sqrt(1 - c) noise, where c is `alphas_cumprod`."""
    config, timesteps = scheduler.config, scheduler.timesteps.cpu()
    if timesteps.is_floating_point() and (timesteps != timesteps.round()).any():
        raise ValueError("the scheduler has timesteps between whole ones; give DDPMScheduler")
    if config.get("thresholding"):
        raise ValueError("thresholding=True depends on the batch; give a scheduler without it")
    squared = scheduler.alphas_cumprod.cpu().double()[timesteps.long()]
    alpha, sigma = squared.sqrt(), (1 - squared).sqrt()
    kinds = {
        "epsilon": (1 / alpha, -sigma / alpha),
        "sample": (torch.zeros_like(alpha), torch.ones_like(alpha)),
        "v_prediction": (alpha, -sigma),
    }
    kind = config.get("prediction_type", "epsilon")
    if kind not in kinds:
        raise ValueError(f"prediction_type is {kind!r}; it can be one of {', '.join(kinds)}")
    if not kinds[kind][0].isfinite().all():
        raise ValueError("noise tells nothing of x where there is no signal; predict v instead")
    clip = config.get("clip_sample_range", 1.0) if config.get("clip_sample") else math.inf
    return NoiseLevels(timesteps, alpha, sigma, *kinds[kind], clip, _variance(config))


def _variance(config: Any) -> float | None:
    kind = config.get("variance_type", "fixed_small")
    if kind not in VARIANCES:
        raise ValueError(f"variance_type is {kind!r}; it can be one of {', '.join(VARIANCES)}")
    return None if kind == "learned_range" else float(kind.startswith("fixed_large"))
