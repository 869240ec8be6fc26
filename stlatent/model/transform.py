"""The linear code that a ladder starts as, in numbers; `initial.py` writes it into weights.

Each stage begins as a truncated discrete cosine transform of the block of samples that one of its
features covers: channel i of a stage holds the i-th most important coefficient, in units of its
expected standard deviation. A level codes what the coarser ones left over, a Laplacian pyramid
(Burt & Adelson 1983) in the coordinates of its own block:

    e = D x          q(z).mean = first channels of (e - h)          h ← h + z          x̂ = Dᵀ h

Importance is the variance of a coefficient under a first-order Markov model of neighbouring samples
with correlation rho^distance, separable over axes (Ahmed, Natarajan & Rao 1974); `Channels` says
what is expected of those. No data are needed.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .domain import Domain

RHO = {"space": 0.97, "causal": 0.9, "index": 0.0}  # correlation of neighbours, by kind of axis
RHO_CHANNELS = 0.95
SAMPLE_VARIANCE = 0.25  # of values in [-1, 1]


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
        [coupling(f, RHO[axis.kind], distance) for distance in range(k)]
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


def coupling(n: int, rho: float, distance: int) -> Tensor:
    """Covariance of the coefficients of a block of `n` samples of unit variance with those of the
    block `distance` blocks further on `[frequency here, frequency there]`."""
    i = torch.arange(n).double()
    apart = (i[:, None] - (i + distance * n)).abs()
    return cosines(n) @ rho**apart @ cosines(n).T
