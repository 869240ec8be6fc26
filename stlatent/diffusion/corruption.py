"""What a denoiser learns: latents with noise in, and the target that its scheduler expects out.

    flow    z = (1 - s) x + s noise    target: noise - x    (Lipman et al. 2023; Esser et al. 2024)
    ddpm    z = a x + b noise          target: v = a noise - b x, the noise or x itself
                                       (Ho et al. 2020; Salimans & Ho 2022)

Times of `flow` are drawn from a logit-normal density (Esser et al. 2024, section 3.1); those of
`ddpm` evenly. The betas of `ddpm` are scaled so that the last step is noise alone (Lin et al.
2023).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler
from diffusers.training_utils import compute_density_for_timestep_sampling
from torch import Tensor

from .config import NoiseConfig
from .noise import check_diffusion

Scheduler = FlowMatchEulerDiscreteScheduler | DDPMScheduler


def make_scheduler(config: NoiseConfig) -> Scheduler:
    """The scheduler that a run is trained for, and sampled with until another is chosen."""
    if config.kind == "flow":
        return FlowMatchEulerDiscreteScheduler(shift=config.shift)
    # noise anew at every step mends what the steps before it got wrong
    return DDPMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type=config.prediction,
        rescale_betas_zero_snr=config.prediction != "epsilon",  # noise alone says nothing of x
        timestep_spacing="trailing",
        clip_sample=False,
    )


def as_trained(scheduler: Any) -> Scheduler:
    """The scheduler of training behind one that samples, which may be any with the same noise.

    Raises:
        ValueError: it is neither of flow nor has it `alphas_cumprod`.
    """
    if is_flow(scheduler):
        return scheduler
    check_diffusion(scheduler)
    return DDPMScheduler.from_config(scheduler.config)


def corrupt(
    scheduler: Scheduler, x: Tensor, logit_std: float, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Latents with noise, timesteps `[B]` as the denoiser takes them, and its target.

    Args:
        x: `[B, C, *grid]`, of mean 0 and deviation 1.
        generator: source of times and noise, on the device of `x`.
    """
    noise = torch.randn(x.shape, generator=generator, device=x.device)
    steps = scheduler.config.num_train_timesteps
    if not is_flow(scheduler):
        t = torch.randint(steps, (len(x),), generator=generator, device=x.device)
        noisy = scheduler.add_noise(x, noise, t)
        kind = scheduler.config.prediction_type
        if kind == "v_prediction":
            return noisy, t, scheduler.get_velocity(x, noise, t)
        return noisy, t, noise if kind == "epsilon" else x
    u = compute_density_for_timestep_sampling(
        "logit_normal", len(x), 0.0, logit_std, device=x.device, generator=generator
    )
    shift = scheduler.config.shift
    t = shift * u / (1 + (shift - 1) * u)
    s = t.view(-1, *[1] * (x.ndim - 1))
    return (1 - s) * x + s * noise, t * steps, noise - x


def set_steps(scheduler: Any, steps: int, device: torch.device) -> Tensor:
    """Prepare `scheduler` for `steps` evaluations of the denoiser; returns its timesteps.

    Flow matching gets evenly spaced times from 1 on, as pipelines give it: its own spacing spends
    the last evaluation on what is all but free of noise.
    """
    if is_flow(scheduler):
        scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps).tolist(), device=device)
    else:
        scheduler.set_timesteps(steps, device=device)
    return scheduler.timesteps


def is_flow(scheduler: Any) -> bool:
    """Whether it predicts a velocity, from noise to data on a straight line (flow matching)."""
    return isinstance(scheduler, FlowMatchEulerDiscreteScheduler)


def generator_on(device: torch.device, generator: torch.Generator | None) -> torch.Generator | None:
    """A generator for `device`, seeded by one of another device."""
    if generator is None or generator.device.type == device.type:
        return generator
    seed = torch.randint(2**62, (), generator=generator, device=generator.device).item()
    return torch.Generator(device).manual_seed(seed)
