"""What each level of a ladder holds: quality of every prefix, rate and activity of every channel.

Clips are an iterable of `[1, C, *axes]` in [-1, 1], of any sizes, taken one at a time. Latents are
the posterior's means, as `encode` gives them, and rates are the KL at these latents.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..media.base import Medium
from ..media.registry import medium_of
from ..model.gaussian import BITS_PER_NAT
from ..model.ladder import Ladder
from ..model.latents import Latents
from ..triplane.autoencoder import as_volume

NO_CLIPS = "there are no clips to evaluate; give at least one of shape [1, C, *axes]"
ACTIVE_BITS = 0.1 * BITS_PER_NAT  # of a channel and clip: 0.1 nat, as NVAE's training log counts
ACTIVE_VARIANCE = 0.01  # Burda et al. 2016, section 5.2: Var_x(E_q[z]) > 0.01


@dataclass(frozen=True)
class Quality:
    """One sample decoded from one prefix.

    Attributes:
        figures: of the model's medium, by their keys; NaN where there is none.
        numbers: latent numbers that the prefix holds.
        values: values of the input, channels included.
        bits: KL of the prefix's levels, posterior against prior.
    """

    figures: Mapping[str, float]
    numbers: int
    values: int
    bits: float


@dataclass(frozen=True)
class PrefixQuality:
    """All samples decoded from the first `levels` levels; sizes and rates are over all of them."""

    levels: int
    clips: tuple[Quality, ...]

    def mean(self, figure: str) -> float:
        """Of one figure, over the samples that have it; NaN where none has."""
        values = [clip.figures[figure] for clip in self.clips]
        return _mean([value for value in values if not math.isnan(value)])

    @property
    def psnr_db(self) -> float:
        """Mean over clips."""
        return self.mean("psnr_db")

    @property
    def ssim(self) -> float:
        """Mean over clips."""
        return self.mean("ssim")

    @property
    def numbers(self) -> float:
        """Mean over clips."""
        return _mean([clip.numbers for clip in self.clips])

    @property
    def values_per_number(self) -> float:
        """Input values per latent number: the N of 1/N."""
        return sum(c.values for c in self.clips) / sum(c.numbers for c in self.clips)

    @property
    def bits(self) -> float:
        """Mean over clips."""
        return _mean([clip.bits for clip in self.clips])

    @property
    def bits_per_value(self) -> float:
        """Of the rate, for each value of the input, over all clips."""
        return sum(c.bits for c in self.clips) / sum(c.values for c in self.clips)


@dataclass(frozen=True)
class LevelStatistics:
    """Rate and spread of one level, channel by channel; level 0 is the coarsest.

    Attributes:
        level: its number.
        bits_per_value: KL in bits per input value.
        channel_bits: KL of each channel, summed over positions, mean over clips.
        position_bits: KL of each channel per latent position.
        mean, std: of the posterior means over clips and positions.
        positions: of latents, mean over clips.
        mark_bits: of the marks of a sparse model, which say where finer cells are, mean over clips.
    """

    level: int
    bits_per_value: float
    channel_bits: tuple[float, ...]
    position_bits: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    positions: float
    mark_bits: float

    @property
    def bits(self) -> float:
        """KL in bits, that of marks included, mean over clips."""
        return sum(self.channel_bits) + self.mark_bits

    @property
    def active_by_rate(self) -> tuple[bool, ...]:
        """Channels whose KL exceeds 0.1 nat per clip (Vahdat & Kautz 2020); grows with the clip."""
        return tuple(bits > ACTIVE_BITS for bits in self.channel_bits)

    @property
    def active_by_variance(self) -> tuple[bool, ...]:
        """Channels with Var_x(E_q[z]) > 0.01 (Burda et al. 2016)."""
        return tuple(std**2 > ACTIVE_VARIANCE for std in self.std)


class LevelTally:
    """Collects `LevelStatistics` clip by clip.

    Args:
        marked: whether the last channel of every level's KL is that of marks.
    """

    def __init__(self, marked: bool = False) -> None:
        self.values, self.marked = 0, marked
        self.clips: list[list[dict[str, Tensor]]] = []  # [clips][levels]

    def add(self, x: Tensor, latents: Latents, kl: Sequence[Tensor]) -> None:
        """One clip `[1, C, *axes]`, its latents, and its KL in nats per level `[1, C_l]`."""
        self.values += x.numel()
        levels = zip(kl, latents.levels, strict=True)
        self.clips.append([_sums(nats, z, self.marked) for nats, z in levels])

    def result(self) -> list[LevelStatistics]:
        """Raises ValueError if there were no clips."""
        if not self.clips:
            raise ValueError(NO_CLIPS)
        return [self._level(k, level) for k, level in enumerate(zip(*self.clips, strict=True))]

    def _level(self, level: int, clips: Sequence[dict[str, Tensor]]) -> LevelStatistics:
        total = {name: sum(sums[name] for sums in clips) for name in clips[0]}
        mean = total["first"] / total["positions"]
        variance = (total["second"] / total["positions"] - mean**2).clamp(min=0)
        bits = total["bits"].sum() + total["marks"]
        return LevelStatistics(
            level=level,
            bits_per_value=bits.item() / self.values,
            channel_bits=tuple((total["bits"] / len(clips)).tolist()),
            position_bits=tuple((total["bits"] / total["positions"]).tolist()),
            mean=tuple(mean.tolist()),
            std=tuple(variance.sqrt().tolist()),
            positions=total["positions"].item() / len(clips),
            mark_bits=total["marks"].item() / len(clips),
        )


@torch.no_grad()
def prefix_quality(model: Ladder, clips: Iterable[Tensor]) -> list[PrefixQuality]:
    """Figures, numbers and bits of every prefix, the shortest first.

    Raises:
        ValueError: no clips, or they cannot be compared, such as frames too small for SSIM.
    """
    medium, rows = medium_of(model), []
    for x in clips:
        latents = model.encode(x)
        rows.append(sample_quality(medium, x, latents, latents.kl, decode_prefixes(model, latents)))
    return gather(rows)


@torch.no_grad()
def level_statistics(model: Ladder, clips: Iterable[Tensor]) -> list[LevelStatistics]:
    """KL, activity, mean and standard deviation per level and channel, coarsest level first.

    Raises:
        ValueError: no clips.
    """
    tally = LevelTally(model.domain.sparse)
    for x in clips:
        latents = model.encode(x)
        tally.add(x, latents, latents.kl)
    return tally.result()


def decode_prefixes(model: Ladder, latents: Latents) -> list[Tensor]:
    """Decoded from levels 0, 0-1, ..., all; the finer ones at their prior's mean."""
    counts = range(1, 1 + len(latents.levels))
    return [as_volume(model, model.decode(latents, levels=count)) for count in counts]


