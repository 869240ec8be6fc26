"""The small loop: a ladder on tensors in memory, for studies and for data of one's own."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..checkpoint import Model
from ..losses.elbo import LossConfig, Objective
from ..losses.regularisers import SpectralPenalty
from .config import OptimiserConfig
from .loss import batch_loss
from .optimiser import AveragedWeights, StepGuard, learning_rate

Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Shuffled:
    """One pass over samples in memory, in another random order each time.

    Attributes:
        samples: `[N, ...]`, of any type.
        size: of a batch; the last one may be smaller.
        enter: makes of samples `[n, ...]` what the model reads.
    """

    samples: Tensor
    size: int
    generator: torch.Generator
    enter: Callable[[Tensor], Tensor] = lambda x: x

    def __iter__(self) -> Iterator[Tensor]:
        order = torch.randperm(len(self.samples), generator=self.generator)
        for rows in order.split(self.size):
            yield self.enter(self.samples[rows])


@dataclass(frozen=True)
class Fitted:
    """What `fit` leaves.

    Attributes:
        model: averaged weights, in evaluation mode.
        losses: of every step.
        skipped: steps whose gradient was not finite or far too long.
        seconds: of training.
    """

    model: Model
    losses: list[float]
    skipped: int
    seconds: float


def fit(
    ladder: Model,
    batches: Iterable[Tensor],
    loss: LossConfig,
    optimiser: OptimiserConfig,
    steps: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    precision: Precision = "fp32",
    watch: Callable[[int, Objective], None] | None = None,
) -> Fitted:
    """Train on `batches` `[B, C, *axes]` in [-1, 1] until `steps` or `seconds` are over.

    It is one step of `run` after the other, without files and processes.

    Args:
        precision: of the network; likelihoods and KL stay in float32. As nothing scales the loss,
            `fp16` is left to `run`.
        watch: called after every step.

    Raises:
        ValueError: neither steps nor seconds were given.
    """
    if not (steps or seconds):
        raise ValueError("fit needs an end: give steps, seconds, or both")
    average = AveragedWeights(ladder, optimiser.ema)
    adam = torch.optim.AdamW(
        ladder.parameters(), betas=optimiser.betas, weight_decay=optimiser.weight_decay
    )
    spectral = SpectralPenalty(ladder, loss.spectral) if loss.spectral else None
    guard, losses, began = StepGuard(optimiser.skip), [], time.monotonic()
    generator = torch.Generator(next(ladder.parameters()).device).manual_seed(seed)
    ladder.train()
    for step, x in enumerate(itertools.chain.from_iterable(itertools.repeat(batches))):
        spent = time.monotonic() - began
        progress = max(step / (steps or math.inf), spent / (seconds or math.inf))
        if progress >= 1:
            break
        warm = loss.rate.warm(step)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16"):
            result, _ = batch_loss(
                ladder,
                ladder,
                x,
                loss,
                step,
                progress,
                generator,
                lambda _: spectral() * loss.spectral.weight_at(warm) if spectral else 0.0,  # noqa: B023
            )
        adam.zero_grad()
        result.total.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(ladder.parameters(), optimiser.clip))
        if guard.allows(norm):
            for group in adam.param_groups:
                group["lr"] = learning_rate(optimiser, step, progress)
            adam.step()
            average.update(ladder, step)
        losses.append(float(result.total.detach()))
        if watch:
            watch(step, result)
    return Fitted(average.model, losses, guard.skipped, time.monotonic() - began)
