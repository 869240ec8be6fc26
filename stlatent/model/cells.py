"""A cell makes one group of latents: prior, posterior, merge.

    h (from the coarser levels) ──┬──► prior p(z | h) ─────────┐
                                  │                            ├─ choose ─► z ─┐
    e (from the input) ───────────┴──► posterior q(z | h, e) ──┘               │
                                  h ───────────────────── + merge(z), spread ──┴─► blocks ─► h

The posteriors are in `posteriors.py`, the residual blocks in `blocks.py`; any goes with any.
"""

from __future__ import annotations

from torch import Tensor, nn

from .blocks import Bottleneck, blocks
from .choose import Distribution
from .config import Level, ModelConfig
from .kinds import VdvaeCell
from .layers import Conv, Norm
from .past import Past
from .posteriors import make_posterior
from .spread import Spread


class Cell(nn.Module):
    """One group of latents at one level, the `group`-th."""

    def __init__(self, config: ModelConfig, level: Level, group: int) -> None:
        super().__init__()
        axes, width = config.axes, level.width
        self.posterior = make_posterior(config, level)
        head = VdvaeHead if isinstance(config.cell, VdvaeCell) else Head
        self.head = head(config, width, self.posterior.prior_channels)
        self.from_latent = Conv(axes, level.latent, width)
        known = min(group * level.latent + config.pictures(level), width)
        self.spread = Spread(axes, width, known, config.spread) if config.spread > 1 else None
        self.blocks = blocks(config, width, level.blocks, level.attention)

    def prior(self, h: Tensor, past: Past) -> tuple[Distribution, Tensor]:
        """p(z | coarser levels) from the top-down features `[B, width, *grid]`, and the features
        with what the head adds to them."""
        parameters, h = self.head(h, past)
        return self.posterior.prior(parameters), h

    def merge(self, h: Tensor, z: Tensor, past: Past) -> Tensor:
        """Take the chosen latent into the top-down features."""
        h = h + self.from_latent(z.to(h.dtype), past)
        return self.blocks(h if self.spread is None else self.spread(h, past), past)


class Head(nn.Module):
    """The numbers that a prior is made of, by one pointwise layer; they start at zero."""

    def __init__(self, config: ModelConfig, width: int, outputs: int) -> None:
        super().__init__()
        self.norm = Norm(width)
        self.out = Conv(config.axes, width, outputs, gain=0.0)

    def forward(self, h: Tensor, past: Past) -> tuple[Tensor, Tensor]:
        return self.out(self.norm(h), past), h


class VdvaeHead(nn.Module):
    """The same by a bottleneck, which also adds to the stream (Child 2021, VDVAE, figure 3)."""

    def __init__(self, config: ModelConfig, width: int, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.inner = Bottleneck(config, width, outputs + width, gain=0.0)

    def forward(self, h: Tensor, past: Past) -> tuple[Tensor, Tensor]:
        y = self.inner(h, past)
        return y[:, : self.outputs], h + y[:, self.outputs :]
