"""What the levels of a model say about samples, of whatever medium."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..model.choose import Choose, Distribution, Site
from ..model.codebook import Codes, vectors
from ..model.gaussian import BITS_PER_NAT, Gaussian
from ..model.ladder import Ladder


class Code(NamedTuple):
    """What one level says about some samples, or some steps of them in time, on the CPU.

    Attributes:
        latents: the posteriors' means, or the vectors of codes; float32 `[B, C, *axes]`.
        bits: the rate `[B]`, float64.
        std: standard deviations, shaped as the latents, where they are asked for.
        indices: int64 `[B, groups * depth, *axes]`, where the latents are codes.
        stream: the latents entropy-coded, where they are, see `bitstream.py`.
        tolerance: by how much priors, in nats, may differ where the stream is read.
    """

    latents: Tensor
    bits: Tensor
    std: Tensor | None = None
    indices: Tensor | None = None
    stream: bytes = b""
    tolerance: float = math.inf

    def sample(self, index: int) -> Code:
        """One sample of the batch, without its axis."""
        batch = {k: v for k, v in self._asdict().items() if isinstance(v, Tensor)}
        return self._replace(**{name: values[index] for name, values in batch.items()})


class Noting:
    """Chooses the posterior's mean, and keeps the posteriors and priors it has seen.

    held: chooses latents that then are the means of the posteriors.
    """

    def __init__(self, held: Choose | None = None) -> None:
        self.held = held
        self.seen: list[tuple[int, Distribution, Distribution]] = []

    def __call__(self, site: Site, posterior: Distribution | None, prior: Distribution) -> Tensor:
        if self.held:
            posterior = Gaussian(self.held(site, posterior, prior), posterior.log_std)
        self.seen.append((site.level, posterior, prior))
        if isinstance(posterior, Codes):  # as whoever reads the indices will find them
            return vectors(posterior.indices, prior.table)
        return posterior.mean

    def level(self, level: int, latents: Tensor, std: bool) -> Code:
        """What was seen of a level, with the rate at each position `[B, 1, *axes]`."""
        seen = [(q, p) for k, q, p in self.seen if k == level]
        rates = [q.kl(p).sum(1, keepdim=True) for q, p in seen]
        indices = [q.indices for q, _ in seen if isinstance(q, Codes)]
        return Code(
            latents.float(),
            BITS_PER_NAT * sum(rates),
            std=torch.cat([q.std for q, _ in seen], 1) if std else None,
            indices=torch.cat(indices, 1) if indices else None,
        )


def whole_codes(
    model: Ladder, x: Tensor, std: bool = False, held: Choose | None = None
) -> list[Code]:
    """What the levels say about whole samples `[B, C, *axes]`; `std` as for `ClipEncoder`, `held`
    as for `Noting`."""
    notes = Noting(held)
    codes = [notes.level(k, z, std) for k, z in enumerate(model.encode(x, notes).levels)]
    return [on_cpu(code) for code in codes]


def on_cpu(code: Code) -> Code:
    """With its rate summed over all positions."""
    latents, std, indices = (
        None if z is None else z.cpu() for z in (code.latents, code.std, code.indices)
    )
    return Code(latents, code.bits.double().flatten(1).sum(1).cpu(), std, indices)
