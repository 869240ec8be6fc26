"""What is trained: the one thing that differs between an autoencoder, a diffusion model and a fit.

A step knows nothing but a `Task`; a run on files, with its validation and its checkpoints, asks a
`RunTask` for the rest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..media.training import ReadBatch
from .data import Figures

Metrics = Mapping[str, Tensor | Sequence[Tensor]]


class Moment(NamedTuple):
    """Where a training stands when it meets a batch.

    Attributes:
        step: optimiser steps that are done.
        progress: of the whole training, 0 to 1.
        noise: source of all that is drawn for the batch, the same in all processes.
        rank, processes: which of how many processes this is, each with a batch of its own.
    """

    step: int
    progress: float
    noise: torch.Generator
    rank: int = 0
    processes: int = 1

    def own_noise(self) -> torch.Generator:
        """A source that is this process's alone."""
        if not self.rank:
            return self.noise
        seed = hash((self.noise.initial_seed(), self.rank)) % 2**62
        return torch.Generator(self.noise.device).manual_seed(seed)

    def network_seed(self) -> int:
        """Of what a network draws by itself, such as which paths it drops: different at every
        step, where one source of noise serves all of them, and in every process."""
        return self.own_noise().initial_seed() + self.step


def nothing() -> None:
    """What most losses ask for after the backward pass."""


@dataclass(frozen=True)
class Loss:
    """The loss of one batch.

    Attributes:
        total: scalar to minimise.
        metrics: scalars to log, or lists of them with one per level, detached. They are read from
            the device only when they are logged.
        then: called after the backward pass, such as for the step of a critic.
    """

    total: Tensor
    metrics: Metrics
    then: Callable[[], None] = nothing


class Task(ABC):
    """A model and its loss.

    Attributes:
        model: what is trained, averaged and kept.
        network: what `loss` calls: the model, or a module around it. Preparing it for several
            processes may put a wrapper in its place.
    """

    model: nn.Module
    network: nn.Module

    def parameters(self) -> list[dict[str, Any]]:
        """What is trained, as groups of an optimiser; `rate` is the learning rate of one, relative
        to the others."""
        return [{"params": list(self.model.parameters())}]

    @abstractmethod
    def loss(self, batch: Any, at: Moment) -> Loss:
        """Of one batch; run under autocast."""


class RunTask(Task):
    """A task that is a run on files, see `Loop`.

    Attributes:
        name: of the model in the state of the run.
        every: steps between two measurements.
        notices: what the log should say at first, one line each.
        unreadable: reason by name of the files that are known to be of no use.
    """

    name: str
    every: int
    notices: Sequence[str] = ()
    unreadable: Mapping[str, str] = {}

    @abstractmethod
    def batches(self, step: int, rank: int, processes: int) -> Iterable[ReadBatch]:
        """Endless batches of one process from optimiser step `step` on, a function of the run's
        seed and the step alone."""

    @abstractmethod
    def measure(self, model: nn.Module, step: int) -> Figures | None:
        """Figures of the averaged model on what is held out, if anything is; may leave pictures."""

    def quality(self, figures: Figures) -> float | None:
        """By which the best weights are kept, higher is better; None keeps the last ones alone."""
        return None

    @abstractmethod
    def keep(self, model: nn.Module, place: str, about: Mapping[str, object]) -> None:
        """Write the averaged model to a `place` (`best` or `last`) in the run's folder."""

    def modules(self) -> dict[str, nn.Module]:
        """What else must be resumed, by name."""
        return {}

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """Of these modules, by name."""
        return {}

    def scalers(self) -> dict[str, torch.amp.GradScaler]:
        """Of these optimisers, by name."""
        return {}
