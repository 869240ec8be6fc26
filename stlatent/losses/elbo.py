"""Rate and distortion: the evidence lower bound with its weights, per level and per prefix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from ..model.config import Strict
from ..model.gaussian import BITS_PER_NAT
from .pixels import PixelConfig
from .regularisers import SpectralConfig

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]


class RateConfig(Strict):
    """Price of the latents.

    Attributes:
        weight: of the rate in nats per input value, against the distortion; one for all levels or
            one per level, coarsest first. A model that takes it as an input has a range of its own,
            from which it is drawn, see `model/dial.py`.
        warmup_steps: the weight grows linearly from 0 over so many steps (Sønderby et al. 2016).
        free_bits: bits per sample that a level may use at no price (Kingma et al. 2016).
        balance: early in training, groups that would stay empty pay less: `nvae` during the
            warm-up, `gamma` for `balance_steps`; see `balance`.
        balance_steps: of `gamma`.
    """

    weight: Weight | tuple[Weight, ...] = 1e-4
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    free_bits: Weight | tuple[Weight, ...] = 0.0
    balance: Literal["nvae", "gamma"] | None = None
    balance_steps: Annotated[int, Field(ge=0)] = 1000

    def warm(self, step: int) -> float:
        """Progress of the warm-up, 0 to 1."""
        return min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0

    def balances(self, step: int) -> bool:
        """Whether groups are balanced at this step."""
        if self.balance == "gamma":
            return step < self.balance_steps
        return self.balance == "nvae" and self.warm(step) < 1


class PrefixConfig(Strict):
    """Training on prefixes, so that the first levels are a code of their own.

    Attributes:
        share: of the samples, decoded once more from a random number of their first levels.
        until: part of the training (0 to 1) after which no sample is cut any more.
        preview: weight of the small heads that predict the input at each level's own stride.
        blurred: of a ladder on a foundation, whether prefixes learn the latents of blurred pixels
            and not the mean of sharp ones, which decodes to a weave; see `foundation/blur.py`.
    """

    share: Share = 0.1
    until: Share = 1.0
    preview: Weight = 0.1
    blurred: bool = False


class LossConfig(Strict):
    """Weights of the terms; the distortion itself is the model's likelihood, with weight 1.

    Attributes:
        rate: price of the latents.
        prefix: training on the first levels alone.
        equivariance: weight of the distortion at half the size, decoded from latents at half
            theirs, so that diffusion models find them easier; see train/scale.py.
        spectral: penalty on the largest singular values; None is none.
        pixels: of a ladder on a foundation, distance in pixels; None is none.
        colour: of sparse shapes, weight of the colours near a surface against distances to it.
    """

    rate: RateConfig = RateConfig()
    prefix: PrefixConfig = PrefixConfig()
    equivariance: Weight = 0.0
    spectral: SpectralConfig | None = None
    pixels: PixelConfig | None = None
    colour: Weight = 1.0


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


def balance(nats: Sequence[Tensor], positions: Sequence[int], kind: str) -> list[Tensor]:
    """Weights of all groups, of mean 1, detached; `[groups]` per level.

    `nvae` (Vahdat & Kautz 2020, appendix A): the more a group holds, the more it pays, relative to
    its number of positions, so that no group is switched off before it has learned anything.
    `gamma` (Hazami et al. 2022, Efficient-VDVAE): in proportion to its share of the rate.

    Args:
        nats: KL per sample and group, `[B, groups]` per level.
        positions: of one group, per level.
    """
    mean = [level.detach().abs().mean(0) for level in nats]
    if kind == "nvae":
        size = [n / len(level) for n, level in zip(positions, mean, strict=True)]
        weights = [(level + 0.01) * min(size) / own for level, own in zip(mean, size, strict=True)]
    else:
        weights = [level / n for level, n in zip(mean, positions, strict=True)]
    scale = torch.cat(weights).mean().clamp_min(1e-12)
    return [level / scale for level in weights]


def objective(
    distortion: Tensor,
    kl: Sequence[Tensor],
    preview_errors: Sequence[Tensor],
    keep: Tensor,
    values: int,
    positions: Sequence[int],
    config: LossConfig,
    step: int,
    extra: Tensor | float = 0.0,
    rate_weights: Tensor | None = None,
) -> Objective:
    """Weigh distortion, rate and previews.

    Args:
        distortion: per sample `[B]`, mean over its values.
        kl: per level, nats per sample and group `[B, groups]`.
        preview_errors: per level, mean absolute error, scalar; none without previews.
        keep: number of levels that each sample keeps `[B]`; levels that a sample does not keep
            cost it no rate.
        values: input values per sample.
        positions: of one group of latents, per level.
        step: of the training, for warm-up and balancing.
        extra: any further penalty, scalar.
        rate_weights: λ of each sample `[B]`, where they differ. Its distortion then counts by
            `config.rate.weight` over it: all rates are paid alike, so that no λ pulls harder.
    """
    levels, rate = len(kl), config.rate
    weights = per_level(rate.weight, levels, "loss.rate.weight")
    free = per_level(rate.free_bits, levels, "loss.rate.free_bits")
    kept = [(keep > level).unsqueeze(1) for level in range(levels)]
    nats = [group * own for group, own in zip(kl, kept, strict=True)]
    paid = nats
    if rate.balances(step):
        shares = balance(nats, positions, rate.balance)
        paid = [level * share for level, share in zip(nats, shares, strict=True)]
    pull = 1.0 if rate_weights is None else rate.weight / rate_weights
    total = (pull * distortion).mean() + extra
    for level, own in enumerate(kept):
        cost = paid[level].sum(1, keepdim=True)
        cost = cost.clamp_min(free[level] / BITS_PER_NAT) * own if free[level] else cost
        total = total + rate.warm(step) * weights[level] * cost.mean() / values
    preview = torch.stack([*preview_errors] or [distortion.new_zeros(())]).mean()
    total = total + config.prefix.preview * preview
    whole = keep == levels
    shown = (distortion * whole).sum() / whole.sum().clamp_min(1)
    rate_bits = tuple(
        level.detach().sum() / own.sum().clamp_min(1) * BITS_PER_NAT / values
        for level, own in zip(nats, kept, strict=True)
    )
    return Objective(total, shown.detach(), rate_bits, preview.detach())
