"""The loss of one batch: what every way of training a ladder has in common."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..checkpoint import Model
from ..losses.elbo import LossConfig, Objective, draw_prefixes, objective
from ..losses.pixels import PixelConfig, pixel_error
from ..model.choose import Prefix
from ..model.passes import Pass
from .extras import Extras
from .optimiser import seeded
from .processes import Batches
from .scale import scale_error
from .task import Loss, Moment, Task

Extra = Callable[[Pass], Tensor | float]


def batch_loss(
    model: nn.Module,
    ladder: Model,
    x: Tensor,
    config: LossConfig,
    at: Moment,
    extra: Extra = lambda out: 0.0,
) -> tuple[Objective, Pass]:
    """Draw latents, decode, and weigh what comes of it.

    Every sample is decoded from all levels, and a share of them once more from a prefix. Prefixes
    in place of whole samples would cost the finest level, which has most to learn, that share of
    the training.

    Args:
        model: what is called: `ladder` itself, or its wrapper where several processes train.
        x: `[B, C, *axes]` in [-1, 1], what the model reads.
        at: where the training stands, and its noise.
        extra: further penalties of a pass, scalar.

    Returns:
        The loss, and the pass: first the whole samples, then those cut to a prefix.
    """
    share = config.prefix.share if at.progress < config.prefix.until else 0.0
    batches, learned = Batches(len(x), at), len(ladder.config.levels)
    everywhere = draw_prefixes(batches.samples, learned, share, at.noise, x.device)
    draw = batches.draw(everywhere < learned)
    prefix = everywhere[batches.own]
    again = prefix < learned
    keep = torch.cat([torch.full_like(prefix, len(ladder.levels)), prefix[again]])
    rows = torch.cat([x, x[again]])
    weights, rates, told = None, ladder.config.rate, {}
    if rates:
        config = priced(config, rates.middle)
        own = rates.draw(batches.samples, at.noise)[batches.own]
        weights, told = torch.cat([own, own[again]]), {"rate_weights": own}
    with seeded(at.network_seed(), x.device):  # dropped paths and restarted codes
        out = model(x, Prefix(keep, draw), again, **told)
        more = extra(out)
        if config.equivariance:
            more = more + config.equivariance * scale_error(ladder, rows, out)
    previews = _preview_errors(ladder, out)
    target = ladder.target(out, rows, keep if config.prefix.blurred else None)
    if config.pixels and at.step % config.pixels.every == 0:
        more = more + _pixel_penalty(ladder, out, target, config.pixels, at)
    result = objective(
        ladder.likelihood(out.parameters, target),
        out.latents.group_kl,
        previews,
        keep,
        target[0].numel(),
        [math.prod(shape[1:]) for shape in ladder.latent_shape(x.shape[2:])],
        config,
        at.step,
        out.latents.penalty + more,
        weights,
    )
    # sums over rows in units of samples: prefixes come on top and do not dilute the whole
    return replace(result, total=result.total * (len(rows) / len(x))), out


def _preview_errors(ladder: Model, out: Pass) -> list[Tensor]:
    """Of each level's own prediction of the input, scalar."""
    return [
        (preview.float() - ladder.preview_target(out.inputs, level)).abs().mean()
        for level, preview in enumerate(out.previews)
    ]


def _pixel_penalty(
    ladder: Model, out: Pass, target: Tensor, config: PixelConfig, at: Moment
) -> Tensor:
    """The error in pixels of what stands on a foundation, scalar; it counts for all the steps that
    go without."""
    decode, teacher = ladder.through_decoder, ladder.frozen.teacher.decode
    error = pixel_error(decode, teacher, out.x, target, config.window, at.noise).mean()
    return config.weight * config.every * error


def priced(config: LossConfig, weight: float) -> LossConfig:
    """The same at another price of the rate."""
    return config.model_copy(update={"rate": config.rate.model_copy(update={"weight": weight})})


class LadderTask(Task):
    """A ladder on batches `[B, C, *axes]` in [-1, 1]."""

    def __init__(self, model: Model, config: LossConfig, extras: Extras) -> None:
        self.model = self.network = model
        self.config, self.extras = config, extras

    def loss(self, batch: Tensor, at: Moment) -> Loss:
        warm = self.config.rate.warm(at.step)
        result, out = batch_loss(
            self.network,
            self.model,
            batch,
            self.config,
            at,
            lambda out: self.extras.penalty(out, batch, at.step, warm),
        )
        metrics = {
            "distortion": result.distortion,
            "preview": result.preview,
            "rate_bits": result.rate_bits,
        }
        decoded = out.x[: len(batch)].detach()
        return Loss(result.total, metrics, lambda: self.extras.learn(decoded, batch, at.step))
