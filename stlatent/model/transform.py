"""The linear code that a ladder starts as, so that training begins at a good picture.

Each stage begins as a truncated discrete cosine transform of the block of samples that one of its
features covers: channel i of a stage holds the i-th most important coefficient, in units of its
expected standard deviation. A level codes what the coarser ones left over, a Laplacian pyramid
(Burt & Adelson 1983) in the coordinates of its own block:

    e = D x          q(z).mean = first channels of (e - h)          h ← h + z          x̂ = Dᵀ h

Importance is the variance of a coefficient under a first-order Markov model of neighbouring samples
with correlation rho^distance, separable over axes (Ahmed, Natarajan & Rao 1974); `Channels` says
what is expected of those. No data are needed, and everything stays trainable.

`initialise` writes it into the weights of a new ladder, which are drawn at random before.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .cells import Cell
from .config import Level
from .domain import Domain
from .layers import Down, Up
from .posteriors import RoundedPosterior
from .recall import SMALL, STEEPNESS, Recall
from .spread import Spread

RHO = {"space": 0.97, "causal": 0.9, "index": 0.0}  # correlation of neighbours, by kind of axis
RHO_CHANNELS = 0.95
SAMPLE_VARIANCE = 0.25  # of values in [-1, 1]
TOLD = 1e-4  # weights of a prediction below it are rounding: nothing is told


def cosines(n: int) -> Tensor:
    """Orthonormal DCT-II `[frequency, sample]`, float64."""
    k, i = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
    basis = torch.cos(math.pi * k.double() * (2 * i + 1) / (2 * n)) * math.sqrt(2 / n)
    basis[0] /= math.sqrt(2)
    return basis


def variances(n: int, rho: float) -> Tensor:
    """Variance of each coefficient of `n` samples of unit variance, correlated as rho^distance."""
    i = torch.arange(n).double()
    basis = cosines(n)
    return (basis @ (rho ** (i[:, None] - i).abs()) * basis).sum(1)


@dataclass(frozen=True)
class Channels:
    """What is expected of the channels of the input.

    Attributes:
        turn: combinations of channels that vary independently, orthonormal `[n, n]`.
        variance: of each, in units of `SAMPLE_VARIANCE` `[n]`.
    """

    turn: Tensor
    variance: Tensor

    def __len__(self) -> int:
        return len(self.variance)


def alike(count: int) -> Channels:
    """Channels that are much the same, such as colours."""
    return Channels(cosines(count), variances(count, RHO_CHANNELS))


def apart(count: int, variance: Tensor | None = None) -> Channels:
    """Channels that have nothing to do with each other, of these variances or of equal ones."""
    variance = torch.ones(count) if variance is None else variance
    return Channels(torch.eye(count).double(), variance.double())


@dataclass(frozen=True)
class Basis:
    """The coefficients that the channels of a stage hold, most important first.

    Attributes:
        index: frequency per axis, then per channel of the input `[n, axes + 1]`.
        std: expected standard deviation of each coefficient `[n]`.
        blocks: samples per axis that one feature covers.
        turn: of samples themselves, that of their channels, which are not turned yet.
    """

    index: Tensor
    std: Tensor
    blocks: tuple[int, ...]
    turn: Tensor | None = None


def basis(domain: Domain, channels: Channels, stride: Sequence[int], width: int) -> Basis:
    """At most `width` coefficients of blocks of `stride` samples with `channels`."""
    per_axis = [variances(f, RHO[a.kind]) for a, f in zip(domain.axes, stride, strict=True)]
    per_axis.append(channels.variance)
    expected = torch.ones(1, dtype=torch.float64)
    for variance in per_axis:
        expected = (expected[:, None] * variance).flatten()
    # Of mirrored frequencies neither comes first by the last digit, which processors differ in.
    ranks = expected.log().round(decimals=9)
    order = torch.argsort(ranks, descending=True, stable=True)[:width]
    index = torch.stack(torch.unravel_index(order, [len(v) for v in per_axis]), 1)
    return Basis(index, (expected[order] * SAMPLE_VARIANCE).sqrt(), tuple(stride))


def samples(domain: Domain, channels: Channels) -> Basis:
    """The input itself, as a stage of stride 1 in which nothing is scaled or turned."""
    identity = [[0] * len(domain.axes) + [c] for c in range(len(channels))]
    ones = torch.ones(len(channels)).double()
    return Basis(torch.tensor(identity), ones, (1,) * len(domain.axes), channels.turn)


def merge(fine: Basis, coarse: Basis) -> Tensor:
    """Coefficients of coarse blocks from those of the fine blocks inside them, in their units.

    `[prod(factors), coarse n, fine n]`, the first axis ordered as `Domain.fold` orders offsets.
    Its transpose is the way back, with the units exchanged.
    """
    n_axes = len(fine.blocks)
    product = torch.ones((), dtype=torch.float64)
    for axis, (big, small) in enumerate(zip(coarse.blocks, fine.blocks, strict=True)):
        turn = cosines(big).unflatten(1, (big // small, small)) @ cosines(small).T
        picked = turn[coarse.index[:, axis]][:, :, fine.index[:, axis]]  # [coarse, offset, fine]
        shape = [len(coarse.index), *[1] * n_axes, len(fine.index)]
        shape[1 + axis] = big // small
        product = product * picked.view(shape)
    c, f = coarse.index[:, -1], fine.index[:, -1]
    turn = torch.eye(int(max(c.max(), f.max())) + 1).double() if fine.turn is None else fine.turn
    product = product * turn[c][:, f].view(len(c), *[1] * n_axes, len(f))
    return product.flatten(1, n_axes).transpose(0, 1)


def analysis(fine: Basis, coarse: Basis) -> Tensor:
    """`merge` between coefficients in units of their deviations `[offset, coarse, fine]`."""
    return merge(fine, coarse) * fine.std / coarse.std[:, None]


def synthesis(coarse: Basis, fine: Basis) -> Tensor:
    """The way back, `[offset, fine, coarse]`."""
    return merge(fine, coarse).transpose(1, 2) * coarse.std / fine.std[:, None]


def neighbours(
    domain: Domain, channels: Channels, stage: Basis, known: int, kernel: Sequence[int]
) -> Tensor:
    """What the first `known` coefficients of a block and of those around it say about all of its
    coefficients: weights of a convolution `[coefficients, known, *kernel]`, in their units.

    It is the linear prediction of least squared error (Wiener) under the Markov model. What is
    known of the block itself stays as it is.
    """
    known = min(known, len(stage.index))
    offsets = list(itertools.product(*(range(-(k // 2), k // 2 + 1) for k in kernel)))
    couplings = [
        [_coupling(f, RHO[axis.kind], distance) for distance in range(k)]
        for axis, f, k in zip(domain.axes, stage.blocks, kernel, strict=True)
    ]
    same = stage.index[:, -1, None] == stage.index[:known, -1]
    channel = same * channels.variance[stage.index[:, -1], None] * SAMPLE_VARIANCE
    unit = stage.std[:, None] * stage.std[:known]

    @functools.cache
    def covariance(*distance: int) -> Tensor:
        """Of all coefficients of a block with those known of another `[coefficients, known]`."""
        result = channel / unit
        for axis, steps in enumerate(distance):
            table = couplings[axis][abs(steps)]
            here = (table if steps >= 0 else table.T)[stage.index[:, axis]]
            result = result * here[:, stage.index[:known, axis]]
        return result

    def seen_from(here: Sequence[int]) -> Tensor:
        """The same with what is known of every block `[coefficients, offsets * known]`."""
        distances = ([b - a for a, b in zip(here, there, strict=True)] for there in offsets)
        return torch.cat([covariance(*distance) for distance in distances], 1)

    among = torch.cat([seen_from(offset)[:known] for offset in offsets])
    wanted = seen_from([0] * len(kernel))
    weights = torch.linalg.solve(among, wanted.T).T.unflatten(1, (len(offsets), known))
    return weights.transpose(1, 2).unflatten(2, tuple(kernel))


def _coupling(n: int, rho: float, distance: int) -> Tensor:
    """Covariance of the coefficients of a block of `n` samples of unit variance with those of the
    block `distance` blocks further on `[frequency here, frequency there]`."""
    i = torch.arange(n).double()
    apart = (i[:, None] - (i + distance * n)).abs()
    return cosines(n) @ rho**apart @ cosines(n).T


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
        alike = _coupling(frames, rho, step + 1).diag() / variances(frames, rho)
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
