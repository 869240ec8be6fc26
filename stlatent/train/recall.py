"""Training of what priors remember and of nothing else, on a model that is trained.

Latents and decoder stay as they are, to the last digit, and so does every figure of quality; what
falls is the rate. Nothing is decoded, so a step takes less than half as long.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..checkpoint import Model
from ..model.around import ladder_in
from ..model.choose import Cut, Draw, Site
from ..model.domain import Domain
from ..model.gaussian import BITS_PER_NAT, STEP_STDS, Gaussian, Rounded
from ..model.passes import by_level
from ..model.past import Past
from ..model.recall import Recall
from .processes import Batches
from .task import Loss, Moment


class Rates(nn.Module):
    """What the latents of a model cost, of which nothing is to be trained but its memory."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        for part in model.modules():
            if isinstance(part, Recall):
                part.requires_grad_(True)

    def forward(
        self, x: Tensor, noise: torch.Generator, rate_weights: Tensor | None = None
    ) -> list[Tensor]:
        """Nats of each level of samples `[B, C, *axes]`: `[B]`.

        rate_weights: λ of each sample `[B]`, of a model that takes it.
        """
        rounded = self.model.config.posterior.kind == "rounded"
        past = None if rate_weights is None else Past()
        if past is not None:
            ladder_in(self.model).tell(past, len(x), rate_weights)
        choose = as_coded if rounded else Draw(generator=noise)
        steps = self.model.encode(x, choose, past).steps
        nats = [
            step.posterior.told(step.z, step.prior) if rounded else step.posterior.kl(step.prior)
            for step in steps
        ]
        by_group = [one.flatten(1).sum(1, keepdim=True) for one in nats]
        return [level.sum(1) for level in by_level(steps, by_group)]

    def train(self, mode: bool = True) -> Rates:
        """A model whose latents stay is always in use."""
        return self


@torch.no_grad()
def as_coded(site: Site, posterior: Rounded, prior: Gaussian) -> Tensor:
    """Choose what entropy coding writes: a whole number of steps from the mean of a prior that
    knows what was written before. Noise in its place would never be still, and memory would learn
    to expect that. Rounded to the nearest: a prior that knew little would gain by telling less."""

    def pick(part: Gaussian, cut: Cut) -> Tensor:
        own = posterior.cut(cut)
        step = STEP_STDS * own.std
        return part.mean + step * ((own.mean - part.mean) / step).round()

    return prior.walk(pick)


def recall_loss(network: nn.Module, model: Model, x: Tensor, at: Moment) -> Loss:
    """The rate of samples, in nats per latent number.

    Args:
        network: `Rates` of `model`, or its wrapper where several processes train.
    """
    batches, rates = Batches(len(x), at), model.config.rate
    weights = rates.draw(batches.samples, at.noise)[batches.own] if rates else None
    nats = network(x, at.own_noise(), weights)
    numbers = sum(math.prod(shape) for shape in model.latent_shape(x.shape[2:]))
    bits = [level.detach().mean() * BITS_PER_NAT / x[0].numel() for level in nats]
    return Loss(sum(level.mean() for level in nats) / numbers, {"rate_bits": bits})


def held_still(domain: Domain, x: Tensor, steps: int, batch: int) -> Tensor:
    """Samples `[B, C, *axes]`; of those of a single step in time, `batch` of them, each repeated to
    `steps`."""
    return x if domain.of_time(x.shape[2:]) > 1 else domain.joined([x[:batch]] * steps)
