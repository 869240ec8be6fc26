"""What is compared with what in a ladder, and of which shapes it is."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from .config import Level, ModelConfig
from .dial import Dialled
from .domain import Domain
from .passes import Pass


class Shaped(Dialled):
    """A model with levels over a domain.

    Attributes:
        levels: coarsest first.
    """

    config: ModelConfig
    domain: Domain
    levels: tuple[Level, ...]

    def latent_shape(self, size: Sequence[int]) -> list[tuple[int, ...]]:
        """Per level, the shape `(channels, *grid)` of the latents of one sample of `size`.

        Raises:
            ValueError: `size` is none of this domain.
        """
        self.domain.check(size)
        coarsest = self.levels[0].stride
        padded = self.domain.samples(self.domain.shape(size, coarsest), coarsest)
        return [
            (level.latent * level.groups, *self.domain.shape(padded, level.stride))
            for level in self.levels
        ]

    def target(self, out: Pass, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """What the likelihood compares a pass over `x` with: `x` itself, whatever is kept."""
        return x

    def preview_target(self, x: Tensor, level: int) -> Tensor:
        """What `Pass.previews[level]` predicts: `x` averaged over space, frames as channels."""
        axes, stride = self.domain, self.levels[level].stride
        over_time = axes.with_time([1] * len(stride), axes.of_time(stride))
        return axes.fold(axes.pool(axes.pad(x, self.levels[0].stride), stride), over_time)
