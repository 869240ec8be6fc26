"""Everything that a level report measures, collected clip by clip."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..media.base import Medium
from ..model.ladder import Ladder
from ..model.passes import Encoded
from .beneath import BeneathTally
from .codes import CodeTally
from .diagnostics import (
    LevelStatistics,
    LevelTally,
    PrefixQuality,
    decode_prefixes,
    gather,
    redraw,
    redrawings,
    sample_quality,
)
from .diffusable import DiffusableTally
from .likelihood import LogLikelihood, log_likelihood
from .motion import drawn_motion
from .plots import prefix_name
from .spectrum import BandShares, BandTally


class Measurement:
    """Everything that is measured, collected clip by clip."""

    def __init__(self, model: Ladder, medium: Medium, seed: int, draws: int) -> None:
        self.model, self.medium, self.seed, self.draws = model, medium, seed, draws
        self.device = next(model.parameters()).device
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.names: list[str] = []
        self.sizes: list[tuple[int, ...]] = []
        self.rows: list[tuple[Any, ...]] = []
        self.sparse = model.domain.sparse
        self.levels, self.codes = LevelTally(self.sparse), CodeTally()
        self.bands = BandTally(medium)
        self.beneath = BeneathTally(model, medium, self.generator)
        self.latents = DiffusableTally(model.domain, [level.stride for level in model.levels])
        self.likelihoods: list[LogLikelihood] = []

    @torch.no_grad()
    def add(self, name: str, x: Tensor) -> dict[str, Tensor]:
        """Measure one clip; returns what is shown of it, label -> `[1, C, *axes]`."""
        if x.shape[0] != 1:
            raise ValueError(
                f"clip '{name}' is {list(x.shape)}; give one clip at a time, [1, C, ...]"
            )
        x = x.to(self.device)
        latents = self.model.encode(x)
        prefixes = decode_prefixes(self.model, latents)
        alone, several = redrawings(self.model)
        redrawn = self._redrawn(latents, alone)
        self.names.append(name)
        self.sizes.append(tuple(x.shape[2:]))
        quality = sample_quality(self.medium, x, latents, latents.kl, prefixes)
        self.rows.append(quality)
        self.levels.add(x, latents, latents.kl)
        self.codes.add(latents.steps)
        self.latents.add(*self._grids(latents))
        if self.draws:
            found = log_likelihood(self.model, x, self.draws, self.generator, at_a_time=1)
            self.likelihoods.append(found)
        if not self.sparse:  # frequencies are those of whole grids
            self.bands.add(prefixes[-1], list(redrawn.values()))
        shown = {"original": x}
        shown |= {prefix_name(k + 1, len(prefixes)): y for k, y in enumerate(prefixes)}
        shown |= redrawn | self._redrawn(latents, several)
        shown |= self.beneath.add(x, latents) | drawn_motion(self.model, latents)
        return shown

    def _redrawn(self, latents: Encoded, which: Sequence[range]) -> dict[str, Tensor]:
        """With levels drawn anew, by what is said of it."""
        return {
            f"{_name(levels)} redrawn": redraw(self.model, latents, levels, self.generator)
            for levels in which
        }

    def _grids(self, latents: Encoded) -> tuple[Sequence[Tensor], Sequence[Tensor | None]]:
        """Levels that are whole grids, and logarithms of their deviations: of a sparse model, level
        0 with its marks, which are certain."""
        if not self.sparse:
            return latents.levels, latents.log_stds
        certain = torch.full_like(latents.marks[0], -math.inf, dtype=torch.float32)
        log_std = torch.cat([latents.log_stds[0], certain[:, None]], 1)
        return self.model.grids(latents)[:1], [log_std.T[None]]

    def result(self) -> tuple[list[PrefixQuality], list[LevelStatistics], dict[str, BandShares]]:
        """Prefixes and levels over all clips, coarsest first, and the bands that levels own."""
        bands = {} if self.sparse else self.bands.result() | self.beneath.bands()
        return gather(self.rows), self.levels.result(), bands


def _name(levels: range) -> str:
    first, last = levels[0], levels[-1]
    return f"level {first}" if first == last else f"levels {first}–{last}"
