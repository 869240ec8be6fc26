"""Training of what priors remember and of nothing else, on a model that is trained.

Latents and decoder stay as they are, to the last digit, and so does every figure of quality; what
falls is the rate. Nothing is decoded, so a step takes less than half as long.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from ..checkpoint import Model
from ..model.choose import Draw
from ..model.domain import Domain
from ..model.gaussian import BITS_PER_NAT
from ..model.recall import Recall
from .task import Loss, Moment


class Rates(nn.Module):
    """What the latents of a model cost, of which nothing is to be trained but its memory."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        for part in model.modules():
            if isinstance(part, Recall):
                part.requires_grad_(True)

    def forward(self, x: Tensor, choose: Draw) -> list[Tensor]:
        """Nats of each level of samples `[B, C, *axes]`: `[B]`."""
        return [nats.sum(1) for nats in self.model.encode(x, choose).kl]

    def train(self, mode: bool = True) -> Rates:
        """A model whose latents stay is always in use."""
        return self


def recall_loss(network: nn.Module, model: Model, x: Tensor, at: Moment) -> Loss:
    """The rate of samples, in nats per latent number.

    Args:
        network: `Rates` of `model`, or its wrapper where several processes train.
    """
    nats = network(x, Draw(generator=at.own_noise()))
    numbers = sum(math.prod(shape) for shape in model.latent_shape(x.shape[2:]))
    bits = [level.detach().mean() * BITS_PER_NAT / x[0].numel() for level in nats]
    return Loss(sum(level.mean() for level in nats) / numbers, {"rate_bits": bits})


def held_still(domain: Domain, x: Tensor, steps: int, batch: int) -> Tensor:
    """Samples `[B, C, *axes]`; of those of a single step in time, `batch` of them, each repeated to
    `steps`."""
    return x if domain.of_time(x.shape[2:]) > 1 else domain.joined([x[:batch]] * steps)
