"""Noise of batches that several processes share: what one process would draw for all of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..model.choose import Choose, Distribution, Draw, Site
from ..model.gaussian import Gaussian
from .task import Moment


class Batches:
    """The batch of this process among those of all, which are of one size.

    Attributes:
        samples: in all of them.
        own: which are those of this process.
    """

    def __init__(self, count: int, at: Moment) -> None:
        self.count, self.at = count, at
        self.samples = count * at.processes
        self.own = slice(at.rank * count, (at.rank + 1) * count)

    def draw(self, again: Tensor) -> Choose:
        """Draws of latents for the samples of this process, and then for those seen again.

        Args:
            again: which samples of all processes are `[samples]`.
        """
        if self.at.processes == 1:
            return Draw(generator=self.at.noise)
        number = self.samples + again.cumsum(0) - 1
        rows = torch.arange(self.samples, device=again.device)[self.own]
        rows = torch.cat([rows, number[self.own][again[self.own]]])
        return OwnRows(rows, self.samples + int(again.sum()), self.at.noise)


@dataclass(frozen=True)
class OwnRows:
    """A draw from the posterior, of some of the rows that are drawn.

    Attributes:
        rows: which of them `[B]`.
        total: number of all.
        noise: source, in the same state in all processes.
    """

    rows: Tensor
    total: int
    noise: torch.Generator

    def __call__(self, site: Site, posterior: Distribution | None, prior: Distribution) -> Tensor:
        if not isinstance(posterior, Gaussian):  # codes, of which there is nothing to draw
            return posterior.mean
        mean = posterior.mean
        shape = (self.total, *mean.shape[1:])
        return mean + posterior.std * posterior.noise(shape, self.noise)[self.rows]
