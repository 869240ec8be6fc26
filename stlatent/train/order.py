"""Which sample is trained on when: a function of seed and step, so that runs resume exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from .interrupts import left_to_the_trainer


@dataclass(frozen=True)
class Order:
    """The batches of one process, from any step on.

    Attributes:
        reads: reads of files per batch, by kind of data: of one kind or two.
        share: part of the batches that are of the second kind.
        accumulate: batches per step.
        rank, processes: which of how many processes this is.
    """

    reads: Mapping[str, int]
    share: float
    accumulate: int
    seed: int
    rank: int = 0
    processes: int = 1

    def batches(self, step: int) -> Iterator[list[tuple[str, int]]]:
        """Endless batches of (kind, read), from optimiser step `step` on."""
        number, (common, *rare) = step * self.accumulate, self.reads
        while True:
            draw = np.random.default_rng((self.seed, number)).random()
            kind = rare[0] if rare and draw < self.share else common
            first = (number * self.processes + self.rank) * self.reads[kind]
            yield [(kind, first + i) for i in range(self.reads[kind])]
            number += 1


class Mixture(Dataset):
    """Several data sets under one roof, indexed by (kind, read)."""

    def __init__(self, kinds: Mapping[str, Dataset]) -> None:
        self.kinds = kinds

    def __getitem__(self, key: tuple[str, int]) -> Any:
        kind, read = key
        return self.kinds[kind][read]


def loader(
    mixture: Mixture,
    order: Order,
    step: int,
    workers: int,
    collate: Callable[[Sequence[Any]], Any],
) -> DataLoader:
    """Batches from `step` on, each what `collate` makes of its reads."""
    return DataLoader(
        mixture,
        batch_sampler=order.batches(step),
        collate_fn=collate,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=4 if workers else None,
        worker_init_fn=left_to_the_trainer,
    )


def plainly(batches: Iterable[Any]) -> Iterator[Any]:
    """The batches; what a process that reads has raised is raised as it was there, without the
    traceback that torch puts into its words. These processes end with it, however it ends."""
    iterator = iter(batches)
    try:
        yield from iterator
    except (ValueError, OSError) as error:
        text = str(error)
        if "Original Traceback" not in text:
            raise
        raise ValueError(text.splitlines()[-1].partition(": ")[2]) from error
    finally:
        # left to torch, this waits for the last traceback, and for good at the program's end
        getattr(iterator, "_shutdown_workers", lambda: None)()
