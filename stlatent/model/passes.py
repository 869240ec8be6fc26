"""What a pass over the network gives: latents, and what is known of them, per level."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from .choose import Distribution, Site
from .codebook import Codes
from .gaussian import Gaussian
from .latents import Latents

T = TypeVar("T")


@dataclass(frozen=True)
class Step:
    """What happened at one cell of the top-down pass."""

    site: Site
    posterior: Distribution | None
    prior: Distribution
    z: Tensor

    def recentred(self) -> Step:
        """The same, had the posterior been centred on what was chosen; what is certain stays."""
        if not isinstance(self.posterior, Gaussian):
            return self
        return replace(self, posterior=replace(self.posterior, mean=self.z))


@dataclass(frozen=True, repr=False)
class Encoded(Latents):
    """Latents of an input, and the distributions that they were chosen from.

    Everything is per level, coarsest first, with the groups of a level side by side.

    Attributes:
        steps: one per cell, coarse to fine; none where there are no latents yet, in a stream.
    """

    steps: tuple[Step, ...]

    @classmethod
    def of(cls, steps: Sequence[Step], size: Sequence[int]) -> Encoded:
        """What was chosen at `steps`, of an input of `size`."""
        levels = by_level(steps, [step.z for step in steps])
        return cls(levels, tuple(size), tuple(steps))

    @property
    def log_stds(self) -> tuple[Tensor | None, ...]:
        """Natural logarithms of the posteriors' standard deviations `[B, C_l, *grid_l]`; None for
        those that are certain: codes, and an exact level."""
        return self._of(Gaussian, lambda posterior: posterior.log_std)

    @property
    def stds(self) -> tuple[Tensor | None, ...]:
        """The same as standard deviations."""
        return tuple(None if z is None else z.exp() for z in self.log_stds)

    @property
    def indices(self) -> tuple[Tensor | None, ...]:
        """Codes `[B, groups * depth, *grid_l]`, int64; None where latents are no codes."""
        return self._of(Codes, lambda posterior: posterior.indices)

    @property
    def rates(self) -> tuple[Tensor, ...]:
        """Nats at each position `[B, 1, *grid_l]`: KL from prior to posterior."""
        nats = [step.posterior.kl(step.prior).sum(1, keepdim=True) for step in self.steps]
        return tuple(sum(groups) for groups in _grouped(self.steps, nats))

    @property
    def kl(self) -> tuple[Tensor, ...]:
        """Nats per sample and channel `[B, C_l]`, summed over all positions; of codes, one channel
        per codebook."""
        per_step = [step.posterior.kl(step.prior).flatten(2).sum(2) for step in self.steps]
        return by_level(self.steps, per_step)

    @property
    def group_kl(self) -> tuple[Tensor, ...]:
        """Nats per sample and group `[B, groups]`."""
        per_step = [step.posterior.kl(step.prior).flatten(1).sum(1, True) for step in self.steps]
        return by_level(self.steps, per_step)

    @property
    def penalty(self) -> Tensor:
        """What codebooks ask for beside the rate, summed over the cells that have one; scalar."""
        zero = self.levels[0].new_zeros(())
        return sum((step.posterior.penalty for step in self.steps), zero)

    def recentred(self) -> Encoded:
        """The same, had the posteriors been centred on the latents that were chosen; those that are
        certain stay."""
        return replace(self, steps=tuple(step.recentred() for step in self.steps))

    def _of(self, kind: type, part: Callable[[Distribution], Tensor]) -> tuple[Tensor | None, ...]:
        """Part of the posteriors of each level, if they are of a kind."""
        levels = _grouped(self.steps, [step.posterior for step in self.steps])
        return tuple(
            _beside([part(one) for one in groups]) if isinstance(groups[0], kind) else None
            for groups in levels
        )


@dataclass(frozen=True)
class Pass:
    """Result of a whole pass over a batch.

    Attributes:
        parameters: what the decoder gives to the likelihood `[B, parameter_channels, *size]`.
        inputs: the batch that the ladder read `[B, C, *size]`; where level 0 tells motion, whole
            groups of frames as they stand still.
        x: the decoded batch `[B, C, *size]`, in [-1, 1] up to over- and undershoot; of an exact
            ladder, without its last level, which would leave nothing to learn from.
        latents: what it was decoded from, with the rates and all else that is known of it.
        previews: per level, the input averaged over space at the level's stride, as predicted
            from this level and the coarser ones `[B, C * frames, *grid]`, see `preview_target`;
            none without heads for it, see `ModelConfig.previews`.
    """

    parameters: Tensor
    inputs: Tensor
    x: Tensor
    latents: Encoded
    previews: tuple[Tensor, ...]


def by_level(steps: Sequence[Step], values: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Put the groups of each level side by side; channels stay last in memory."""
    return tuple(_beside(groups) for groups in _grouped(steps, values))


def with_again(x: Tensor | None, again: Tensor) -> Tensor | None:
    """`x` with some of its samples repeated behind it; channels stay last in memory."""
    if x is None:
        return None
    x = x.movedim(1, -1)
    return torch.cat([x, x[again]]).movedim(-1, 1)


def _beside(groups: Sequence[Tensor]) -> Tensor:
    return torch.cat([value.movedim(1, -1) for value in groups], -1).movedim(-1, 1)


def _grouped(steps: Sequence[Step], values: Sequence[T]) -> list[list[T]]:
    """The values of each level, coarsest first."""
    levels: dict[int, list[T]] = {}
    for step, value in zip(steps, values, strict=True):
        levels.setdefault(step.site.level, []).append(value)
    return list(levels.values())
