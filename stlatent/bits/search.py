"""How exactly a chunk is told such that it reaches a target: a search over few candidates.

A candidate tells the first so many levels, to steps of rounding that are so many quarter octaves
wider than the narrowest, at some λ, the price of the rate, where a model takes one. More levels,
narrower steps and a lower λ make it better and larger. So λ is found by bisection, with all levels
and the narrowest steps; at this λ, of each number of levels, the width of the steps that just
reaches the target; and the best of these is taken.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

from .coding import WIDEST, Target

CANDIDATES = 32  # λ that may be chosen, five passes; of the codec that ships, some 0.3 dB apart


class Candidate(Protocol):
    """A chunk as it would be told."""

    size_bits: int

    @property
    def psnr_db(self) -> float:
        """Of what is decoded; computed when somebody asks."""


C = TypeVar("C", bound=Candidate)
Attempt = Callable[[int, int], C]  # levels that are told, quarter octaves -> candidate
AtRate = Callable[[float | None, int, int], C]  # λ before these; None is the model's own


def search(
    target: Target,
    budget_bits: float,
    levels: int,
    attempt: AtRate[C],
    rates: Sequence[float | None] = (None,),
) -> C:
    """The candidate that reaches the target: with the fewest bits, or the best one within
    `budget_bits`; where none does, the one that is nearest.

    Args:
        rates: λ that may be chosen, ascending.
    """
    if target.psnr_db is not None:
        rate = _furthest(rates, lambda r: attempt(r, levels, 0).psnr_db >= target.psnr_db)
        return fewest_bits(target.psnr_db, levels, partial(attempt, rate))
    rate = _furthest(rates[::-1], lambda r: attempt(r, levels, 0).size_bits <= budget_bits)
    return best_within(budget_bits, levels, partial(attempt, rate))


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


def _furthest(rates: Sequence[float | None], holds: Callable[[float | None], bool]) -> float | None:
    """The last λ for which something holds that holds for those before; the first one where it
    holds for none, which is not tried."""
    return rates[bisect(rates[1:], False, key=lambda rate: not holds(rate))]


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
