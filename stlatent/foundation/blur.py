"""Pixels as far as the first levels can tell them: what a short prefix should decode to.

The mean of all latents that a prefix leaves open is no latent that the foundation's decoder has
seen, and decodes to a weave. Latents of a blurred picture are: they decode to the blurred picture,
which in pixels is as close to the sharp one as its numbers allow.

Prefixes that can tell more than a pixel per latent learn sharp latents as ever: what they leave
open lies within a latent. Blurred ones made the third prefix on the tiny FLUX.2 worse than the
second, see docs/studies.md.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from ..model.config import ModelConfig
from ..model.domain import Domain

COLOURS = 3


def blur_pixels(config: ModelConfig, levels: int) -> float:
    """Side of the pixels that as many numbers as the first `levels` levels have could draw: one for
    each colour. Along time nothing is blurred, since what stands still needs no more numbers."""
    axes = config.axes
    density = sum(
        level.latent * level.groups / math.prod(axes.of_space(level.stride))
        for level in config.levels[:levels]
    )
    return max(1.0, math.sqrt(COLOURS / density))


def blurred(x: Tensor, domain: Domain, side: float) -> Tensor:
    """Pixels `[B, 3, (T,) H, W]` as if they were `side` pixels wide each, drawn smoothly."""
    size = x.shape[-2:]
    few = [max(1, round(n / side)) for n in size]
    frames = x if domain.causal is None else x.transpose(1, 2).flatten(0, 1)
    frames = F.interpolate(frames, few, mode="bicubic", antialias=True)
    frames = F.interpolate(frames, size, mode="bicubic").clamp(-1, 1)
    return frames if domain.causal is None else frames.unflatten(0, x.shape[:3:2]).transpose(1, 2)
