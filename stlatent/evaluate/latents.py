"""Mean and deviation of every channel of a model's latents, by which they are whitened.

They are measured once, on data: a run does it with its best weights, and they lie beside these in
the model's file, so that a model can be handed on without its data.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from ..model.config import Strict, parse
from ..model.ladder import Ladder
from ..store.tensors import Moments

ABOUT = "latents"  # where they lie in what a model's file says about it


class LatentFigures(Strict):
    """Per level, coarsest first, of each channel.

    Attributes:
        mean, std: of the latents as they are drawn: the variance is that of the posterior's means,
            plus the mean of its variances. A channel that holds nothing but noise so keeps a
            deviation to divide by.
    """

    mean: tuple[tuple[float, ...], ...]
    std: tuple[tuple[float, ...], ...]

    def first(self, levels: int) -> tuple[list[float], list[float]]:
        """Means and deviations of the first `levels` levels, one after the other."""
        means, stds = self.mean[:levels], self.std[:levels]
        return [v for level in means for v in level], [v for level in stds for v in level]


@torch.no_grad()
def measure_latents(model: Ladder, batches: Iterable[Tensor]) -> LatentFigures:
    """The figures of all levels over batches `[B, C, *axes]` in [-1, 1].

    Raises:
        ValueError: there are no batches.
    """
    device = next(model.parameters()).device
    means = [Moments.none(n) for n in level_channels(model)]
    noise = list(means)
    for x in batches:
        found = model.encode(x.to(device))
        for k, (z, log_std) in enumerate(zip(found.levels, found.log_stds, strict=True)):
            variance = torch.zeros_like(z) if log_std is None else (2 * log_std).exp()  # of codes 0
            means[k] = means[k].merge(_moments(z))
            noise[k] = noise[k].merge(_moments(variance))
    if means[0].count == 0:
        raise ValueError("there is no data to measure the latents' mean and deviation on")
    stds = [(m.std.square() + n.mean).sqrt() for m, n in zip(means, noise)]
    return LatentFigures(
        mean=tuple(_rounded(m.mean) for m in means), std=tuple(map(_rounded, stds))
    )


def known_figures(model: Ladder, about: object, source: str) -> LatentFigures | None:
    """The figures that lie in what a model's file says about it; None if there are none.

    Raises:
        ValueError: they are not those of such a model.
    """
    values = about.get(ABOUT) if isinstance(about, dict) else None
    if values is None:
        return None
    figures = parse(LatentFigures, values, source)
    wanted = level_channels(model)
    for name, levels in figures:
        if [len(level) for level in levels] != wanted:
            raise ValueError(f"{source}: its {name} of latents is not of {wanted} channels")
    return figures


def level_channels(model: Ladder) -> list[int]:
    """Channels of the latents of every level."""
    smallest = [axis.size or 1 for axis in model.domain.axes]
    return [shape[0] for shape in model.latent_shape(smallest)]


def _rounded(values: Tensor) -> tuple[float, ...]:
    """To six digits: they are told in a file, and known to fewer."""
    return tuple(float(f"{value:.6g}") for value in values.tolist())


def _moments(values: Tensor) -> Moments:
    """Per channel of `[B, C, *grid]`."""
    return Moments.of(values.transpose(0, 1).cpu())
