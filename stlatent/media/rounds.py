"""In which order training reads sources, and what becomes of those that cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

Made = TypeVar("Made")
Failed = tuple[tuple[str, str], ...]  # name and reason of each


class Rounds:
    """Every round goes over all sources once, in an order that follows from seed and round alone.

    A source that cannot be read gives its turn to the next in that order, and is not tried again by
    this process.

    Args:
        names: of the sources; those that lie in one file have one name, and fail together.
        seed: of the orders.
    """

    def __init__(self, names: Sequence[str], seed: int) -> None:
        self.names, self.seed = list(names), seed
        self._bad: set[str] = set()
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, int))

    def order(self, number: int) -> np.ndarray:
        """Of a round: numbers of sources, each once."""
        if self._order[0] != number:
            rng = np.random.default_rng((self.seed, 0, number))
            self._order = number, rng.permutation(len(self.names))
        return self._order[1]

    def read(self, i: int, read: Callable[[int], Made]) -> tuple[Made, Failed]:
        """What `read` makes of the source whose turn is the `i`-th of all, by its number; and which
        ones turned out unreadable on the way.

        Raises:
            ValueError: none can be read.
        """
        order, failed = self.order(i // len(self.names)), []
        for j in range(len(order)):
            which = int(order[(i + j) % len(order)])
            if (name := self.names[which]) in self._bad:
                continue
            try:
                return read(which), tuple(failed)
            except ValueError as error:
                self._bad.add(name)
                failed.append((name, getattr(error, "reason", str(error))))
        some = "".join(f"; the last, {name}: {why}" for name, why in failed[-1:])
        raise ValueError(f"none of {len(order)} sources can be read{some}")
