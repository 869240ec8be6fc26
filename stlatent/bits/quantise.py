"""Ways to choose a latent that a stream of bits can tell: one that writes it, one that reads it.

A Gaussian latent is rounded to steps from its prior's mean (Duan et al. 2023, QRes-VAE), so a
latent of which the input says nothing is the prior's mean exactly:

    z = prior.mean + step * k,    k about (posterior.mean - prior.mean) / step

and P(k) is what the prior, moved to 0, has between k - 1/2 and k + 1/2 steps. k is the best integer
for error and bits together, see `cheapest`. Of codecs, whose noise is that of rounding, it is the
nearest one, but for the finest level that is told: what coarser ones leave out, finer ones and
later frames have to tell. Of latents that are codes the index is told, bit by bit, each under the
odds that the prior gives its two branches; marks of a sparse level are told under those that it
gives them.

What an exact level stands for is rounded to the steps of 8-bit values, and told from the step that
lies nearest to what the coarser levels decode to: 8-bit pixels come back bit for bit, other values
to half a step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..model.choose import Cut, Distribution, Site, whole
from ..model.codebook import CodePrior, Codes, vectors
from ..model.exact import PRECISION, Exactly, Noise
from ..model.gaussian import BITS_PER_NAT, Gaussian, Rounded
from ..sparse.marks import MarkPrior, Marks
from .entropy import EDGE, EXCESS, MismatchError, StreamReader, StreamWriter

# Rounding to these steps, in deviations of the posterior, makes as much noise as the posterior's
# own, which is what the decoder was trained with.
STEP = math.sqrt(12)
LEAST_MASS = 2.0**-24  # that the coder can give to a symbol
PRICE = math.log(2) / 6  # of a bit, in squared steps: what one saves where steps are small
OF_CODECS = 1 / 3  # of it, on their finest level

Steps = Mapping[Site, Tensor]  # [C] of each group that is not codes


class CodedStream(NamedTuple):
    """What has been written of one level in one chunk.

    Attributes:
        content: the stream.
        bits: -log2 of the probabilities that the priors gave to the symbols.
        tolerance: by how much logarithms of prior deviations (of odds, of codes), in nats, may
            differ where it is read.
    """

    content: bytes
    bits: float
    tolerance: float


class Writing:
    """Chooses rounded latents and writes them; batches of one.

    A step is `step` posterior deviations wide: for each channel, their geometric mean over the
    first chunk. The prior's deviation would not do: a latent that its prior knows needs no bits.

    Args:
        step: per level.
        steps: those of the chunks before.
        scales: how much wider they are in this one, per level; None does not tell a level, whose
            latents are the prior's means.

    Attributes:
        steps: of each group and channel; since the first chunk, unless they are known before it.
    """

    def __init__(
        self,
        step: Sequence[float],
        steps: Steps | None = None,
        scales: Sequence[float | None] | None = None,
    ) -> None:
        self.step, self.scales = step, scales or [1.0] * len(step)
        told = (level for level, scale in enumerate(self.scales) if scale is not None)
        self._finest = max(told, default=None)
        self.steps: dict[Site, Tensor] = dict(steps or {})
        self._begin()

    def _begin(self) -> None:
        self._streams = [StreamWriter() for _ in self.step]
        self._bits = [0.0 for _ in self.step]

    def end_chunk(self, before: Sequence[bytes] | None = None) -> list[CodedStream]:
        """The chunk just written, per level; what follows goes to new streams.

        Args:
            before: per level, what lies before the stream and is covered by its check.
        """
        befores = before or [b""] * len(self.step)
        done = [
            CodedStream(writer.to_bytes(one), bits, writer.tolerance)
            for writer, bits, one in zip(self._streams, self._bits, befores, strict=True)
        ]
        self._begin()
        return done

    def __call__(self, site: Site, posterior: Distribution | None, prior: Distribution) -> Tensor:
        if isinstance(posterior, Marks):
            return self._marks(site, posterior, prior)
        stepless = isinstance(posterior, Codes | Exactly)
        if not stepless and site not in self.steps:
            mean = posterior.log_std.transpose(0, 1).flatten(1).mean(1)
            self.steps[site] = (self.step[site.level] * mean.exp()).bfloat16().cpu()
        if self.scales[site.level] is None:
            return prior.walk(lambda part, _: part.mean)
        if stepless:
            write = self._code if isinstance(posterior, Codes) else self._exactly
            return write(site, posterior, prior)
        price = self._price(site, posterior)
        return prior.walk(lambda part, cut: self._round(site, posterior.cut(cut), part, price))

    def _price(self, site: Site, posterior: Gaussian) -> float:
        """Of a bit, in squared steps; measured, see docs/studies.md."""
        if not isinstance(posterior, Rounded):
            return PRICE
        return OF_CODECS * PRICE if site.level == self._finest else 0.0

    def _round(self, site: Site, posterior: Gaussian, prior: Gaussian, price: float) -> Tensor:
        step = self.scales[site.level] * _along_channels(self.steps[site], prior)
        log_scale = prior.log_std - step.log()
        values = (posterior.mean - prior.mean) / step
        symbols, mass = cheapest(values, log_scale, price)
        self._numbers(site, symbols, _log_scale(prior, step), mass)
        return prior.mean + step * symbols

    def _exactly(self, site: Site, posterior: Exactly, prior: Noise) -> Tensor:
        symbols = _grid(prior.values(posterior.mean)) - _grid(prior.centre)
        log_scale = _log_steps(prior)
        self._numbers(site, symbols, _flat(log_scale), bin_mass(symbols, log_scale))
        return _on_grid(prior, symbols)

    def _numbers(self, site: Site, symbols: Tensor, log_scale: np.ndarray, mass: Tensor) -> None:
        furthest = symbols.abs().max().item()
        if not furthest < EDGE + EXCESS:  # nor is NaN
            raise ValueError(
                f"latents of level {site.level} lie up to {furthest:.3g} steps from their prior's "
                f"mean, and {EDGE + EXCESS} can be written; give a step larger than "
                f"{self.step[site.level]:g}"
            )
        self._streams[site.level].numbers(log_scale, _flat(symbols))
        self._bits[site.level] -= _sum_bits(mass.log())

    def _marks(self, site: Site, posterior: Marks, prior: MarkPrior) -> Tensor:
        self._streams[site.level].bits(_flat(prior.logits), _flat(posterior.mean))
        self._bits[site.level] += _sum_bits(posterior.kl(prior))
        return posterior.mean

    def _code(self, site: Site, posterior: Codes, prior: CodePrior) -> Tensor:
        tree, indices = _tree(prior.logits), _flat(posterior.indices)
        path = np.zeros_like(indices)
        for height, nodes in reversed(list(enumerate(tree))):
            bits = self._streams[site.level].bits(_odds(nodes, path), indices >> height & 1)
            path = 2 * path + bits
        self._bits[site.level] += _sum_bits(posterior.kl(prior))
        return vectors(posterior.indices, prior.table)


class Reading:
    """Chooses what the streams of the first levels say; batches of one.

    Args:
        steps: as written.
        last_group: of each level, marks counted as one.
        remembering: whether they were written under priors with memory, where the model has such.
    """

    def __init__(self, steps: Steps, last_group: Sequence[int], remembering: bool = True) -> None:
        self.steps, self.last_group, self.remembering = steps, last_group, remembering
        self.start(())

    def start(
        self, streams: Sequence[StreamReader], scales: Sequence[float | None] | None = None
    ) -> None:
        """Begin a chunk: one stream for each level to be read; `scales` as for `Writing`."""
        self.streams, self.scales = streams, scales or [1.0] * len(streams)

    def __call__(self, site: Site, posterior: Distribution | None, prior: Distribution) -> Tensor:
        try:
            z = self._told(site, prior)
            if site.group == self.last_group[site.level]:
                self.streams[site.level].verify()
        except MismatchError:
            raise MismatchError(site.level) from None
        return z

    def _told(self, site: Site, prior: Distribution) -> Tensor:
        untold, stream = self.scales[site.level] is None, self.streams[site.level]
        if isinstance(prior, MarkPrior):
            bits = torch.from_numpy(stream.bits(_flat(prior.logits)))
            return bits.view_as(prior.logits).bool().to(prior.logits.device)

        def pick(prior: Distribution, _: Cut) -> Tensor:
            return prior.mean if untold else self._read(stream, site, prior)

        return prior.walk(pick) if self.remembering else pick(prior, whole)

    def _read(self, stream: StreamReader, site: Site, prior: Distribution) -> Tensor:
        if isinstance(prior, CodePrior):
            return vectors(self._indices(stream, prior), prior.table)
        if isinstance(prior, Noise):
            return _on_grid(prior, self._numbers(stream, _flat(_log_steps(prior)), prior))
        step = self.scales[site.level] * _along_channels(self.steps[site], prior)
        return prior.mean + step * self._numbers(stream, _log_scale(prior, step), prior)

    def _numbers(self, stream: StreamReader, log_scale: np.ndarray, like: Gaussian) -> Tensor:
        symbols = torch.from_numpy(stream.numbers(log_scale))
        return symbols.view(like.mean.shape).to(like.mean)

    def _indices(self, stream: StreamReader, prior: CodePrior) -> Tensor:
        """Codes `[1, depth, *grid]`."""
        _, depth, size, *grid = prior.logits.shape
        path = np.zeros(depth * math.prod(grid), np.int64)
        for nodes in reversed(_tree(prior.logits)):
            path = 2 * path + stream.bits(_odds(nodes, path))
        indices = torch.from_numpy(path).view(1, depth, *grid).to(prior.logits.device)
        return indices.clamp(max=size - 1)  # garbage, until it is verified, may be anything


def _sum_bits(nats: Tensor) -> float:
    return BITS_PER_NAT * nats.cpu().double().sum().item()


def cheapest(values: Tensor, log_scale: Tensor, price: float) -> tuple[Tensor, Tensor]:
    """The nearest integers k or those one nearer to 0, whichever have the lesser
    (value - k)^2 + price * bits(k), and their probability under N(0, exp(log_scale))."""
    symbols = values.round()
    mass = bin_mass(symbols, log_scale)
    if not price:
        return symbols, mass
    lower = symbols - symbols.sign()
    lower_mass = bin_mass(lower, log_scale)
    saved = lower_mass.log2() - mass.log2()
    lost = (values - lower).square() - (values - symbols).square()
    cheaper = price * saved.to(lost) > lost
    return torch.where(cheaper, lower, symbols), torch.where(cheaper.cpu(), lower_mass, mass)


def bin_mass(symbols: Tensor, log_scale: Tensor) -> Tensor:
    """Probability of the integers `symbols`, rounded values of N(0, exp(log_scale)); float64."""
    size, scale = symbols.cpu().double().abs(), log_scale.cpu().double().exp() * math.sqrt(2)
    inner, outer = (size - 0.5) / scale, (size + 0.5) / scale
    mass = 0.5 * (torch.special.erfc(inner) - torch.special.erfc(outer))
    return mass.clamp(min=LEAST_MASS)


def _along_channels(step: Tensor, prior: Gaussian) -> Tensor:
    return step.to(prior.mean).view(1, -1, *[1] * (prior.mean.ndim - 2))


def _log_scale(prior: Gaussian, step: Tensor) -> np.ndarray:
    return _flat(prior.log_std.cpu().double() - step.cpu().double().log())


def _log_steps(prior: Noise) -> Tensor:
    """Logarithm of the deviation of what is left over, in steps of 8-bit values; float64."""
    return prior.log_scale.cpu().double() - math.log(PRECISION)


def _grid(values: Tensor) -> Tensor:
    """Values as whole numbers of steps of 8 bits, counted from -1."""
    return ((values + 1) / PRECISION).round()


def _on_grid(prior: Noise, symbols: Tensor) -> Tensor:
    """Latents of the values so many steps from the nearest one to what is decoded."""
    values = (_grid(prior.centre) + symbols) * PRECISION - 1
    return prior.exactly(values).mean


def _flat(x: Tensor) -> np.ndarray:
    return x.flatten().cpu().numpy()


def _tree(logits: Tensor) -> list[Tensor]:
    """Logarithms of the weights of all nodes of a binary tree over the codes, root not included:
    `[positions, pairs, 2]` each, the leaves first. `logits` are `[1, depth, size, *grid]`."""
    leaves = logits.movedim(2, -1).flatten(0, -2).float()
    size = leaves.shape[1]
    nodes = F.pad(leaves, (0, (1 << (size - 1).bit_length()) - size), value=-math.inf)
    tree = [nodes.unflatten(1, (-1, 2))]
    while tree[-1].shape[1] > 1:
        tree.append(torch.logaddexp(*tree[-1].unbind(2)).unflatten(1, (-1, 2)))
    return tree


def _odds(nodes: Tensor, path: np.ndarray) -> np.ndarray:
    """Logarithms of the odds of the right branch, where `path` [positions] has led."""
    pair = nodes[torch.arange(len(nodes)), torch.from_numpy(path).to(nodes.device)]
    return _flat((pair[:, 1] - pair[:, 0]).nan_to_num(0.0))  # NaN beyond the last code
