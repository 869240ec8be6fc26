"""How latents and marks of a sparse ladder are chosen, beyond `model/choose.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..model.choose import Choose, Distribution, Draw, Site, check_strength
from .cells import Cells
from .latents import SparseLatents
from .marks import LEAST_DRAWN, MarkPrior
from .places import Places

FITTING = 0.5  # deviations: one leaves level 0 of one with the finer levels of another in shreds


@dataclass(frozen=True)
class Given:
    """The first levels of latents as they are given, `rest` at the others; see `choose.Held`."""

    latents: SparseLatents
    kept: int
    rest: Choose
    widths: Sequence[int]

    def __call__(self, site: Site, posterior: Distribution | None, prior: Distribution) -> Tensor:
        stored = _stored(self.latents, self.kept, site, prior, self.widths)
        return self.rest(site, posterior, prior) if stored is None else stored


@dataclass(frozen=True)
class Ample:
    """Cells wherever there may be one, see `marks.LEAST_DRAWN`, and latents by `rest`."""

    rest: Choose

    def __call__(self, site: Site, posterior: Distribution | None, prior: Distribution) -> Tensor:
        if isinstance(prior, MarkPrior):
            return prior.likelier(LEAST_DRAWN)
        return self.rest(site, posterior, prior)


@dataclass(frozen=True)
class Shared:
    """The latents and marks of another shape in those cells that it has, `rest` in the others.

    They are taken as far as the prior finds them likely, which knows the coarser levels: latents
    within `FITTING` deviations of its mean, and marks unless they tear a hole or stand in the open.
    Those of another surface, taken whole, would leave shreds of both.
    """

    other: SparseLatents
    cells: Sequence[Cells] = field(repr=False)  # of the other, per level
    widths: Sequence[int]
    places: Places = field(repr=False)
    rest: Choose

    def __call__(self, site: Site, posterior: Distribution | None, prior: Distribution) -> Tensor:
        rest = self.rest(site, posterior, prior)
        theirs = _stored(self.other, len(self.other.levels), site, prior, self.widths)
        if theirs is None:
            return rest
        row = self.cells[site.level].find(self.places.cells.index)
        theirs = torch.cat([theirs, theirs.new_zeros(1, theirs.shape[1])])[row]
        there = (row < len(self.other.levels[site.level]))[:, None]
        return torch.where(there, self._taken(theirs, prior), rest)

    def _taken(self, theirs: Tensor, prior: Distribution) -> Tensor:
        if isinstance(prior, MarkPrior):
            return prior.mean | theirs & prior.likelier(LEAST_DRAWN)
        most = FITTING * prior.std
        return prior.mean + (theirs - prior.mean).clamp(-most, most)


@dataclass(frozen=True)
class NearCells(Shared):
    """Draws near the latents and marks of another shape, at its levels and in those cells that it
    has; draws of their own in the others; see `choose.Near`."""

    rest: Draw
    strength: float

    def __post_init__(self) -> None:
        check_strength(self.strength)

    def _taken(self, theirs: Tensor, prior: Distribution) -> Tensor:
        return prior.near(theirs, self.strength, self.rest.generator)


def _stored(
    latents: SparseLatents, kept: int, site: Site, prior: Distribution, widths: Sequence[int]
) -> Tensor | None:
    """What the first `kept` levels hold of a group, or of marks; None where they do not."""
    if site.level >= kept:
        return None
    if isinstance(prior, MarkPrior):
        return latents.marks[site.level][:, None] if site.level < len(latents.marks) else None
    width = widths[site.level]
    return latents.levels[site.level].narrow(1, site.group * width, width)


@dataclass(frozen=True)
class Kept:
    """Each sample keeps the latents of its first levels, see `choose.Prefix`; marks are those of
    the input throughout, so that what is decoded can be compared with it."""

    choose: Choose
    keep: Tensor
    places: Places = field(repr=False)

    def __call__(self, site: Site, posterior: Distribution | None, prior: Distribution) -> Tensor:
        z = self.choose(site, posterior, prior)
        if isinstance(prior, MarkPrior):
            return z
        keeps = (self.keep > site.level)[self.places.cells.sample, None]
        return torch.where(keeps, z, prior.mean)
