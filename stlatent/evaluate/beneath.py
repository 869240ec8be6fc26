"""What lies beneath a ladder: how well its foundation does alone, which is the ceiling; what levels
own of its latents; and what an exact level costs, against numbers of which nothing is known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..checkpoint import Model
from ..media.base import Medium
from ..media.figures import Bands
from ..model.exact import PRECISION
from ..model.gaussian import BITS_PER_NAT
from ..model.latents import Latents
from ..model.passes import Encoded
from ..store.tensors import Moments
from .diagnostics import decode_prefixes, redraw
from .spectrum import BandShares, BandTally

NORMAL_BITS = 0.5 * math.log2(2 * math.pi * math.e)  # of N(0, 1), at steps of 1
LATENT_BANDS = {
    "latents_spatial": Bands("latents", (16, 8, 4)),
    "latents_temporal": Bands("latents", (8, 4)),
}


class BeneathTally:
    """Collects all that clip by clip; of a model with neither foundation nor exact level, nothing.

    Args:
        generator: source of what is drawn anew.
    """

    def __init__(self, model: Model, medium: Medium, generator: torch.Generator) -> None:
        self.model, self.medium, self.generator = model, medium, generator
        self.founded = model.frozen is not None
        self._bands = BandTally(medium, LATENT_BANDS, math.inf)
        self._ceilings: list[Mapping[str, float]] = []
        self._errors: list[Tensor] = []  # squared, of every prefix and of none `[prefixes + 1]`
        self._inputs: Moments | None = None
        self._bits, self._numbers = 0.0, 0  # of the exact level

    def add(self, x: Tensor, latents: Encoded) -> dict[str, Tensor]:
        """One clip `[1, C, *axes]` and its latents; what is to be shown of it, by its label."""
        inputs, shown = x, {}
        if self.founded:
            inputs = self.model.frozen.encode(self.model.filled(self.model.as_input(x)))
            alone = self.model.frozen.teacher.decode(inputs)
            alone = self.model.domain.crop(alone, x.shape[2:])
            self._ceilings.append(self.medium.compare(x, alone))
            self._latents(inputs, latents)
            shown = {"foundation alone": alone}
        if self.model.config.exact:
            found = Moments.of(inputs.transpose(0, 1).cpu())
            self._inputs = found if self._inputs is None else self._inputs.merge(found)
            self._bits += float(latents.kl[-1].sum()) * BITS_PER_NAT
            self._numbers += latents.levels[-1].numel()
        return shown

    def _latents(self, inputs: Tensor, latents: Encoded) -> None:
        """What prefixes and levels are in the foundation's latents."""
        ladder, inner = self.model.ladder, Latents(latents.levels, tuple(inputs.shape[2:]))
        prefixes = decode_prefixes(ladder, inner)
        mean = inputs.mean(tuple(range(2, inputs.ndim)), keepdim=True)
        errors = [(z - inputs).square().sum().double().cpu() for z in (mean, *prefixes)]
        self._errors.append(torch.stack(errors))
        drawn = (redraw(ladder, inner, [k], self.generator) for k in range(len(inner.levels)))
        self._bands.add(prefixes[-1], list(drawn))

    def bands(self) -> dict[str, BandShares]:
        """What levels own of the foundation's latents, as `BandTally.result` gives it."""
        return self._bands.result() if self._errors else {}

    def result(self) -> dict[str, Any]:
        """`foundation`: the figures of it alone, and `explained`, how much of the variance of its
        latents within a clip each prefix holds; `exact`: bits per number of the exact level, and
        `flat_bits_per_number`, under a Gaussian of each channel. None of what a model has not."""
        return {"foundation": self._foundation(), "exact": self._exact_bits()}

    def _foundation(self) -> dict[str, Any] | None:
        if not self._ceilings:
            return None
        keys = [figure.key for figure in self.medium.figures]
        none, *prefixes = torch.stack(self._errors).sum(0).tolist()
        means = {key: _mean([one[key] for one in self._ceilings]) for key in keys}
        return {**means, "explained": [1 - error / none for error in prefixes]}

    def _exact_bits(self) -> dict[str, float] | None:
        if self._inputs is None:
            return None
        scale = (self._inputs.std.clamp(min=1e-12) / PRECISION).log2()
        flat = NORMAL_BITS + float(scale.mean())
        return {"bits_per_number": self._bits / self._numbers, "flat_bits_per_number": flat}


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan
