"""Entropy-coded latents as they are read: bytes a little ahead, and chunks cut anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from ..model.domain import Domain
from .place import Place

AHEAD_BYTES = 2**18  # of a stream, read at a time


class Window:
    """Some spans of a file, read from front to back, a little ahead."""

    def __init__(self, place: Place, name: str, spans: Sequence[tuple[int, int]]) -> None:
        self.place, self.file = place, name
        self._spans, self._ahead = list(spans), b""

    def read(self, count: int) -> bytes:
        """So many bytes, or as many as there are."""
        while len(self._ahead) < count and self._spans:
            start, end = self._spans.pop(0)
            stop = min(end, start + max(count - len(self._ahead), AHEAD_BYTES))
            self._ahead += self.place.read(self.file, start, stop)
            self._spans[:0] = [(stop, end)] if stop < end else []
        content, self._ahead = self._ahead[:count], self._ahead[count:]
        return content


class RecutChunks:
    """Chunks in time, cut anew; `[1, C, *axes]` per level."""

    def __init__(self, domain: Domain, chunks: Iterator[list[Tensor]], levels: int) -> None:
        self.domain, self.chunks = domain, chunks
        self._waiting: list[list[Tensor]] = [[] for _ in range(levels)]

    def take(self, steps: list[int]) -> list[Tensor]:
        """So many steps of each level."""
        axes = self.domain
        while any(
            sum(axes.of_time(z.shape[2:]) for z in waiting) < n
            for waiting, n in zip(self._waiting, steps, strict=True)
        ):
            for waiting, z in zip(self._waiting, next(self.chunks), strict=True):
                waiting.append(z)
        whole = [axes.joined(waiting) for waiting in self._waiting]
        counts = [axes.of_time(z.shape[2:]) for z in whole]
        self._waiting = [
            [axes.steps(z, n, count).clone()]
            for z, n, count in zip(whole, steps, counts, strict=True)
        ]
        return [axes.steps(z, 0, n) for z, n in zip(whole, steps, strict=True)]
