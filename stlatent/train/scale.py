"""Latents that diffuse well: half as many of them decode to the input at half the size.

What a decoder makes of latents that lost their finest frequencies is the input without its finest
frequencies, so latents keep little at frequencies where a diffusion model is weakest (Skorokhodov
et al. 2025, Improving the Diffusability of Autoencoders, section 3.3; Kouzelis et al. 2025, EQ-VAE,
eq. 4). Here all levels are halved at once, and decoded by the same pass.
"""

from __future__ import annotations

from torch import Tensor

from ..model.choose import Held
from ..model.ladder import Ladder
from ..model.passes import Pass
from ..model.past import Past


def scale_error(ladder: Ladder, x: Tensor, out: Pass) -> Tensor:
    """Distortion of `x` `[B, C, *axes]` at half its size, decoded from the latents of `out` at half
    theirs; a scalar, as the likelihood measures it. Time and planes stay as they are.

    Raises:
        ValueError: the grid of level 0 cannot be halved, or a level is made of codes.
    """
    if any(level.codebook for level in ladder.levels):
        raise ValueError("loss.equivariance is for continuous latents; a mean of codes is no code")
    domain, size = ladder.domain, tuple(x.shape[2:])
    factors = [2 if axis.kind == "space" else 1 for axis in domain.axes]
    coarsest = ladder.levels[0].stride
    grid = domain.shape(size, coarsest)
    if any(n % f for n, f in zip(grid, factors, strict=True)):
        raise ValueError(
            f"loss.equivariance halves the grid of level 0, which is {list(grid)} for samples of "
            f"{list(size)}; train on samples of an even number of strides, {list(coarsest)}"
        )
    levels = [domain.pool(z, factors) for z in out.latents.levels]
    if ladder.motion is not None:
        levels[0] = ladder.motion.resized(levels[0], 1 / 2)
    half = domain.pool(domain.pad(x, coarsest), factors)
    held, grid = Held(dict(enumerate(levels))), domain.shape(half.shape[2:], coarsest)
    _, features = ladder.descend(held, grid, Past(), batch=len(x))
    parameters = domain.crop(features[-1], half.shape[2:])
    return ladder.likelihood(parameters, half).mean()
