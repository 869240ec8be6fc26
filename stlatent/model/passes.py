"""What a pass over the network gives: one step per cell, and what follows from them per level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .choose import Distribution, Site


@dataclass(frozen=True)
class Step:
    """What happened at one cell of the top-down pass."""

    site: Site
    posterior: Distribution | None
    prior: Distribution
    z: Tensor


@dataclass(frozen=True)
class Pass:
    """Result of a whole pass over a batch.

    Attributes:
        raw: what the decoder gives to the likelihood `[B, raw_channels, *size]`.
        entered: the batch that the ladder read `[B, C, *size]`.
        x: the decoded batch `[B, C, *size]`, in [-1, 1] up to over- and undershoot.
        steps: one per cell, coarse to fine.
        previews: per level, the input averaged over space at the level's stride, as predicted
            from this level and the coarser ones `[B, C * frames, *grid]`, see `preview_target`.
        kl: per level, nats per sample and channel `[B, C_l]`, summed over all positions; of codes,
            one channel per codebook.
    """

    raw: Tensor
    entered: Tensor
    x: Tensor
    steps: tuple[Step, ...]
    previews: tuple[Tensor, ...]

    @property
    def kl(self) -> tuple[Tensor, ...]:
        per_step = [step.posterior.kl(step.prior).flatten(2).sum(2) for step in self.steps]
        return by_level(self.steps, per_step)

    @property
    def group_kl(self) -> tuple[Tensor, ...]:
        """Per level, nats per sample and group `[B, groups]`."""
        per_step = [step.posterior.kl(step.prior).flatten(1).sum(1, True) for step in self.steps]
        return by_level(self.steps, per_step)

    @property
    def penalty(self) -> Tensor:
        """What codebooks ask for beside the rate, summed over the cells that have one; scalar."""
        return sum((step.posterior.penalty for step in self.steps), self.x.new_zeros(()))


def by_level(steps: Sequence[Step], values: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Put the groups of each level side by side; channels stay last in memory."""
    groups: dict[int, list[Tensor]] = {}
    for step, value in zip(steps, values, strict=True):
        groups.setdefault(step.site.level, []).append(value.movedim(1, -1))
    return tuple(torch.cat(parts, -1).movedim(-1, 1) for parts in groups.values())
