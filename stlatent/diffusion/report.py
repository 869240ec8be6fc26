"""What a diffusion model's levels hold, in the form of a ladder's report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from ..evaluate.diagnostics import NO_CLIPS, LevelStatistics
from ..evaluate.spectrum import BandShares, shares, spatial_energy, temporal_energy
from ..media.base import Medium
from ..model.gaussian import BITS_PER_NAT
from .noise import NoiseLevels


@dataclass(frozen=True)
class StepStatistics(LevelStatistics):
    """One level of a diffusion model, as `LevelStatistics` of a ladder; means are q's.

    Attributes:
        timestep: what the denoiser is called with.
        snr_db: signal-to-noise ratio of the level, for data of variance 1.
        fitted_bits_per_value: rate with the best variance of the prior that all values share.
    """

    timestep: float
    snr_db: float
    fitted_bits_per_value: float


@dataclass(frozen=True)
class DiffusionReport:
    """The bound on -log2 p(x), term by term, in bits per value of x (channels counted).

    Attributes:
        levels: one per timestep, noisiest first; rates with the scheduler's own variance.
        reconstruction_bits_per_value: -log2 p(x | z_{L-1}).
        grey_values: of the pixels whose probability is meant; None for a density.
        bands: `spatial`, and `temporal` for clips: the squared error of the denoiser's guess that
            each level takes away. With the best denoiser this is the energy of the change that the
            level makes, half of what `evaluate.band_shares` counts by redrawing. By chance, or
            where the denoiser is poor, a single step may make the error larger.
    """

    levels: tuple[StepStatistics, ...]
    reconstruction_bits_per_value: float
    grey_values: int | None
    bands: dict[str, BandShares]

    @property
    def prior_bits_per_value(self) -> float:
        """KL(q(z_0 | x) || N(0, I)), also counted among the levels."""
        return self.levels[0].bits_per_value

    @property
    def bits_per_dimension(self) -> float:
        """The bound of the scheduler's ancestral sampler; of a density unless `grey_values`."""
        return self.reconstruction_bits_per_value + sum(s.bits_per_value for s in self.levels)

    @property
    def fitted_bits_per_dimension(self) -> float:
        """The bound with one fitted variance per level."""
        rates = (step.fitted_bits_per_value for step in self.levels)
        return self.reconstruction_bits_per_value + sum(rates)

    def merged(self, groups: int) -> DiffusionReport:
        """Neighbouring levels taken together: rates and energies add, the rest is of the finest.

        Raises:
            ValueError: more groups than levels, or none.
        """
        count = len(self.levels)
        if not 1 <= groups <= count:
            raise ValueError(f"there are {groups} groups of {count} levels; give 1 to {count}")
        edges = [round(g * count / groups) for g in range(groups + 1)]
        parts = [slice(*edge) for edge in pairwise(edges)]
        bands = {
            name: replace(shares, energy=tuple(_added(shares.energy[part]) for part in parts))
            for name, shares in self.bands.items()
        }
        levels = tuple(_merged(g, self.levels[part]) for g, part in enumerate(parts))
        return replace(self, levels=levels, bands=bands)


class Visit(NamedTuple):
    """One level of one batch on the way down, everything `[B, C, *axes]`.

    Attributes:
        kl: in nats, with the scheduler's variance.
        mean: of the posterior.
        before, guess: the denoiser's guess of x without and with this level.
    """

    kl: Tensor
    mean: Tensor
    before: Tensor
    guess: Tensor

    def sums(self, x: Tensor) -> dict[str, Tensor]:
        """What adds up over batches, in float64 on the CPU."""
        wrong, still = x - self.before, x - self.guess
        sums = {
            "nats": _per_channel(self.kl),
            "first": _per_channel(self.mean),
            "second": _per_channel(self.mean.square()),
            "error": wrong.double().square().sum().cpu(),
            "spatial": spatial_energy(wrong) - spatial_energy(still),
        }
        if x.ndim == 5 and x.shape[2] > 1:
            sums["temporal"] = temporal_energy(wrong) - temporal_energy(still)
        return sums


class DiffusionTally:
    """Collects a `DiffusionReport` batch by batch."""

    def __init__(self, noise: NoiseLevels) -> None:
        self.noise, self.clips, self.values, self.nats = noise, 0, 0, 0.0
        self.sums: dict[str, Tensor] = {}  # [levels, ...]

    def add(self, x: Tensor, rows: Sequence[dict[str, Tensor]], reconstruction: Tensor) -> None:
        """One batch, its `Visit.sums` level by level, and -log p(x | z_{L-1}) in nats per value."""
        self.clips, self.values = self.clips + len(x), self.values + x.numel()
        self.nats += reconstruction.double().sum().item()
        for name in rows[0]:
            self.sums[name] = torch.stack([row[name] for row in rows]) + self.sums.get(name, 0)

    def result(self, grey_values: int | None) -> DiffusionReport:
        """Raises ValueError if there were no batches."""
        if not self.clips:
            raise ValueError(NO_CLIPS)
        named = {"spatial": Medium.space_bands, "temporal": Medium.time_bands}
        return DiffusionReport(
            levels=tuple(self._level(level) for level in range(len(self.noise))),
            reconstruction_bits_per_value=self.nats * BITS_PER_NAT / self.values,
            grey_values=grey_values,
            bands={k: shares(v, self.sums[k]) for k, v in named.items() if k in self.sums},
        )

    def _level(self, level: int) -> StepStatistics:
        nats, snr = self.sums["nats"][level], self.noise.snr
        positions = self.values / len(nats)
        mean = self.sums["first"][level] / positions
        variance = (self.sums["second"][level] / positions - mean**2).clamp(min=0)
        rate = nats.sum().item() / self.values
        if level == 0:  # its prior is N(0, I), whatever the data
            fitted = rate
        else:
            error = self.sums["error"][level] / self.values
            fitted = 0.5 * torch.log1p((snr[level] - snr[level - 1]) * error).item()
        return StepStatistics(
            level=level,
            bits_per_value=rate * BITS_PER_NAT,
            channel_bits=tuple((nats * BITS_PER_NAT / self.clips).tolist()),
            position_bits=tuple((nats * BITS_PER_NAT / positions).tolist()),
            mean=tuple(mean.tolist()),
            std=tuple(variance.sqrt().tolist()),
            positions=positions / self.clips,
            mark_bits=0.0,
            timestep=self.noise.timesteps[level].item(),
            snr_db=10 * snr[level].log10().item(),
            fitted_bits_per_value=fitted * BITS_PER_NAT,
        )


def _per_channel(values: Tensor) -> Tensor:
    return values.double().transpose(0, 1).flatten(1).sum(1).cpu()


def _merged(level: int, steps: Sequence[StepStatistics]) -> StepStatistics:
    return replace(
        steps[-1],
        level=level,
        bits_per_value=sum(step.bits_per_value for step in steps),
        channel_bits=_added([step.channel_bits for step in steps]),
        position_bits=_added([step.position_bits for step in steps]),
        fitted_bits_per_value=sum(step.fitted_bits_per_value for step in steps),
    )


def _added(rows: Sequence[Sequence[float]]) -> tuple[float, ...]:
    return tuple(sum(column) for column in zip(*rows, strict=True))
