"""Latents improved by gradient descent, where the encoder's one guess is not good enough.

Semi-amortised inference (Kim et al. 2018): the encoder's latents are the start, the decoder is
fixed, and the latents move so that the input comes out better, from every prefix of levels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ...checkpoint import Model
from ...model.choose import Held, Prefix
from ...model.latents import Latents
from ...sparse.blocks import Blocks
from ...sparse.latents import SparseEncoded, SparseLatents

STEP = 0.03  # of Adam, in units of the latents


def refine(model: Model, x: Tensor, latents: Latents, steps: int) -> Latents:
    """Latents of `x` `[B, C, *axes]` after `steps` steps of Adam, from those of `Ladder.encode`, on
    all levels but an exact one.

    What falls is the mean over all prefixes of minus the log-likelihood; the rate is not looked at.
    Points at which a field is judged are drawn from a seed of their own, the same in every call.

    Raises:
        ValueError: the model's latents are codes, which have no gradient.
    """
    _check_continuous(model)
    count = len(model.config.levels)
    keep = torch.arange(1, count + 1, device=x.device).repeat(len(x))
    target = x.repeat_interleave(count, 0)

    def loss(levels: Sequence[Tensor]) -> Tensor:
        held = Held({k: z.repeat_interleave(count, 0) for k, z in enumerate(levels)})
        parameters = model.likelihood_parameters(Prefix(keep, held), latents.size, len(target))
        return model.likelihood(parameters, target).sum() / count

    return Latents(_descended(latents.levels[:count], loss, steps), latents.size)


def refine_blocks(model: Model, x: Blocks, latents: SparseEncoded, steps: int) -> SparseLatents:
    """The same of one shape near its surface, in the cells that it has. Part of what falls is what
    the marks cost that a prefix lacks: decoding goes on with them.

    Raises:
        ValueError: the model's latents are codes, which have no gradient.
    """
    _check_continuous(model)
    count = len(model.levels)
    keep, shapes = torch.arange(1, count + 1, device=x.device), x.chosen([0] * count)

    def loss(levels: Sequence[Tensor]) -> Tensor:
        rows = tuple(z.repeat(count, 1) for z in levels)
        marks = tuple(m.repeat(count) for m in latents.marks)
        held = SparseLatents(rows, marks, x.resolution, count)
        out = model(shapes, model.given(held), keep)
        return out.distortion(model.likelihood, keep, 1.0).sum() / count

    return SparseLatents(_descended(latents.levels, loss, steps), latents.marks, x.resolution)


def _check_continuous(model: Model) -> None:
    if any(level.codebook for level in model.levels):
        raise ValueError("latents that are codes cannot be refined")


def _descended(
    start: Sequence[Tensor], loss: Callable[[Sequence[Tensor]], Tensor], steps: int
) -> tuple[Tensor, ...]:
    """Latents of all levels after steps of Adam down a loss."""
    device = start[0].device
    devices = [device] if device.type == "cuda" else []
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices):
        torch.manual_seed(0)
        levels = [z.clone().requires_grad_(True) for z in start]
        adam = torch.optim.Adam(levels, lr=STEP)
        for _ in range(steps):
            gradients = torch.autograd.grad(loss(levels), levels)
            for z, gradient in zip(levels, gradients, strict=True):
                z.grad = gradient
            adam.step()
    return tuple(z.detach() for z in levels)
