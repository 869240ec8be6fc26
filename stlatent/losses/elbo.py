"""Rate and distortion: the evidence lower bound with its weights, per level and per prefix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from ..config import Strict
from ..gaussian import BITS_PER_NAT

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]


class RateConfig(Strict):
    """Price of the latents.

    Attributes:
        weight: of the rate in nats per input value, against the distortion; one for all levels or
            one per level, coarsest first.
        warmup_steps: the weight grows linearly from 0 over so many steps (Sønderby et al. 2016).
        free_bits: bits per sample that a level may use at no price (Kingma et al. 2016).
    """

    weight: Weight | tuple[Weight, ...] = 1e-4
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    free_bits: Weight | tuple[Weight, ...] = 0.0


class PrefixConfig(Strict):
    """Training on prefixes, so that the first levels are a code of their own.

    Attributes:
        share: of the samples, that keep only a random number of their first levels.
        until: part of the training (0 to 1) after which no sample is cut any more.
        preview: weight of the small heads that predict the input at each level's own stride.
    """

    share: Share = 0.1
    until: Share = 1.0
    preview: Weight = 0.1


class LossConfig(Strict):
    """Weights of the terms; the distortion itself is the model's likelihood, with weight 1."""

    rate: RateConfig = RateConfig()
    prefix: PrefixConfig = PrefixConfig()


@dataclass(frozen=True)
class Objective:
    """The loss of one batch.

    Attributes:
        total: scalar to minimise.
        distortion: mean over the samples that keep all levels, as the likelihood measures it.
        rate_bits: bits per input value and level, mean over the samples that keep the level.
        preview: mean absolute error of the previews.
    """

    total: Tensor
    distortion: Tensor
    rate_bits: tuple[Tensor, ...]
    preview: Tensor


def draw_prefixes(
    batch: int, levels: int, share: float, generator: torch.Generator, device: torch.device
) -> Tensor:
    """Number of levels that each sample keeps `[batch]`: all of them, or with probability `share`
    a number from 1 to `levels - 1`."""
    cut = torch.rand(batch, generator=generator, device=device) < share
    fewer = torch.randint(1, max(levels, 2), (batch,), generator=generator, device=device)
    return torch.where(cut & (levels > 1), fewer, levels)


def per_level(value: float | Sequence[float], levels: int, name: str) -> list[float]:
    """One value per level.

    Raises:
        ValueError: a list of the wrong length was given.
    """
    values = list(value) if isinstance(value, Sequence) else [value] * levels
    if len(values) != levels:
        raise ValueError(f"{name} has {len(values)} entries; the model has {levels} levels")
    return values


def objective(
    distortion: Tensor,
    kl: Sequence[Tensor],
    preview_errors: Sequence[Tensor],
    keep: Tensor,
    values: int,
    config: LossConfig,
    step: int,
    looks: Tensor | float = 0.0,
) -> Objective:
    """Weigh distortion, rate and previews.

    Args:
        distortion: per sample `[B]`, mean over its values.
        kl: per level, nats per sample and channel `[B, C_l]`.
        preview_errors: per level, mean absolute error, scalar.
        keep: number of levels that each sample keeps `[B]`; levels that a sample does not keep
            cost it no rate.
        values: input values per sample.
        step: of the training, for the warm-up.
        looks: any further penalty, scalar.
    """
    levels = len(kl)
    weights = per_level(config.rate.weight, levels, "loss.rate.weight")
    free = per_level(config.rate.free_bits, levels, "loss.rate.free_bits")
    warm = min(1.0, (step + 1) / config.rate.warmup_steps) if config.rate.warmup_steps else 1.0
    total = distortion.mean() + looks
    rate_bits = []
    for level in range(levels):
        kept = keep > level
        nats = kl[level].sum(1) * kept
        paid = nats.clamp_min(free[level] / BITS_PER_NAT) * kept if free[level] else nats
        total = total + warm * weights[level] * paid.mean() / values
        rate_bits.append(nats.sum() / kept.sum().clamp_min(1) * BITS_PER_NAT / values)
    preview = torch.stack(list(preview_errors)).mean()
    total = total + config.prefix.preview * preview
    whole = keep == levels
    shown = (distortion * whole).sum() / whole.sum().clamp_min(1)
    return Objective(total, shown.detach(), tuple(b.detach() for b in rate_bits), preview.detach())
