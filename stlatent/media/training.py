"""What a run trains on: all about it that differs between media."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

import torch
from pydantic import Field
from torch import Tensor
from torch.utils.data import Dataset

from ..model.config import Positive, Strict
from ..model.domain import Domain

Rate = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]


class HeldOut(Strict):
    """What is measured during training and never trained on.

    Attributes:
        names: file names in `data.root`.
        every: steps between two measurements.
    """

    names: tuple[str, ...] = ()
    every: Positive = 500


class DataConfig(Strict):
    """Where samples come from and how they are cut: `data` in the config of a run.

    Every medium has its own. All have `root`, a folder; `batch`, samples per process and step;
    `workers`, processes that read; and `validation`, a `HeldOut`.
    """

    @abstractmethod
    def size(self, domain: Domain) -> tuple[int, ...]:
        """Axes of one sample."""


class Batch(Protocol):
    """What is read for one forward pass. `failed`: reason by name of what turned out unreadable."""

    failed: Mapping[str, str]


@dataclass(frozen=True)
class TrainingSet:
    """Samples to train on and samples held out.

    Attributes:
        kinds: data sets of reads, a function of (seed, index) and the files alone: a common one,
            and perhaps a rare one.
        reads: of a batch, for each of these.
        share: part of the batches that are of the rare one.
        collate: makes a batch of its reads.
        enter: what the model reads `[B, C, *axes]` of a batch, finite and in [-1, 1].
        held_out: by name, `[1, C, *axes]` in [-1, 1].
        bad: reason by name of what cannot be read, as far as it is known from the start.
    """

    kinds: Mapping[str, Dataset]
    reads: Mapping[str, int]
    share: float
    collate: Callable[[Sequence[Any]], Batch]
    enter: Callable[[Any, torch.device], Tensor]
    held_out: Mapping[str, Tensor]
    bad: Mapping[str, str]
