"""What a run trains on: the one thing about it that differs between kinds of data.

The loop knows nothing of clips or shapes. A kind of data is a config (`config.py`) and a class like
this one, which says what a batch is, how it enters the model, and how a model is measured.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Protocol

import torch
from torch import Tensor

from ..checkpoint import Model

Figures = dict[str, list[float]]


class Batch(Protocol):
    """What is read for one forward pass. `failed`: reason by name of what turned out unreadable."""

    failed: Mapping[str, str]


class TrainingData(ABC):
    """Samples to train on and samples held out, opened from a run's config.

    Attributes:
        held_out: by name, `[1, C, *axes]` in [-1, 1].
        bad: reason by name of what cannot be read, as far as it is known from the start.
        quality: the figure by which the best weights are kept: higher is better.
    """

    held_out: Mapping[str, Tensor]
    bad: Mapping[str, str]
    quality: str

    @abstractmethod
    def batches(self, step: int, rank: int = 0, processes: int = 1) -> Iterable[Batch]:
        """Endless batches of one process from optimiser step `step` on, a function of the run's
        seed and the step alone."""

    @abstractmethod
    def enter(self, batch: Batch, device: torch.device) -> Tensor:
        """What the model reads `[B, C, *axes]`, finite and in [-1, 1]."""

    @abstractmethod
    def measure(self, model: Model, step: int) -> Figures | None:
        """Figures of the held-out samples, each a list with one value per prefix or level, coarse
        to fine; leaves a picture in the run's folder. None where nothing is held out."""
