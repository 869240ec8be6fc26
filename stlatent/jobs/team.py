"""Processes that were started together to work at one job: `torchrun`, `accelerate launch`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch.distributed

PATIENCE = timedelta(days=365)  # the others may be at work for long


@dataclass(frozen=True)
class Team:
    """One of `size` processes; each does its part, and the first one what is done once."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def wait(self) -> None:
        """Until all have come so far."""
        if self.size > 1:
            torch.distributed.barrier()

    def part(self, shard: tuple[int, int]) -> tuple[int, int]:
        """The part of this process of the i-th of n parts, as such a pair."""
        return shard[0] * self.size + self.rank, shard[1] * self.size


@contextmanager
def launched_team() -> Iterator[Team]:
    """The team that a launcher has started, by what it says in the environment; else one process.

    Raises:
        ValueError: the launcher says how many there are, but not where they meet.
    """
    size = int(os.environ.get("WORLD_SIZE", 1))
    if size == 1:
        yield Team()
        return
    torch.distributed.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield Team(torch.distributed.get_rank(), size)
    finally:
        torch.distributed.destroy_process_group()
