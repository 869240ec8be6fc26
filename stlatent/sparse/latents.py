"""Sparse latents, as a value, and what is known of them where they come from an input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..model.gaussian import Gaussian
from ..model.latents import check_levels_exist
from ..model.passes import Step
from .marks import MarkPrior
from .places import Places


@dataclass(frozen=True)
class SparseLatents:
    """What a batch of shapes is encoded to.

    Attributes:
        levels: per level, coarsest first, `[N_l, groups * latent]`, float32: a row per cell.
        marks: per level, whether anything finer is in each cell, bool `[N_l]`. The rows of the
            next level are the children of the marked cells; level 0 is the whole grid. Those of
            the last level may be missing: they are the prior's then.
        resolution: voxels per edge of the cube.
        batch: number of shapes.
        finer: what has the levels that come after these, in the cells that it has and as far as
            the prior finds them likely; elsewhere they are the prior's.
    """

    levels: tuple[Tensor, ...]
    marks: tuple[Tensor, ...]
    resolution: int
    batch: int = 1
    finer: SparseLatents | None = None

    @property
    def movable(self) -> Sequence[int]:
        """Levels that can be between two shapes, as `towards` has them: the whole grid alone."""
        return (0,)

    @property
    def size(self) -> tuple[int, int, int]:
        """Of the cube, in voxels."""
        return (self.resolution,) * 3

    @property
    def rows(self) -> tuple[Tensor, ...]:
        """Per level, latents and, in the last channel, marks as 1 or -1 `[N_l, C_l + 1]`."""
        pairs = zip(self.levels, self.marks, strict=True)
        return tuple(torch.cat([z, torch.where(m, 1.0, -1.0)[:, None]], 1) for z, m in pairs)

    @property
    def numel(self) -> int:
        """Latent numbers of all shapes and levels; marks, a bit each, are not counted."""
        return sum(level.numel() for level in self.levels)

    def held(self, levels: Sequence[int]) -> SparseLatents:
        """These levels, as `sample` holds them: the first ones, since finer cells exist only where
        coarser ones say so.

        Raises:
            ValueError: a level does not exist, or one above it is missing.
        """
        check_levels_exist(levels, len(self.levels))
        count = len({*levels})
        if {*levels} != {*range(count)}:
            raise ValueError(
                f"levels {sorted({*levels})} cannot be held alone: the coarser ones say where they "
                f"exist, so hold all from 0 to {max(levels)}"
            )
        first = self.levels[:count], self.marks[:count]
        return SparseLatents(*first, self.resolution, self.batch)

    def with_finer(self, other: SparseLatents, levels: int) -> SparseLatents:
        """The first `levels` levels of these, and the finer ones of `other` in those cells that
        both have, as far as they fit there, see `finer`.

        Raises:
            ValueError: the two differ in their sizes.
        """
        self._check(other)
        if other is self or levels == len(self.levels):
            return self
        if not levels:
            return other
        first = self.levels[:levels], self.marks[:levels]
        return SparseLatents(*first, self.resolution, self.batch, other)

    def mixed(self, other: SparseLatents, levels: Sequence[int]) -> SparseLatents:
        """These, but for `levels`, which are those of `other`: all from one on, or all up to one.

        Raises:
            ValueError: the two differ in their sizes, or other levels are asked for.
        """
        count, taken = len(self.levels), {*levels}
        for first in range(count + 1):
            if taken == {*range(first, count)}:
                return self.with_finer(other, first)
            if taken == {*range(first)}:
                return other.with_finer(self, first)
        raise ValueError(
            f"levels {sorted(taken)} cannot come from another shape alone, since the coarser ones "
            f"say in which cells the finer ones are: give all from a level on, or all up to one"
        )

    def towards(
        self, other: SparseLatents, share: float, levels: Sequence[int] | None = None
    ) -> SparseLatents:
        """On the way to `other`: 0 is these, 1 the other. Between them, level 0 lies on the
        straight line; finer ones are the prior's, or those of these where level 0 alone moves.

        Raises:
            ValueError: the two differ in their sizes, or a finer level is to move.
        """
        self._check(other)
        alone = levels is not None
        if alone and {*levels} != {0}:
            raise ValueError(
                f"levels {sorted({*levels})} are in the cells of one shape; between two of them "
                f"can be level 0, which is a whole grid"
            )
        if share in (0, 1) and not (alone and share):
            return other if share else self
        between = self.levels[0].lerp(other.levels[0], share)
        return SparseLatents((between,), (), self.resolution, self.batch, self if alone else None)

    def to(self, device: torch.device | str) -> SparseLatents:
        """The same on a device."""
        parts = (tuple(x.to(device) for x in part) for part in (self.levels, self.marks))
        finer = self.finer and self.finer.to(device)
        return SparseLatents(*parts, self.resolution, self.batch, finer)

    def _check(self, other: SparseLatents) -> None:
        if (self.size, self.batch) != (other.size, other.batch):
            raise ValueError("two batches of shapes differ in their sizes; only equal ones mix")


@dataclass(frozen=True, repr=False)
class SparseEncoded(SparseLatents):
    """Latents of an input, and the distributions that they were chosen from.

    Attributes:
        steps: one per group of latents, and one for the marks of each level, coarse to fine.
        places: the cells of every level.
    """

    steps: tuple[Step, ...] = ()
    places: Places | None = None

    @classmethod
    def of(cls, steps: Sequence[Step], places: Places, resolution: int) -> SparseEncoded:
        """What was chosen at `steps`."""
        levels: dict[int, list[Tensor]] = {}
        for step in steps:
            if not isinstance(step.prior, MarkPrior):
                levels.setdefault(step.site.level, []).append(step.z)
        batch = len(places.levels[0]) // places.levels[0].side ** 3
        values = tuple(torch.cat(groups, 1) for groups in levels.values())
        return cls(
            values, tuple(places.marks), resolution, batch, steps=tuple(steps), places=places
        )

    @property
    def kl(self) -> tuple[Tensor, ...]:
        """Per level, nats per sample and channel, those of the marks last `[batch, C_l + 1]`."""
        return self._per_sample(lambda nats: nats)

    @property
    def group_kl(self) -> tuple[Tensor, ...]:
        """Per level, nats per sample and group, the marks last `[batch, groups + 1]`."""
        return self._per_sample(lambda nats: nats.sum(1, keepdim=True))

    def recentred(self) -> SparseEncoded:
        """See `Encoded.recentred`."""
        return replace(self, steps=tuple(step.recentred() for step in self.steps))

    def _per_sample(self, of: Callable[[Tensor], Tensor]) -> tuple[Tensor, ...]:
        """Per level, sums of the nats at its cells, from `[N_l, channels]` of each step."""
        levels: dict[int, list[Tensor]] = {}
        for step in self.steps:
            cells, nats = self.places.levels[step.site.level], step.posterior.kl(step.prior)
            levels.setdefault(step.site.level, []).append(cells.per_sample(of(nats), self.batch))
        return tuple(torch.cat(groups, 1) for groups in levels.values())

    @property
    def log_stds(self) -> tuple[Tensor, ...]:
        """Natural logarithms of the posteriors' standard deviations `[N_l, groups * latent]`."""
        levels: dict[int, list[Tensor]] = {}
        for step in self.steps:
            if isinstance(step.posterior, Gaussian):
                levels.setdefault(step.site.level, []).append(step.posterior.log_std)
        return tuple(torch.cat(groups, 1) for groups in levels.values())


