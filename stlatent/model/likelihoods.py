"""p(x | latents): how far what a decoder gives is from the input.

The decoder's output holds the `parameters` of a distribution of every input value; the
decoded sample is its `mean`. Calling a likelihood gives -log p in nats per input value, or a plain
error where the table says so:

    mse, l1, charbonnier    errors                    sdf                errors near a surface
    gaussian, laplace       densities of [-1, 1]      occupancy          inside or outside, in nats
    fitted                  the same, best scale      bernoulli          binary values, in nats
    logistic_mixture        8-bit values, in nats

Of planes that stand for a field, the field is judged, at points: see `triplane/fields.py`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .kinds import LikelihoodConfig

CHARBONNIER_EPSILON = 0.01  # about one grey value of 256, on the scale of [-1, 1]
LEAST_VARIANCE = 1e-4  # of a fitted scale: 46 dB, beyond which a sample pulls no harder
MIXTURES = 10
LEAST_LOG_SCALE = -7.0
GREY = 1 / 127.5  # one step of 8-bit values in [-1, 1]
SHARPNESS = 8.0  # of the step from inside to outside, per truncation distance
COLOUR_BAND = 0.5  # colours count where the distance is below this part of its truncation


class Likelihood(nn.Module):
    """Base of all kinds.

    Attributes:
        parameter_channels: of the decoder's output, for `channels` input channels.
        counts: whether the result is a probability of discrete values: then bits per dimension are
            comparable between models. A density may be negative; an error is no likelihood.
        density: whether it is at least a normalised density.
        copies: how often the sample itself stands at the beginning of `parameters`.
    """

    counts = density = False
    copies = 1

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.parameter_channels = channels

    def extra_repr(self) -> str:
        return f"parameter_channels={self.parameter_channels}"

    def neutral(self) -> Tensor:
        """What a new decoder gives besides the sample itself `[parameter_channels]`."""
        return torch.zeros(self.parameter_channels)

    def mean(self, parameters: Tensor) -> Tensor:
        """The decoded sample: `[B, parameter_channels, *axes] -> [B, C, *axes]`."""
        return parameters

    def forward(self, parameters: Tensor, x: Tensor) -> Tensor:
        """From `parameters` `[B, parameter_channels, *axes]` and the input `[B, C, *axes]` in
        [-1, 1]: per sample `[B]`, float32: mean over all input values."""
        return _mean(self.values(parameters.float(), x.float()))

    def values(self, parameters: Tensor, x: Tensor) -> Tensor:
        """The same per value, in any shape `[B, ...]`."""
        raise NotImplementedError


class Mse(Likelihood):
    """Squared errors."""

    def values(self, parameters: Tensor, x: Tensor) -> Tensor:
        return (parameters - x).square()


class L1(Likelihood):
    """Absolute errors."""

    def values(self, parameters: Tensor, x: Tensor) -> Tensor:
        return (parameters - x).abs()


class Charbonnier(Likelihood):
    """Absolute errors, rounded off near 0: sqrt(error^2 + epsilon^2) - epsilon."""

    def values(self, parameters: Tensor, x: Tensor) -> Tensor:
        return ((parameters - x).square() + CHARBONNIER_EPSILON**2).sqrt() - CHARBONNIER_EPSILON


class Scaled(Likelihood):
    """One scale for all values: given, or learned."""

    density = True

    def __init__(self, channels: int, scale: float | None = None) -> None:
        super().__init__(channels)
        if scale is None:
            self.log_scale = nn.Parameter(torch.tensor(-1.5))
        else:
            self.register_buffer("log_scale", torch.tensor(math.log(scale)))


class GaussianLikelihood(Scaled):
    """A normal density around the decoded sample."""

    def values(self, parameters: Tensor, x: Tensor) -> Tensor:
        offset = (parameters - x) * torch.exp(-self.log_scale)
        return offset.square() / 2 + self.log_scale + math.log(2 * math.pi) / 2


class LaplaceLikelihood(Scaled):
    """A Laplace density around the decoded sample."""

    def values(self, parameters: Tensor, x: Tensor) -> Tensor:
        return (parameters - x).abs() * torch.exp(-self.log_scale) + self.log_scale + math.log(2)


class FittedLikelihood(Likelihood):
    """A Gaussian whose variance is each sample's own mean squared error (Rybkin, Daniilidis &
    Levine 2021, sigma-VAE): a decibel counts the same in every sample, so this is the one that
    optimises mean PSNR."""

    density = True

    def values(self, parameters: Tensor, x: Tensor) -> Tensor:
        variance = _mean((parameters - x).square()) + LEAST_VARIANCE
        return (torch.log(variance[:, None]) + math.log(2 * math.pi * math.e)) / 2


class Bernoulli(Likelihood):
    """Values are -1 or 1, or in between as probabilities of 1; parameters are logits."""

    counts = density = True

    def mean(self, parameters: Tensor) -> Tensor:
        return torch.tanh(parameters / 2)  # 2 sigmoid(parameters) - 1

    def values(self, parameters: Tensor, x: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(parameters, (x + 1) / 2, reduction="none")


class LogisticMixture(Likelihood):
    """8-bit values under a mixture of discretised logistics, whose means depend on the channels
    before (Salimans et al. 2017, PixelCNN++), for any number of channels and axes.

    Of each of 10 components there are: the means of all channels, their log-scales, one coefficient
    per pair of channels, one weight; components of one kind stand together.
    """

    counts = density = True
    copies = MIXTURES

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.channels = channels
        self.pairs = [(c, before) for c in range(channels) for before in range(c)]
        self.parameter_channels = MIXTURES * (1 + 2 * channels + len(self.pairs))

    def neutral(self) -> Tensor:
        """Components differ in scale alone, from two grey values to a quarter of all."""
        scales = torch.linspace(-4.5, -1.5, MIXTURES).repeat_interleave(self.channels)
        means = MIXTURES * self.channels
        rest = self.parameter_channels - 2 * means
        return torch.cat([torch.zeros(means), scales, torch.zeros(rest)])

    def mean(self, parameters: Tensor) -> Tensor:
        """Of the likeliest component, each channel given the means of those before."""
        weights, means, _, pairs = self._parts(parameters)
        best = weights.argmax(1, keepdim=True)
        means = [m.gather(1, best)[:, 0] for m in means.unbind(1)]
        out: list[Tensor] = []
        for c in range(self.channels):
            value = means[c]
            for i, (channel, before) in enumerate(self.pairs):
                if channel == c:
                    value = value + pairs[:, i].gather(1, best)[:, 0] * out[before]
            out.append(value.clamp(-1, 1))
        return torch.stack(out, 1)

    def values(self, parameters: Tensor, x: Tensor) -> Tensor:
        weights, means, log_scales, pairs = self._parts(parameters)
        x = x.unsqueeze(2)  # [B, C, 1, *axes], beside [B, C, mixtures, *axes]
        means = list(means.unbind(1))
        for i, (channel, before) in enumerate(self.pairs):
            means[channel] = means[channel] + pairs[:, i] * x[:, before]
        log_p = log_mass(x, torch.stack(means, 1), log_scales).sum(1)
        nats = -torch.logsumexp(log_p + F.log_softmax(weights, 1), 1)
        return nats / self.channels

    def _parts(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Weights `[B, K, *axes]`, means and log-scales `[B, C, K, *axes]`, coefficients
        `[B, pairs, K, *axes]`."""
        sizes = [MIXTURES * n for n in (self.channels, self.channels, len(self.pairs), 1)]
        kinds = [
            part.unflatten(1, (MIXTURES, -1)).transpose(1, 2) if part.shape[1] else part[:, None]
            for part in parameters.float().split(sizes, 1)
        ]
        means, log_scales, pairs, weights = kinds
        return weights[:, 0], means, log_scales.clamp_min(LEAST_LOG_SCALE), torch.tanh(pairs)


