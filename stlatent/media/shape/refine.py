"""Latents improved by gradient descent, where the encoder's one guess is not good enough.

Semi-amortised inference (Kim et al. 2018): the encoder's latents are the start, the decoder is
fixed, and the latents move so that the input comes out better, from every prefix of levels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...checkpoint import Model
from ...model.choose import Held, Prefix
from ...model.latents import Latents

STEP = 0.03  # of Adam, in units of the latents


def refine(model: Model, x: Tensor, latents: Latents, steps: int) -> Latents:
    """Latents of `x` `[B, C, *axes]` after `steps` steps of Adam, from those of `Ladder.encode`, on
    all levels but an exact one.

    What falls is the mean over all prefixes of minus the log-likelihood; the rate is not looked at.
    Points at which a field is judged are drawn from a seed of their own, the same in every call.

    Raises:
        ValueError: the model's latents are codes, which have no gradient.
    """
    if any(level.codebook for level in model.levels):
        raise ValueError("latents that are codes cannot be refined")
    count = len(model.config.levels)
    devices = [x.device] if x.is_cuda else []
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices):
        torch.manual_seed(0)
        target = x.clone().repeat_interleave(count, 0)
        keep = torch.arange(1, count + 1, device=x.device).repeat(len(x))
        levels = [z.clone().requires_grad_(True) for z in latents.levels[:count]]
        adam = torch.optim.Adam(levels, lr=STEP)
        for _ in range(steps):
            held = Held({k: z.repeat_interleave(count, 0) for k, z in enumerate(levels)})
            parameters = model.likelihood_parameters(Prefix(keep, held), latents.size, len(target))
            loss = model.likelihood(parameters, target).sum() / count
            gradients = torch.autograd.grad(loss, levels)
            for z, gradient in zip(levels, gradients, strict=True):
                z.grad = gradient
            adam.step()
    return Latents(tuple(z.detach() for z in levels), latents.size)
