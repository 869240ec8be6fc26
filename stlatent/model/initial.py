"""The weights of a new ladder: the linear code of `transform.py`, so that training begins at a good
picture. They are drawn at random before, and everything stays trainable."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from .cells import Cell
from .config import Level
from .domain import Domain
from .layers import Down, Up
from .posteriors import RoundedPosterior
from .recall import SMALL, STEEPNESS, Recall
from .spread import Spread
from .transform import (
    RHO,
    Basis,
    Channels,
    analysis,
    basis,
    coupling,
    neighbours,
    samples,
    synthesis,
    variances,
)

TOLD = 1e-4  # weights of a prediction below it are rounding: nothing is told


@torch.no_grad()
def initialise(ladder: nn.Module, channels: Channels) -> None:
    """Let a new `Ladder` begin as the linear code of an input with these `channels`."""
    config, likelihood = ladder.config, ladder.likelihood
    stages = (*config.levels, config.stem)
    bases = [basis(ladder.domain, channels, stage.stride, stage.width) for stage in stages]
    whole = samples(ladder.domain, channels)
    _analyse(ladder.stem, whole, bases[-1])
    _synthesise(ladder.head, bases[-1], whole, likelihood.copies)
    _add(ladder.head, likelihood.neutral(), likelihood.copies * config.channels)
    for level, (coarse, fine) in enumerate(itertools.pairwise(bases)):
        _analyse(ladder.down[level], fine, coarse)
        _synthesise(ladder.up[level], coarse, fine)
    for k, (level, cells) in enumerate(zip(config.levels, ladder.cells, strict=True)):
        for group, cell in enumerate(cells):
            _report(cell, level, group, config.pictures(level), config.posterior.log_noise)
            if isinstance(cell.posterior, RoundedPosterior) and config.rate:
                _round(cell.posterior, level, group, config.rate.middle, bases[k])
            if cell.spread is not None:
                _tell(cell.spread, ladder.domain, channels, bases[k])
    for k, (level, recalls) in enumerate(zip(config.levels, ladder.recalls, strict=False)):
        for group, recall in enumerate(recalls):
            _recall(recall, level, group, config.pictures(level), ladder.domain, bases[k])


def _analyse(down: Down, fine: Basis, coarse: Basis) -> None:
    """Fine coefficients to coarse ones."""
    offsets, rows, columns = (matrix := analysis(fine, coarse)).shape
    weight = down.conv.weight.view(len(down.conv.weight), offsets, -1)
    weight[:rows] = 0
    weight[:rows, :, :columns] = matrix.transpose(0, 1)


def _synthesise(up: Up, coarse: Basis, fine: Basis, copies: int = 1) -> None:
    """Coarse coefficients back to fine ones, `copies` times."""
    matrix = synthesis(coarse, fine).repeat(1, copies, 1)
    offsets, rows, columns = matrix.shape
    weight = up.conv.weight.view(offsets, -1, up.conv.weight.shape[1])
    weight[:, :rows] = 0
    weight[:, :rows, :columns] = matrix


def _add(up: Up, bias: Tensor, rows: int) -> None:
    """`bias` `[outputs]` at every offset, and the outputs from `rows` on are it alone."""
    offsets = math.prod(up.factors)
    up.conv.bias.copy_(bias.repeat(offsets))
    up.conv.weight.view(offsets, len(bias), -1)[:, rows:] = 0


def _report(cell: Cell, level: Level, group: int, count: int, log_noise: float) -> None:
    """Each group codes `count` channels of its own, of what the coarser levels left over: e - h."""
    own, channel = torch.arange(count), _own(level, group)[:count]
    cell.from_latent.weight.zero_()
    cell.from_latent.weight[channel, own] = 1
    evidence = cell.posterior.evidence
    evidence.out.weight.zero_()
    evidence.out.weight[own, channel] = 1
    if len(evidence.out.bias) == 2 * level.latent and level.codebook is None:
        evidence.out.bias[level.latent :] = log_noise
    if evidence.join is not None:
        every = torch.arange(level.width)
        evidence.join.weight.zero_()
        evidence.join.weight[every, every] = -1
        evidence.join.weight[every, level.width + every] = 1


def _round(
    posterior: RoundedPosterior, level: Level, group: int, price: float, stage: Basis
) -> None:
    """All coefficients are as noisy as they are cheapest told: with noise of variance D, rate in
    nats costs 2 D of distortion each (Cover & Thomas 2006, section 10.3), and that is the price.
    What varies less is not told."""
    expected = stage.std[_own(level, group).clamp(max=len(stage.std) - 1)]
    noise = (math.log(price / 2) / 2 - expected.log()).clamp(max=0.0)
    posterior.log_std.copy_(noise.to(posterior.log_std))


def _own(level: Level, group: int) -> Tensor:
    """The features that a group codes."""
    return (group * level.latent + torch.arange(level.latent)) % level.width


def _recall(
    recall: Recall, level: Level, group: int, count: int, domain: Domain, stage: Basis
) -> None:
    """All is as it was in the last step of the unit before, `z = z_before + h_before - h`, and as
    reliable as the Markov model has it: `n` steps later, within 2 (1 - correlation) of the
    variance. Latents beyond `count` are no features: `z = z_before`."""
    steps, own = domain.of_time(recall.factors), torch.arange(level.latent)
    features, now = _own(level, group), steps * level.width
    last = now + (steps - 1) * level.latent, now + steps * level.latent + (steps - 1) * level.width
    frames, rho = domain.of_time(level.stride), RHO["causal"]
    frequency = stage.index[:, domain.causal][features.clamp(max=len(stage.index) - 1)]
    weight, bias = recall.as_it_was.weight, recall.out.bias
    weight.zero_()
    for step in range(steps):
        rows = step * level.latent + own
        weight[rows, last[0] + own] = 1 / SMALL
        weight[rows[:count], last[1] + features[:count]] = 1 / SMALL
        weight[rows[:count], step * level.width + features[:count]] = -1 / SMALL
        alike = coupling(frames, rho, step + 1).diag() / variances(frames, rho)
        log_std = 0.5 * (2 * (1 - alike[frequency])).log()
        bias[steps * level.latent + rows] = (log_std / STEEPNESS).to(bias)


def _tell(spread: Spread, domain: Domain, channels: Channels, stage: Basis) -> None:
    """Neighbours predict the features that are not coded; those that nothing is told about stay as
    they are."""
    weight = neighbours(domain, channels, stage, spread.known, spread.conv.weight.shape[2:])
    told = weight.flatten(1).abs().amax(1) > TOLD
    spread.keep[: len(weight)] = (~told).to(spread.keep)
    spread.conv.weight.zero_()
    # a level may have more latents than its blocks have features
    spread.conv.weight[: len(weight), : weight.shape[1]][told] = weight[told].to(spread.keep)
