"""Residual blocks of the families, any of them over any domain.

    convnext   per-position norm, depthwise neighbours, wide pointwise layer     the default
    nvae       batch norm and swish, depthwise-separable, squeeze-and-excitation
    vdvae      no norm at all, a bottleneck whose last layer starts small

Every block is `x + branch(x)`. None looks ahead in time or pools over it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import ModelConfig
from .dial import Modulation
from .domain import Domain
from .kinds import ConvNextCell, NvaeCell, VdvaeCell
from .layers import AGAIN, Attention, Conv, Norm, ResidualBlock, Stack
from .past import Past

CAUSAL_KERNEL = 3  # the present step and two of the past
NVAE_SCALE = 0.1
NVAE_WIDEN, NVAE_KERNEL = 6, 5
VDVAE_NARROW = 4


class Neighbours(nn.Module):
    """What a position learns from its neighbours: over space, then over time, then from the other
    planes of a triplane; `[B, C_in, *axes] -> [B, C_out, *axes]`."""

    def __init__(
        self,
        config: ModelConfig,
        inputs: int,
        outputs: int,
        kernel: int,
        depthwise: bool = False,
    ) -> None:
        super().__init__()
        self.domain = domain = config.axes
        causal = domain.causal is not None
        joint = CAUSAL_KERNEL if causal and not config.factorised else 1
        self.space = Conv(domain, inputs, outputs, kernel, joint, depthwise)
        self.time = (
            Conv(domain, outputs, outputs, 1, CAUSAL_KERNEL, depthwise)
            if causal and config.factorised
            else None
        )
        self.mix = Conv(domain, 2 * outputs, outputs) if domain.square else None

    def forward(self, x: Tensor, past: Past) -> Tensor:
        y = self.space(x, past)
        if self.time is not None:
            y = self.time(y, past)
        if self.mix is not None:
            y = y + self.mix(self.domain.exchange(y), past)
        return y


class ConvNext(ResidualBlock):
    """norm ─ depthwise neighbours ─ pointwise C→eC ─ SiLU ─ pointwise eC→C

    (Liu et al. 2022, ConvNeXt, with RMS norm.) The last layer starts at zero, and so the block as
    the identity.
    """

    def __init__(self, config: ModelConfig, width: int, rising: bool) -> None:
        super().__init__(config.drop_path)
        wide = config.cell.expand * width
        self.norm = Norm(width)
        self.near = Neighbours(config, width, width, config.cell.kernel, depthwise=True)
        self.widen = Conv(config.axes, width, wide)
        self.narrow = Conv(config.axes, wide, width, gain=0.0)

    def branch(self, x: Tensor, past: Past) -> Tensor:
        y = self.near(self.norm(x), past)
        return self.narrow(F.silu(self.widen(y, past)), past)


class BatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation over everything but the channels, for any number of axes.

    Fixed statistics in use, so it does not look ahead; NVAE's constants.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-5, momentum=0.05)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and AGAIN.running:  # this batch is counted already
            spare = self.running_mean.clone(), self.running_var.clone()
            return F.batch_norm(x, *spare, self.weight, self.bias, True, eps=self.eps)
        return super().forward(x)

    def _check_input_dim(self, input: Tensor) -> None:
        pass  # any


class SqueezeExcite(nn.Module):
    """Gates channels by their mean over space, frame by frame (Hu et al. 2018)."""

    def __init__(self, domain: Domain, width: int) -> None:
        super().__init__()
        self.domain = domain
        hidden = max(width // 16, 4)
        self.squeeze = Conv(domain, width, hidden)
        self.excite = Conv(domain, hidden, width)

    def forward(self, x: Tensor, past: Past) -> Tensor:
        y = F.relu(self.squeeze(self.domain.pool(x, x.shape[2:]), past))
        return x * torch.sigmoid(self.excite(y, past))


class Nvae(ResidualBlock):
    """The residual cells of NVAE (Vahdat & Kautz 2020, figure 3), added with a tenth of their size.

    rising:   2 x (batch norm ─ swish ─ 3-wide convolution) ─ squeeze-excite
    falling:  batch norm ─ 1 C→6C ─ batch norm ─ swish ─ depthwise 5 ─ batch norm ─ swish ─ 1 6C→C
              ─ batch norm ─ squeeze-excite
    """

    scale = NVAE_SCALE

    def __init__(self, config: ModelConfig, width: int, rising: bool) -> None:
        super().__init__(config.drop_path)
        axes, wide = config.axes, NVAE_WIDEN * width
        if rising:
            self.norms = nn.ModuleList(BatchNorm(width) for _ in range(2))
            self.layers = nn.ModuleList(Neighbours(config, width, width, 3) for _ in range(2))
            self.active = (True, True)
        else:
            self.norms = nn.ModuleList(BatchNorm(n) for n in (width, wide, wide, width))
            near = Neighbours(config, wide, wide, NVAE_KERNEL, depthwise=True)
            self.layers = nn.ModuleList((Conv(axes, width, wide), near, Conv(axes, wide, width)))
            self.active = (False, True, True)
        self.gate = SqueezeExcite(axes, width)

    def branch(self, x: Tensor, past: Past) -> Tensor:
        for norm, layer, active in zip(self.norms, self.layers, self.active, strict=False):
            x = norm(x)
            x = layer(F.silu(x) if active else x, past)
        if len(self.norms) > len(self.layers):
            x = self.norms[-1](x)
        return self.gate(x, past)


class Bottleneck(nn.Module):
    """GELU before each of four convolutions, 1-3-3-1, in the middle a quarter as wide (Child 2021,
    VDVAE, figure 3): `[B, C_in, *axes] -> [B, C_out, *axes]`.

    gain: of the last layer: small for deep ladders, 0 for a prior that starts as N(0, 1).
    """

    def __init__(self, config: ModelConfig, inputs: int, outputs: int, gain: float) -> None:
        super().__init__()
        middle = max(1, inputs // VDVAE_NARROW)
        self.narrow = Conv(config.axes, inputs, middle)
        self.near = nn.ModuleList(Neighbours(config, middle, middle, 3) for _ in range(2))
        self.widen = Conv(config.axes, middle, outputs, gain=gain)

    def forward(self, x: Tensor, past: Past) -> Tensor:
        for layer in (self.narrow, *self.near, self.widen):
            x = layer(F.gelu(x), past)
        return x


class Vdvae(ResidualBlock):
    """A bottleneck; its last layer starts at 1 / sqrt(number of blocks), so that the variance of
    the stream does not grow with depth."""

    def __init__(self, config: ModelConfig, width: int, rising: bool) -> None:
        super().__init__(config.drop_path)
        self.inner = Bottleneck(config, width, width, gain=1 / math.sqrt(depth(config)))

    def branch(self, x: Tensor, past: Past) -> Tensor:
        return self.inner(x, past)


BLOCKS = {ConvNextCell: ConvNext, NvaeCell: Nvae, VdvaeCell: Vdvae}


def depth(config: ModelConfig) -> int:
    """Residual blocks on the way down, which is where they add up."""
    return max(1, config.stem.blocks + sum(level.blocks * level.groups for level in config.levels))


def blocks(
    config: ModelConfig, width: int, count: int, attention: bool = False, rising: bool = False
) -> Stack:
    """`count` residual blocks, the last one followed by attention if asked.

    rising: on the way up, where NVAE uses another cell than on the way down.
    """
    layers: list[nn.Module] = [
        BLOCKS[type(config.cell)](config, width, rising) for _ in range(count)
    ]
    if attention:
        layers.append(Attention(config.axes, width, config.drop_path))
    for layer in layers if config.rate else ():
        layer.modulation = Modulation(config.rate, width)
    return Stack(layers, config.checkpointing)
