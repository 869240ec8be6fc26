"""p(x | latents): how far a decoded sample is from the input."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

CHARBONNIER_EPSILON = 0.01  # about one grey value of 256, on the scale of [-1, 1]
LEAST_VARIANCE = 1e-4  # of a fitted scale: 46 dB, beyond which a sample pulls no harder


class Likelihood(nn.Module):
    """Negative log-likelihood of the input, with the decoder's output as its centre.

    `mse`, `l1` and `charbonnier` are plain errors of fixed scale. `gaussian` and `laplace` learn
    one scale for all values. `fitted` is a Gaussian whose variance is each sample's own mean
    squared error (Rybkin, Daniilidis & Levine 2021, sigma-VAE): a decibel counts the same in every
    sample, so this is the one that optimises mean PSNR. The last three are nats per input value,
    of a density, so they may be negative.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.nats = {
            "mse": self._mse,
            "l1": self._l1,
            "charbonnier": self._charbonnier,
            "gaussian": self._gaussian,
            "laplace": self._laplace,
            "fitted": self._fitted,
        }[kind]
        scaled = kind in ("gaussian", "laplace")
        self.log_scale = nn.Parameter(torch.tensor(-1.5)) if scaled else None

    def forward(self, decoded: Tensor, x: Tensor) -> Tensor:
        """`[B, C, *axes]` in [-1, 1], twice -> mean over all values, per sample `[B]`, float32."""
        return self.nats(decoded.float() - x.float())

    def _mse(self, error: Tensor) -> Tensor:
        return _mean(error.square())

    def _l1(self, error: Tensor) -> Tensor:
        return _mean(error.abs())

    def _charbonnier(self, error: Tensor) -> Tensor:
        return _mean((error.square() + CHARBONNIER_EPSILON**2).sqrt()) - CHARBONNIER_EPSILON

    def _gaussian(self, error: Tensor) -> Tensor:
        precision = torch.exp(-2 * self.log_scale)
        return self._mse(error) * precision / 2 + self.log_scale + math.log(2 * math.pi) / 2

    def _laplace(self, error: Tensor) -> Tensor:
        return self._l1(error) * torch.exp(-self.log_scale) + self.log_scale + math.log(2)

    def _fitted(self, error: Tensor) -> Tensor:
        variance = self._mse(error) + LEAST_VARIANCE
        return (torch.log(variance) + math.log(2 * math.pi * math.e)) / 2


def _mean(values: Tensor) -> Tensor:
    """Over all axes but the batch; no copy, whatever the order in memory."""
    return values.mean(tuple(range(1, values.ndim)))