def log_mass(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """log of a logistic's mass in the 8-bit step around `x`; the ends reach to infinity."""
    inverse, offset = torch.exp(-log_scale), x - mean
    upper, lower = (offset + GREY / 2) * inverse, (offset - GREY / 2) * inverse
    # log(sigmoid(u) - sigmoid(l)) = logsigmoid(u) + logsigmoid(-l) + log(1 - e^(l - u))
    width = (GREY * inverse).clamp_min(1e-12)
    inside = F.logsigmoid(upper) + F.logsigmoid(-lower) + torch.log(-torch.expm1(-width))
    last = torch.where(x > 1 - GREY / 2, F.logsigmoid(-lower), inside)
    return torch.where(x < -1 + GREY / 2, F.logsigmoid(upper), last)


class Sdf(Likelihood):
    """Channel 0 is a signed distance, truncated to [-1, 1]; any others are colours.

    Errors of the distance are weighed so that the band around the surface counts as much as all the
    rest, and beyond the truncation only the sign is asked for. To that comes how far the insides do
    not overlap (the soft Dice coefficient of Milletari et al. 2016, V-Net, equation 1), without
    which what is thin would be left out. Colours count near the surface,
    where they are known: an input of exactly 0 in all of them, which no 8-bit colour is, is not.
    """

    def values(self, parameters: Tensor, x: Tensor) -> Tensor:
        distance = x[:, :1]
        error = (parameters[:, :1].clamp(-1, 1) - distance).abs()
        # a clamped output has no gradient: pull it back softly
        error = error + 0.1 * (parameters[:, :1].abs() - 1).clamp_min(0)
        band = distance.abs() < 1
        near = (error * band).flatten(1).sum(1) / band.flatten(1).sum(1).clamp_min(1)
        total = near + _mean(error) + _apart(parameters[:, :1], distance)
        if x.shape[1] > 1:
            shown = (distance.abs() < COLOUR_BAND) & (x[:, 1:] != 0).any(1, keepdim=True)
            error = ((parameters[:, 1:] - x[:, 1:]).abs() * shown).flatten(1).sum(1)
            total = total + error / (shown.flatten(1).sum(1) * (x.shape[1] - 1)).clamp_min(1)
        return total[:, None]


def _apart(a: Tensor, b: Tensor) -> Tensor:
    """Of two distances `[B, 1, *axes]`: 0 where their insides agree, 1 where they do not meet."""
    a, b = (torch.sigmoid(-SHARPNESS * distance).flatten(1) for distance in (a, b))
    return 1 - 2 * (a * b).sum(1) / (a.square() + b.square()).sum(1).clamp_min(1e-6)


class Occupancy(Bernoulli):
    """Channel 0 says inside (1) or outside (-1), and its parameter is the logit; any others are
    colours, which count inside."""

    counts = density = False  # of colours there are only errors

    def mean(self, parameters: Tensor) -> Tensor:
        return torch.cat([super().mean(parameters[:, :1]), parameters[:, 1:]], 1)

    def values(self, parameters: Tensor, x: Tensor) -> Tensor:
        nats = super().values(parameters[:, :1], x[:, :1])
        if x.shape[1] == 1:
            return nats
        colours = (parameters[:, 1:] - x[:, 1:]).abs() * (x[:, :1] > 0)
        return torch.cat([nats, colours], 1)


KINDS = {
    "mse": Mse,
    "l1": L1,
    "charbonnier": Charbonnier,
    "gaussian": GaussianLikelihood,
    "laplace": LaplaceLikelihood,
    "fitted": FittedLikelihood,
    "bernoulli": Bernoulli,
    "logistic_mixture": LogisticMixture,
    "sdf": Sdf,
    "occupancy": Occupancy,
}


def make_likelihood(config: LikelihoodConfig, channels: int) -> Likelihood:
    """The likelihood that a config asks for, of inputs of so many channels."""
    return KINDS[config.kind](channels, **config.model_dump(exclude={"kind"}))


def _mean(values: Tensor) -> Tensor:
    """Over all axes but the batch; no copy, whatever the order in memory."""
    return values.mean(tuple(range(1, values.ndim)))
