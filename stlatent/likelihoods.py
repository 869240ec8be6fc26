"""p(x | latents): how far a decoded sample is from the input."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

CHARBONNIER_EPSILON = 0.01  # half a grey value of 256 on the scale of [-1, 1]: see Charbonnier 1994


class Likelihood(nn.Module):
    """Negative log-likelihood of the input, with the decoder's output as its centre.

    `gaussian` and `laplace` learn one scale for all values and give nats per input value (of a
    density: it may be negative). `mse`, `l1` and `charbonnier` have a fixed scale and are plain
    errors, for which the rate weight sets the trade-off alone.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.error, self.scaled = {
            "mse": (torch.square, False),
            "l1": (torch.abs, False),
            "charbonnier": (_charbonnier, False),
            "gaussian": (torch.square, True),
            "laplace": (torch.abs, True),
        }[kind]
        self.power = 2 if kind == "gaussian" else 1
        self.log_scale = nn.Parameter(torch.tensor(-1.5)) if self.scaled else None

    def forward(self, decoded: Tensor, x: Tensor) -> Tensor:
        """`[B, C, *axes]` in [-1, 1], twice -> mean over all values, per sample `[B]`."""
        error = self.error(decoded.float() - x.float()).flatten(1).mean(1)
        if self.log_scale is None:
            return error
        # gaussian: e² / 2 s² + log s + log(2 pi) / 2;  laplace: |e| / s + log s + log 2
        constant = math.log(2 * math.pi) / 2 if self.power == 2 else math.log(2)
        return error * torch.exp(-self.power * self.log_scale) / self.power + (
            self.log_scale + constant
        )


def _charbonnier(error: Tensor) -> Tensor:
    return (error.square() + CHARBONNIER_EPSILON**2).sqrt() - CHARBONNIER_EPSILON
