"""The loss of a sparse ladder: rate and distortion per voxel of the blocks that are there."""

from __future__ import annotations

import torch
from torch import nn

from ..losses.elbo import LossConfig, draw_prefixes, objective
from ..model.choose import Draw
from ..sparse.blocks import Blocks
from .task import Loss, Moment


def sparse_loss(model: nn.Module, x: Blocks, config: LossConfig, at: Moment) -> Loss:
    """Draw latents, decode, and weigh what comes of it, as `batch_loss` does it on whole grids: all
    samples, and a share of them once more from a prefix.

    The cells are those of the input throughout. So a prefix is judged by its values in these and
    by the marks of the levels that it lacks, with which decoding would have to go on.

    Args:
        model: a `SparseLadder`, or its wrapper where several processes train.
    """
    share = config.prefix.share if at.progress < config.prefix.until else 0.0
    noise, device = at.own_noise(), x.values.device
    levels = len(_ladder(model).levels)
    prefix = draw_prefixes(x.batch, levels, share, noise, device)
    again = (prefix < levels).nonzero()[:, 0]
    keep = torch.cat([torch.full_like(prefix, levels), prefix[again]])
    rows = x.chosen([*range(x.batch), *again.tolist()])
    out = model(rows, Draw(generator=noise), keep)
    values = float(out.counts.sum()) / rows.batch  # in the mean, so that every voxel counts alike
    result = objective(
        out.distortion(_ladder(model).likelihood, keep, config.colour) / values,
        out.latents.group_kl,
        [],
        keep,
        values,
        [len(z) // rows.batch for z in out.latents.levels],
        config,
        at.step,
    )
    metrics = {"distortion": result.distortion, "rate_bits": result.rate_bits}
    return Loss(result.total * (rows.batch / x.batch), metrics)


def _ladder(model: nn.Module) -> nn.Module:
    return getattr(model, "module", model)
