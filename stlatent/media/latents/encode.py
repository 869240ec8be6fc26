"""Latents that were computed before through a ladder, into the items of a data set."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...foundation.autoencoder import FoundationAutoencoder
from ...model.passes import Encoded
from ...model.stream import State, encode_chunk, encode_end
from ..codes import codes_of, on_cpu, stored, whole_codes
from ..encoder import About, Named, Sink, SinkItem, SourceEncoder
from ..source import Kind

FITS_BETTER = 4.0  # so many times, before latents are taken for what they were not said to be
UNLIKE = 0.1  # squared deviations from what they are said to be, from which on that is asked

log = logging.getLogger(__name__)


@dataclass
class ItemUnderWay:
    """An item: what the ladder remembers of it, and how many latents came along its axes."""

    item: SinkItem
    size: Sequence[int] | None
    state: State | None = None
    grid: list[int] = field(default_factory=list)


class LatentEncoder(SourceEncoder):
    """Encodes latents of the foundation `[C, *grid]`, piece by piece along time.

    Args:
        normalised: whether they are (z - mean) / std already, by what the foundation's config says.
    """

    def __init__(
        self, model: FoundationAutoencoder, sink: Sink, std: bool = False, normalised: bool = False
    ) -> None:
        super().__init__(model, sink, std)
        self.normalised, self._under_way = normalised, None
        self._moments = Fit(model.config.foundation.mean, model.config.foundation.unit)

    def encode(self, source: Named, about: Mapping[str, Any], values: np.ndarray) -> int:
        z = torch.from_numpy(values.copy()).to(self.device)[None]
        this = self._under_way = self._under_way or self._begin(source, about)
        self._moments.add(z)
        self._append(this, self._entered(z))
        if about["last"]:
            self._end(this)
            self._under_way = None
        return z.shape[2] if z.ndim > 4 else 1

    def _begin(self, source: Named, about: Mapping[str, Any]) -> ItemUnderWay:
        kind: Kind = "video" if about["count"] > 1 else "image"
        item = self.sink.item(About(source.name, source.name, 0, kind, fps=about["fps"]))
        return ItemUnderWay(item, about["size"])

    def _entered(self, z: Tensor) -> Tensor:
        """As the ladder reads them."""
        found = self.model.config.foundation
        mean, unit = (
            torch.tensor(v, device=z.device).view(-1, *[1] * (z.ndim - 2))
            for v in (found.mean, found.unit)
        )
        return z / 2 if self.normalised else (z - mean) / unit  # a unit is two deviations

    def _append(self, this: ItemUnderWay, z: Tensor) -> None:
        if not self.model.domain.has_time:
            this.grid = [*z.shape[2:]]
            codes = whole_codes(self.model.ladder, z, self.std)
            this.item.append([code.sample(0) for code in codes])
            return
        this.grid = [sum(this.grid[:1]) + z.shape[2], *z.shape[3:]]
        encoded, this.state = encode_chunk(self.model.ladder, z, this.state, stored)
        self._store(this, encoded)

    def _store(self, this: ItemUnderWay, encoded: Encoded) -> None:
        if encoded.steps:  # else nothing has become complete
            this.item.append([on_cpu(code).sample(0) for code in codes_of(encoded, self.std)])

    def _end(self, this: ItemUnderWay) -> None:
        if this.state is not None:
            self._store(this, encode_end(self.model.ladder, this.state, stored)[0])
        covered = self.model.domain.samples(this.grid, self.model.config.foundation.stride)
        this.item.end(this.size or covered)

    def fail(self, source: str, stage: str, reason: str) -> None:
        super().fail(source, stage, reason)
        if self._under_way and self._under_way.item.about.source == source:
            self._under_way = None

    def finish(self) -> None:
        if self._moments.other_way(self.normalised):
            given = "normalised" if self.normalised else "as the foundation's `encode` gives them"
            remedy = "leave out --normalised" if self.normalised else "give --normalised"
            log.warning(
                "these latents are read as %s, but they look like the contrary: %s if they are",
                given,
                remedy,
            )


class Fit:
    """Which latents those that came are more like: the foundation's own, or normalised ones."""

    def __init__(self, mean: Sequence[float], unit: Sequence[float]) -> None:
        self.mean, self.std = torch.tensor(mean), torch.tensor(unit) / 2
        self.count, self.sum, self.squares = 0, torch.zeros(len(mean)), torch.zeros(len(mean))

    def add(self, z: Tensor) -> None:
        flat = z.detach().float().transpose(0, 1).flatten(1).cpu()
        self.count += flat.shape[1]
        self.sum, self.squares = self.sum + flat.sum(1), self.squares + flat.square().sum(1)

    def other_way(self, normalised: bool) -> bool:
        """Whether they are much more like the other kind than like the one they are said to be."""
        if not self.count:
            return False
        mean = self.sum / self.count
        std = (self.squares / self.count - mean.square()).clamp_min(1e-12).sqrt()
        own = ((mean - self.mean) / self.std).square() + (std / self.std).log().square()
        unit = mean.square() + std.log().square()
        said, other = (unit, own) if normalised else (own, unit)
        return bool(said.mean() > UNLIKE and said.mean() > FITS_BETTER * other.mean())
