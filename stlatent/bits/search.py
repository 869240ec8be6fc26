"""How exactly a chunk is told such that it reaches a target: a search over few candidates.

A candidate tells the first so many levels, to steps of rounding that are so many quarter octaves
wider than the narrowest. More levels and narrower steps make it better and larger. So of each
number of levels the one that just reaches the target is found by bisection, and the best is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

from .coding import WIDEST, Target


class Candidate(Protocol):
    """A chunk as it would be told."""

    size_bits: int

    @property
    def psnr_db(self) -> float:
        """Of what is decoded; computed when somebody asks."""


C = TypeVar("C", bound=Candidate)
Attempt = Callable[[int, int], C]  # levels that are told, quarter octaves -> candidate


def search(target: Target, budget_bits: float, levels: int, attempt: Attempt[C]) -> C:
    """The candidate that reaches the target: with the fewest bits, or the best one within
    `budget_bits`; where none does, the one that is nearest."""
    if target.psnr_db is not None:
        return fewest_bits(target.psnr_db, levels, attempt)
    return best_within(budget_bits, levels, attempt)


def fewest_bits(psnr_db: float, levels: int, attempt: Attempt[C]) -> C:
    """Of those of at least `psnr_db`; of none, the best."""
    untold = attempt(0, 0)
    if untold.psnr_db >= psnr_db:
        return untold
    wider = range(WIDEST + 1)
    found = (
        _last(wider, partial(attempt, told), lambda one: one.psnr_db >= psnr_db)
        for told in range(1, levels + 1)
    )
    reaching = [one for one in found if one]
    return min(reaching, key=lambda one: one.size_bits) if reaching else attempt(levels, 0)


def best_within(budget_bits: float, levels: int, attempt: Attempt[C]) -> C:
    """Of those of at most so many bits; of none, the smallest."""
    best, narrower = attempt(0, 0), range(WIDEST, -1, -1)
    for told in range(levels, 0, -1):
        if attempt(told, 0).psnr_db <= best.psnr_db:
            break  # nor do fewer levels make it better
        one = _last(narrower, partial(attempt, told), lambda one: one.size_bits <= budget_bits)
        if one and one.psnr_db > best.psnr_db:
            best = one
    return best


def _last(
    widths: Sequence[int], attempt: Callable[[int], C], holds: Callable[[C], bool]
) -> C | None:
    """The last candidate for which something holds that holds for the first ones, or for none."""
    found = attempt(widths[0])
    if not holds(found):
        return None
    low, high = 0, len(widths)
    while high - low > 1:
        middle = (low + high) // 2
        one = attempt(widths[middle])
        if holds(one):
            low, found = middle, one
        else:
            high = middle
    return found