@dataclass(frozen=True)
class SparsePass:
    """Result of a whole pass over a batch.

    Attributes:
        parameters: what the decoder gives to the likelihood, a row per voxel `[V, channels]`.
        target: what it is judged by `[V, C]`.
        sample: to which sample each voxel belongs `[V]`.
        latents: what it was decoded from, with the rates.
    """

    parameters: Tensor
    target: Tensor
    sample: Tensor
    latents: SparseEncoded

    @property
    def counts(self) -> Tensor:
        """Which values of the target are known, bool `[V, C]`: all distances, and colours near the
        surface."""
        distance, colour = self.target.tensor_split([1], 1)
        shown = (colour != 0).any(1, keepdim=True).expand_as(colour)
        return torch.cat([torch.ones_like(distance, dtype=torch.bool), shown], 1)

    def distortion(self, likelihood: nn.Module, keep: Tensor, colour_weight: float) -> Tensor:
        """Minus the log-likelihood of each sample's known values, and of the marks of the levels
        from `keep` on `[batch]`, which it was not given."""
        nats = likelihood.values(self.parameters.float(), self.target.float()) * self.counts
        nats = nats[:, 0] + colour_weight * nats[:, 1:].sum(1)
        total = nats.new_zeros(len(keep)).index_add_(0, self.sample, nats)
        for level, groups in enumerate(self.latents.group_kl):
            total = total + groups[:, -1] * (keep <= level)
        return total
