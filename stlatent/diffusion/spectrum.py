"""How much of their energy latents have at high frequencies, beside the input that they stand for.

Diffusion makes pictures from coarse to fine, since noise hides high frequencies, of little energy
in pictures, first. Latents whose high frequencies have more than their due, up to those of white
noise, lose this order, and what a decoder makes of errors there is seen (Skorokhodov et al. 2025,
Improving the Diffusability of Autoencoders, section 3.2, which compares cosine transforms).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..model.domain import Domain
from ..model.ladder import Ladder
from ..model.transform import cosines

EDGES = (1 / 8, 1 / 4, 1 / 2)  # of bands, as shares of the highest frequency along an axis
BANDS = ("under 1/8", "1/8–1/4", "1/4–1/2", "over 1/2")


@dataclass(frozen=True)
class Spectrum:
    """Shares of the energy in four bands that add up to 1, the mean left out.

    Attributes:
        grid: sizes of the axes.
        shares: of the bands `BANDS`, by the largest frequency of all space axes, relative to the
            highest there is; channels count alike, whatever their deviation.
        white: the same of white noise on this grid. A grid without frequencies has zeros.
    """

    grid: tuple[int, ...]
    shares: tuple[float, ...]
    white: tuple[float, ...]


@torch.no_grad()
def latent_spectra(model: Ladder, batches: Iterable[Tensor]) -> dict[str, Spectrum]:
    """Spectra of `input`, `level 0`, `level 1`, ..., over the space axes.

    Args:
        batches: `[B, C, *axes]` in [-1, 1], all of one size.

    Raises:
        ValueError: there are none.
    """
    energy: dict[str, Tensor] = {}
    for x in batches:
        levels = model.encode(x).levels
        named = {"input": x} | {f"level {k}": z for k, z in enumerate(levels)}
        for name, values in named.items():
            found = _energy(model.domain, values)
            energy[name] = found + energy.get(name, torch.zeros_like(found))
    if not energy:
        raise ValueError("there is no data to measure spectra on")
    return {name: _spectrum(model.domain, power) for name, power in energy.items()}


def _energy(domain: Domain, x: Tensor) -> Tensor:
    """Squared cosine coefficients over space `[C, *axes]`, summed over the batch, float64."""
    x = x.double()
    for dim, axis in enumerate(domain.axes, start=2):
        if axis.kind == "space":
            basis = cosines(x.shape[dim]).to(x)
            x = torch.tensordot(x, basis, ([dim], [1])).movedim(-1, dim)
    return x.square().sum(0).cpu()


def _spectrum(domain: Domain, power: Tensor) -> Spectrum:
    grid = tuple(power.shape[1:])
    frequency = torch.zeros(grid)
    for dim, (axis, n) in enumerate(zip(domain.axes, grid, strict=True)):
        if axis.kind == "space" and n > 1:
            own = torch.arange(n) / (n - 1)
            shape = [n if d == dim else 1 for d in range(len(grid))]
            frequency = torch.maximum(frequency, own.view(shape))
    band = torch.bucketize(frequency, torch.tensor(EDGES), right=True).flatten()
    counted = (frequency > 0).flatten().double()
    per_channel = power.flatten(1) * counted
    per_channel = per_channel / per_channel.sum(1, keepdim=True).clamp(min=1e-30)
    shares = torch.bincount(band, per_channel.mean(0), len(BANDS))
    white = torch.bincount(band, counted / counted.sum().clamp(min=1), len(BANDS))
    return Spectrum(grid, tuple(shares.tolist()), tuple(white.tolist()))