def redraw(
    model: Ladder,
    latents: Latents,
    levels: Sequence[int],
    generator: torch.Generator | None = None,
) -> Tensor:
    """`[B, C, *size]` in [-1, 1] with these levels drawn anew from their priors, the others held:
    `[k]` is one level, `range(k)` the coarsest ones, `range(k, n)` the finest ones, which alone can
    be drawn of a sparse model."""
    held = latents.held([k for k in range(len(latents.levels)) if k not in levels])
    size, batch = latents.size, latents.batch
    return as_volume(model, model.sample(size, batch_size=batch, held=held, generator=generator))


def redrawings(model: Ladder) -> tuple[list[range], list[range]]:
    """Levels that `redraw` is asked for: each alone, and all from a level on or up to it; of a
    sparse model, where the coarser cells say which finer ones there are, all from a level on."""
    count = len(model.levels)
    if model.domain.sparse:
        return [], [range(k, count) for k in range(1, count)]
    sides = [(range(k, count), range(k + 1)) for k in range(1, count - 1)]
    return [range(k, k + 1) for k in range(count)], list(itertools.chain.from_iterable(sides))


def sample_quality(
    medium: Medium,
    x: Tensor,
    latents: Latents,
    kl: Sequence[Tensor],
    prefixes: Sequence[Tensor],
) -> tuple[Quality, ...]:
    """One sample `[1, C, *axes]` decoded from each prefix; `kl` in nats per level `[1, C_l]`."""
    numbers, bits, row = 0, 0.0, []
    for z, nats, decoded in zip(latents.levels, kl, prefixes, strict=True):
        numbers += z.numel()
        bits += nats.sum().item() * BITS_PER_NAT
        row.append(Quality(medium.compare(x, decoded), numbers, x.numel(), bits))
    return tuple(row)


def gather(rows: Sequence[tuple[Quality, ...]]) -> list[PrefixQuality]:
    """Rows of `sample_quality`, one per sample, to one record per prefix."""
    if not rows:
        raise ValueError(NO_CLIPS)
    return [PrefixQuality(k + 1, column) for k, column in enumerate(zip(*rows, strict=True))]


def _sums(nats: Tensor, z: Tensor, marked: bool) -> dict[str, Tensor]:
    """What adds up over clips, per channel, in float64 on the CPU."""
    flat = z.cpu().double().transpose(0, 1).flatten(1)
    bits = nats.cpu().double().sum(0) * BITS_PER_NAT
    bits, marks = (bits[:-1], bits[-1]) if marked else (bits, bits.new_zeros(()))
    return {
        "bits": bits,
        "marks": marks,
        "positions": torch.tensor(flat.shape[1]),
        "first": flat.sum(1),
        "second": flat.square().sum(1),
    }


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan
