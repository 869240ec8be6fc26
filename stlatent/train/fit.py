"""The small loop: a ladder on tensors in memory, for studies and for data of one's own."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..checkpoint import Model
from ..losses.elbo import LossConfig
from .config import OptimiserConfig
from .extras import Extras
from .loss import LadderTask
from .steps import Alone, Steps
from .task import Moment, Task

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

    model: nn.Module
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
    watch: Callable[[int, dict[str, Any]], None] | None = None,
) -> Fitted:
    """Train on `batches` `[B, C, *axes]` in [-1, 1] until `steps` or `seconds` are over.

    The same steps as those of a run, without files and processes.

    Args:
        precision: of the network; likelihoods and KL stay in float32. As nothing scales the loss,
            `fp16` is left to `run`.
        watch: called after every step, with its number and what `metrics.jsonl` would say of it.

    Raises:
        ValueError: neither steps nor seconds were given.
    """
    task = LadderTask(ladder, loss, Extras(ladder, None, None, loss.spectral))
    ladder.train()
    return fit_task(task, batches, optimiser, steps, seconds, seed, precision, watch)


def fit_task(
    task: Task,
    batches: Iterable[Any],
    optimiser: OptimiserConfig,
    steps: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    precision: Precision = "fp32",
    watch: Callable[[int, dict[str, Any]], None] | None = None,
) -> Fitted:
    """The same for any task, whose `batches` are begun again as often as they end; see `fit`."""
    if not (steps or seconds):
        raise ValueError("fit needs an end: give steps, seconds, or both")
    device, losses, began = next(task.model.parameters()).device, [], time.monotonic()
    training = Steps(task, optimiser, Alone(device, precision == "bf16"))
    noise = torch.Generator(device).manual_seed(seed)
    for step, x in enumerate(itertools.chain.from_iterable(itertools.repeat(batches))):
        spent = time.monotonic() - began
        progress = max(step / (steps or math.inf), spent / (seconds or math.inf))
        if progress >= 1:
            break
        metrics = training.step([x], [Moment(step, progress, noise)]).read()
        losses.append(metrics["loss"])
        if watch:
            watch(step, metrics)
    return Fitted(training.average.model, losses, training.guard.skipped, time.monotonic() - began)
