"""Latents of a frozen autoencoder, compared as what they decode to.

Means of latents, as a short prefix decodes to, may lie where the decoder has never been: what is
close in latents then looks woven. So what the ladder decodes goes through the frozen decoder, and
gradients come back through it. It is compared with what the decoder makes of the true latents,
which is the best that there is to be had; and since decoding is dear, in a window, now and then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from ..model.config import Positive, Strict

EPS = 1e-6  # of squared errors of values in [-1, 1]


class PixelConfig(Strict):
    """Distance in pixels, through the frozen decoder of a foundation.

    Attributes:
        weight: against the distortion in latents.
        every: only every so many steps, and then so many times the weight.
        window: size along each axis of what is decoded, in latents of the foundation.
    """

    weight: Annotated[float, Field(gt=0)] = 1.0
    every: Positive = 2
    window: Positive = 12


def pixel_error(
    decode: Callable[[Tensor], Tensor],
    teacher: Callable[[Tensor], Tensor],
    z: Tensor,
    true: Tensor,
    window: int,
    generator: torch.Generator,
) -> Tensor:
    """Half the logarithm of the mean squared error in pixels, per sample `[B]`: as likelihood
    `fitted` counts, so that it weighs as much as the distortion in latents.

    Args:
        decode: latents `[B, C, *grid]` to pixels.
        teacher: the same as the foundation does it, which true ones go through.
        z, true: latents that were decoded by the ladder, and those that it was given.
        generator: of the window's place, the same one for all samples.
    """
    for dim in range(2, z.ndim):
        room = z.shape[dim] - min(window, z.shape[dim])
        place = torch.randint(room + 1, (), generator=generator, device=generator.device)
        z, true = (t.narrow(dim, int(place), z.shape[dim] - room) for t in (z, true))
    with torch.no_grad():
        wanted = teacher(true)
    error = (decode(z) - wanted).square().flatten(1).mean(1)
    return 0.5 * (error + EPS).log()
