"""How the latents of each channel are distributed, as a diffusion model meets them, and whether it
will find them easy.

It starts from noise of mean 0 and deviation 1 in every channel, and makes large structure before
small. So it likes values near a normal distribution, samples that are alike in scale, energy at low
frequencies, and no channel that says what another says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..model.domain import Domain
from ..model.transform import cosines

KURTOSIS, LARGEST = 6.0, 8.0  # of what is easy, at most; a normal distribution has a kurtosis of 3
CLIP_STD = (0.5, 2.0)  # of a clip, beside that of all
SAME = 0.99  # correlation from which on a channel says what another one says
FINE = 0.5  # of the highest frequency: beyond it lies what is fine


@dataclass(frozen=True)
class ChannelStatistics:
    """One channel of a level, over all clips and positions; of the posterior's means.

    Attributes:
        mean, std: of the values.
        kurtosis: fourth moment over the squared variance; 3 of a normal distribution.
        least, largest: values, in deviations from the mean.
        clip_std: the least and the largest deviation of a clip, over that of all.
        noise: variance of the posterior over that of its means.
        fine: share of the energy beyond half of the highest frequency along space; None without
            frequencies.
        same_as: the channel before it that it is a copy of, up to its sign and scale; or None.
    """

    mean: float
    std: float
    kurtosis: float
    least: float
    largest: float
    clip_std: tuple[float, float]
    noise: float
    fine: float | None
    same_as: int | None


@dataclass(frozen=True)
class DiffusableLevel:
    """One level.

    Attributes:
        channels: each of them.
        white: what `fine` is of white noise; None without frequencies.
        packed, copies: channels on the grid of level 0, and how many of them are copies at the
            first step of a video, since a group of one step stands where later ones have several.
        verdict: in words.
    """

    channels: tuple[ChannelStatistics, ...]
    white: float | None
    packed: int
    copies: int
    verdict: str


class DiffusableTally:
    """Collects `DiffusableLevel` clip by clip."""

    def __init__(self, domain: Domain, strides: Sequence[Sequence[int]]) -> None:
        self.domain, self.strides = domain, strides
        self.clips: list[list[dict[str, Tensor]]] = []  # [clips][levels]

    def add(self, levels: Sequence[Tensor], log_stds: Sequence[Tensor | None]) -> None:
        """The latents of one clip `[1, C_l, *grid_l]`, and the deviations of their posteriors."""
        pairs = zip(levels, log_stds, strict=True)
        self.clips.append([self._sums(z.cpu(), log_std) for z, log_std in pairs])

    def result(self) -> list[DiffusableLevel]:
        """Of each level over all clips, coarsest first."""
        levels = zip(*self.clips, strict=True)
        return [self._level(k, clips) for k, clips in enumerate(levels)]

    def _sums(self, z: Tensor, log_std: Tensor | None) -> dict[str, Tensor]:
        values = z[0].double().flatten(1)  # [C, n]
        noise = torch.zeros(len(values), dtype=torch.float64)  # of codes there is none
        if log_std is not None:
            noise = (2 * log_std[0]).exp().cpu().double().flatten(1).sum(1)
        powers = torch.stack([values**k for k in (1, 2, 3, 4)])
        fine, energy, white = self._frequencies(z.double())
        return {
            "count": torch.tensor(values.shape[1]),
            "powers": powers.sum(2),
            "products": values @ values.T,
            "least": values.amin(1),
            "largest": values.amax(1),
            "std": values.std(1, correction=0),
            "noise": noise,
            "fine": fine,
            "energy": energy,
            "white": white,
        }

    def _frequencies(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Energy beyond `FINE` and in all but the mean, per channel; the share of frequencies that
        lie beyond it."""
        frequency = torch.zeros(z.shape[2:])
        for dim, axis in enumerate(self.domain.axes, start=2):
            n = z.shape[dim]
            if axis.kind == "space" and n > 1:
                z = torch.tensordot(z, cosines(n).to(z), ([dim], [1])).movedim(-1, dim)
                own = torch.arange(n) / (n - 1)
                frequency = frequency.movedim(dim - 2, -1).maximum(own).movedim(-1, dim - 2)
        power = z.square().sum(0).flatten(1)
        counted, fine = (frequency > 0).flatten(), (frequency > FINE).flatten()
        white = fine.sum() / counted.sum().clamp(min=1)
        return power[:, fine].sum(1), power[:, counted].sum(1), white.double()

    def _level(self, level: int, clips: Sequence[dict[str, Tensor]]) -> DiffusableLevel:
        count = sum(clip["count"] for clip in clips)
        first, second, third, fourth = sum(clip["powers"] for clip in clips) / count
        variance = (second - first**2).clamp(min=1e-12)
        central = fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4
        products = sum(clip["products"] for clip in clips) / count - first[:, None] * first
        same = (products / (variance[:, None] * variance).sqrt()).abs() > SAME
        std = variance.sqrt()
        spread = torch.stack([clip["std"] for clip in clips]) / std
        energy = sum(clip["energy"] for clip in clips)
        fine = sum(clip["fine"] for clip in clips) / energy.clamp(min=1e-30)
        noise = sum(clip["noise"] for clip in clips) / count / variance
        least = (torch.stack([clip["least"] for clip in clips]).amin(0) - first) / std
        largest = (torch.stack([clip["largest"] for clip in clips]).amax(0) - first) / std
        known = bool(sum(clip["white"] for clip in clips) > 0)
        channels = tuple(
            ChannelStatistics(
                mean=first[c].item(),
                std=std[c].item(),
                kurtosis=(central[c] / variance[c] ** 2).item(),
                least=least[c].item(),
                largest=largest[c].item(),
                clip_std=(spread[:, c].min().item(), spread[:, c].max().item()),
                noise=noise[c].item(),
                fine=fine[c].item() if known else None,
                same_as=next((other for other in range(c) if same[c, other]), None),
            )
            for c in range(len(std))
        )
        white = (sum(clip["white"] for clip in clips) / len(clips)).item() if known else None
        packed, copies = self._copies(level, len(channels))
        return DiffusableLevel(
            channels, white, packed, copies, verdict(level, channels, white, copies, packed)
        )

    def _copies(self, level: int, channels: int) -> tuple[int, int]:
        pairs = zip(self.strides[0], self.strides[level], strict=True)
        factors = [coarse // own for coarse, own in pairs]
        packed, steps = channels * math.prod(factors), self.domain.of_time(factors)
        return packed, packed - packed // steps


def verdict(
    level: int,
    channels: Sequence[ChannelStatistics],
    white: float | None,
    copies: int,
    packed: int,
) -> str:
    """What of a level a diffusion model will find hard, in words."""
    kurtosis = max(c.kurtosis for c in channels)
    largest = max(max(-c.least, c.largest) for c in channels)
    spread = min(c.clip_std[0] for c in channels), max(c.clip_std[1] for c in channels)
    fines = [c.fine for c in channels if c.fine is not None]
    same = [c for c, found in enumerate(channels) if found.same_as is not None]
    hard = []
    if kurtosis > KURTOSIS or largest > LARGEST:
        hard.append(
            f"long tails (a kurtosis of up to {kurtosis:.1f}, values up to {largest:.1f} "
            f"deviations from the mean; easy are {KURTOSIS:g} and {LARGEST:g}), so that losses are "
            f"ruled by rare values"
        )
    if spread[0] < CLIP_STD[0] or spread[1] > CLIP_STD[1]:
        hard.append(
            f"samples of unlike scale (deviations from {spread[0]:.2f} to {spread[1]:.2f} of that "
            f"of all), which no single noise schedule fits"
        )
    if fines and white is not None and sum(fines) / len(fines) > white:
        hard.append(
            f"more energy at fine frequencies than white noise ({sum(fines) / len(fines):.0%}, "
            f"beside {white:.0%}), so that coarse is not made before fine"
        )
    if same:
        hard.append(f"channels that are copies of others ({', '.join(map(str, same))})")
    found = f"Level {level}: " + ("; ".join(hard) if hard else "easy for a diffusion model") + "."
    if copies:
        found += (
            f" On the grid of level 0, {copies} of its {packed} channels are copies at the first "
            f"frame; on its own grid (export --grid) none are."
        )
    return found
