"""One optimiser step after the other, the same in every training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from .config import OptimiserConfig
from .optimiser import AveragedWeights, StepGuard, learning_rate
from .task import Loss, Metrics, Moment, Task


class Alone:
    """What a step asks of an `Accelerator`, for one process that keeps its model where it is."""

    scaler = None

    def __init__(self, device: torch.device, bf16: bool = False) -> None:
        self.device, self.bf16 = device, bf16

    def prepare(self, *parts: Any) -> tuple[Any, ...]:
        return parts

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def clip_grad_norm_(self, parameters: Sequence[nn.Parameter], norm: float) -> Tensor:
        return torch.nn.utils.clip_grad_norm_(parameters, norm)


@dataclass(frozen=True)
class Taken:
    """What is known of a step.

    Attributes:
        parts: metrics of its batches, still on the device.
        gradient_norm: before it was clipped.
        lr: learning rate.
        skipped: steps left out until now.
    """

    parts: Sequence[Metrics]
    gradient_norm: float
    lr: float
    skipped: int

    def read(self, mean: Callable[[Tensor], Tensor] = lambda x: x) -> dict[str, Any]:
        """The means of its metrics over batches, as plain numbers, in one transfer.

        Args:
            mean: over all processes.
        """
        shapes = {
            name: None if isinstance(value, Tensor) else len(value)
            for name, value in self.parts[0].items()
        }
        rows = [[x.float() for v in part.values() for x in _several(v)] for part in self.parts]
        values = mean(torch.stack([torch.stack(row) for row in rows])).tolist()
        means = iter([sum(column) / len(column) for column in zip(*values, strict=True)])
        metrics = {
            name: next(means) if count is None else [next(means) for _ in range(count)]
            for name, count in shapes.items()
        }
        rest = {"gradient_norm": self.gradient_norm, "lr": self.lr, "skipped": self.skipped}
        return metrics | rest


class Steps:
    """A task under its optimiser: guarded steps, clipped gradients, averaged weights.

    Attributes:
        optimiser: AdamW.
        average: the averaged model.
        guard: which has left out steps.
    """

    def __init__(
        self, task: Task, config: OptimiserConfig, accelerator: Accelerator | Alone
    ) -> None:
        self.task, self.config, self.accelerator = task, config, accelerator
        self.average = AveragedWeights(task.model, config.ema)
        optimiser = torch.optim.AdamW(
            task.parameters(),
            lr=config.lr,
            betas=config.betas,
            weight_decay=config.weight_decay,
        )
        task.network, self.optimiser = accelerator.prepare(task.network, optimiser)
        self.guard = StepGuard(config.skip)

    def step(self, batches: Sequence[Any], moments: Sequence[Moment]) -> Taken:
        """One step over `batches`, each with its moment."""
        step, progress = moments[0].step, moments[0].progress
        lr = learning_rate(self.config, step, progress)
        for group in self.optimiser.param_groups:
            group["lr"] = lr * group.get("rate", 1.0)
        self.optimiser.zero_grad()
        parts = [
            self._backward(batch, at, len(batches))
            for batch, at in zip(batches, moments, strict=True)
        ]
        parameters = list(self.task.network.parameters())
        norm = float(self.accelerator.clip_grad_norm_(parameters, self.config.clip))
        if self.guard.allows(norm):
            self.optimiser.step()
            self.average.update(self.task.model, step)
        elif self.accelerator.scaler:
            self.accelerator.scaler.update()  # which a step left out would have done
        return Taken(parts, norm, lr, self.guard.skipped)

    def _backward(self, batch: Any, at: Moment, parts: int) -> Metrics:
        with self.accelerator.autocast():
            loss: Loss = self.task.loss(batch, at)
        self.accelerator.backward(loss.total / parts)
        loss.then()
        return {"loss": loss.total.detach(), **loss.metrics}


def _several(value: Tensor | Sequence[Tensor]) -> Sequence[Tensor]:
    return [value] if isinstance(value, Tensor) else value
