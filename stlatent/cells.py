"""A cell makes one group of latents: prior, posterior, merge.

    h (from the coarser levels) ──┬──► prior p(z | h) ─────────┐
                                  │                            ├─ choose ─► z ─┐
    e (from the input) ───────────┴──► posterior q(z | h, e) ──┘               │
                                  h ─────────────────────────────── + merge(z) ┴─► blocks ─► h

The posterior is residual: an offset from the prior, in units of the prior's own standard deviation
(Vahdat & Kautz 2020, NVAE, section 3.2), so that a level that has nothing to add costs no bits.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import Level, ModelConfig
from .domain import Past
from .gaussian import Gaussian, bounded
from .layers import Attention, Block, Conv, Norm, Stack

LOG_NOISE = -3.0  # deviation of a new posterior, relative to its prior's: e^-3


def blocks(config: ModelConfig, width: int, count: int, attention: bool = False) -> Stack:
    """`count` residual blocks, the last one followed by attention if asked."""
    layers: list[nn.Module] = [
        Block(config.axes, width, config.expand, config.kernel, config.factorised)
        for _ in range(count)
    ]
    if attention:
        layers.append(Attention(config.axes, width))
    return Stack(layers, config.checkpointing)


class Cell(nn.Module):
    """One group of latents at one level."""

    def __init__(self, config: ModelConfig, level: Level, group: int) -> None:
        super().__init__()
        axes, width = config.axes, level.width
        self.norm = Norm(width)
        self.to_prior = Conv(axes, width, 2 * level.latent, gain=0.1)
        self.join = Conv(axes, 2 * width, width)
        self.evidence = blocks(config, width, 1)
        self.to_offset = Conv(axes, width, 2 * level.latent, gain=0.1)
        self.from_latent = Conv(axes, level.latent, width)
        self.blocks = blocks(config, width, level.blocks, level.attention)
        self._start(group)

    @torch.no_grad()
    def _start(self, group: int) -> None:
        """Begin by coding the channels of e - h that are this group's own; see `transform.py`."""
        width, latent = self.from_latent.weight.shape[:2]
        own = torch.arange(latent)
        channel = (group * latent + own) % width
        for conv in (self.to_prior, self.join, self.to_offset, self.from_latent):
            conv.weight.zero_()
        every = torch.arange(width)
        self.join.weight[every, every] = -1
        self.join.weight[every, width + every] = 1
        self.to_offset.weight[own, channel] = 1
        self.to_offset.bias[latent:] = LOG_NOISE
        self.from_latent.weight[channel, own] = 1

    def prior(self, h: Tensor, past: Past) -> Gaussian:
        """p(z | coarser levels), from the top-down features `[B, width, *grid]`."""
        mean, log_std = self.to_prior(self.norm(h), past).float().chunk(2, 1)
        return Gaussian(mean, bounded(log_std))

    def posterior(self, h: Tensor, e: Tensor, prior: Gaussian, past: Past) -> Gaussian:
        """q(z | coarser levels, x), from the top-down and bottom-up features."""
        y = self.evidence(self.join(torch.cat([h, e], 1), past), past)
        offset, log_ratio = self.to_offset(y, past).float().chunk(2, 1)
        return Gaussian(prior.mean + prior.std * offset, prior.log_std + bounded(log_ratio))

    def merge(self, h: Tensor, z: Tensor, past: Past) -> Tensor:
        """Take the chosen latent into the top-down features."""
        return self.blocks(h + self.from_latent(z.to(h.dtype), past), past)
