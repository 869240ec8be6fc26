"""How things move, as level 0 tells it, drawn."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..model.ladder import Ladder
from ..model.latents import Latents

SLOWEST = 1.0  # pixels per frame: a clip that moves less is paler
DEFINITION = (
    "By how many pixels per frame things move, as the last two latents of level 0 say it: hue is "
    "the direction (red to the right, yellow-green down, cyan to the left, violet up), colour the "
    "speed, grey what stands still. The fullest colour is the fastest place of the clip, or "
    f"{SLOWEST:g} pixel per frame if nothing is faster."
)


def drawn_motion(model: Ladder, latents: Latents) -> dict[str, Tensor]:
    """`{"motion": [1, 3, T, H, W]}` in [-1, 1], by latents of one clip; nothing, where level 0
    tells no motion."""
    if not model.config.motion:
        return {}
    x, y = model.motion.field(latents.levels[0], latents.size).unbind(1)
    speed = torch.hypot(x, y)
    shown = speed / speed.max().clamp(min=SLOWEST)
    turns = (torch.atan2(y, x) - 2 * math.pi * k / 3 for k in range(3))
    return {"motion": torch.stack([shown * torch.cos(turn) for turn in turns], 1)}
