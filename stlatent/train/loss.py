"""The loss of one batch: what every way of training a ladder has in common."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..checkpoint import Model
from ..choose import Draw, Prefix
from ..ladder import Pass
from ..losses.elbo import LossConfig, Objective, draw_prefixes, objective
from .scale import scale_error

Extra = Callable[[Pass], Tensor | float]


def batch_loss(
    model: nn.Module,
    ladder: Model,
    x: Tensor,
    config: LossConfig,
    step: int,
    progress: float,
    generator: torch.Generator,
    extra: Extra = lambda out: 0.0,
) -> tuple[Objective, Pass]:
    """Draw prefixes and latents, decode, and weigh what comes of it.

    Args:
        model: what is called: `ladder` itself, or its wrapper where several processes train.
        x: `[B, C, *axes]` in [-1, 1], what the model reads.
        step, progress: where the training stands, in steps and from 0 to 1.
        generator: of the noise.
        extra: further penalties of a pass, scalar.
    """
    torch.manual_seed(generator.initial_seed() + step)  # of dropped paths and restarted codes
    share = config.prefix.share if progress < config.prefix.until else 0.0
    keep = draw_prefixes(len(x), len(ladder.levels), share, generator, x.device)
    out = model(x, Prefix(keep, Draw(generator=generator)))
    previews = [
        (preview.float() - ladder.preview_target(out.entered, level)).abs().mean()
        for level, preview in enumerate(out.previews)
    ]
    more = extra(out)
    if config.equivariance:
        more = more + config.equivariance * scale_error(ladder, x, out)
    result = objective(
        ladder.likelihood(out.raw, x),
        out.group_kl,
        previews,
        keep,
        x[0].numel(),
        [math.prod(shape[1:]) for shape in ladder.latent_shape(x.shape[2:])],
        config,
        step,
        out.penalty + more,
    )
    return result, out
