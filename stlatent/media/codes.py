"""What the levels of a model say about samples, of whatever medium."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor

from ..model.choose import Choose, Distribution, Site
from ..model.codebook import Codes, vectors
from ..model.gaussian import BITS_PER_NAT
from ..model.ladder import Ladder
from ..model.passes import Encoded


class HowTold(NamedTuple):
    """How a level is told in one chunk of an item.

    Attributes:
        step: how wide steps of rounding are, in deviations of the posterior; None is not at all.
        bits: of its streams, and of what lies before them.
        psnr_db: of the chunk, of all levels; infinite where it is equal, or was not measured.
        rate_weight: λ of the chunk, where it is chosen.
    """

    step: float | None
    bits: int
    psnr_db: float
    rate_weight: float | None = None


class Code(NamedTuple):
    """What one level says about some samples, or some steps of them in time, on the CPU.

    Attributes:
        latents: the posteriors' means, or the vectors of codes; float32 `[B, C, *axes]`.
        bits: the rate `[B]`, float64.
        std: standard deviations, shaped as the latents, where they are asked for.
        indices: int64 `[B, groups * depth, *axes]`, where the latents are codes.
        stream: the latents entropy-coded, where they are, see `bits/bitstream.py`.
        tolerance: by how much priors, in nats, may differ where the stream is read.
        told: of every chunk, where that is to be written down.
    """

    latents: Tensor
    bits: Tensor
    std: Tensor | None = None
    indices: Tensor | None = None
    stream: bytes = b""
    tolerance: float = math.inf
    told: tuple[HowTold, ...] = ()

    def sample(self, index: int) -> Code:
        """One sample of the batch, without its axis."""
        batch = {k: v for k, v in self._asdict().items() if isinstance(v, Tensor)}
        return self._replace(**{name: values[index] for name, values in batch.items()})


def stored(site: Site, posterior: Distribution, prior: Distribution) -> Tensor:
    """Chooses the posterior's mean; codes as whoever reads their indices will find them."""
    if isinstance(posterior, Codes):
        return vectors(posterior.indices, prior.table)
    return posterior.mean


def codes_of(encoded: Encoded, std: bool) -> list[Code]:
    """What each level says, with the rate at each position `[B, 1, *axes]`; `std` as for
    `TiledEncoder`."""
    stds = encoded.stds if std else [None] * len(encoded.levels)
    parts = zip(encoded.levels, encoded.rates, stds, encoded.indices, strict=True)
    return [Code(z.float(), BITS_PER_NAT * nats, s, indices) for z, nats, s, indices in parts]


def whole_codes(
    model: Ladder, x: Tensor, std: bool = False, held: Choose | None = None
) -> list[Code]:
    """What the levels say about whole samples `[B, C, *axes]`.

    Args:
        std: as for `TiledEncoder`.
        held: chooses latents that then are the means of the posteriors.
    """
    encoded = model.encode(x, held or stored)
    return [on_cpu(code) for code in codes_of(encoded.recentred() if held else encoded, std)]


def on_cpu(code: Code) -> Code:
    """With its rate summed over all positions."""
    latents, std, indices = (
        None if z is None else z.cpu() for z in (code.latents, code.std, code.indices)
    )
    return Code(latents, code.bits.double().flatten(1).sum(1).cpu(), std, indices)
