"""Decoding and drawing: one pass on the way down, with levels that are held and a way to choose the
others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from . import choose as choosing
from .choose import Choose, Draw, Held, Near
from .inputs import check_batch, check_held, check_prefix
from .latents import Latents
from .past import Past


class Decodes(ABC):
    """A model that decodes prefixes of levels, and draws, by its `generate`.

    Attributes:
        top: the learned constant that the way down begins with.
    """

    top: Tensor

    @abstractmethod
    def generate(
        self, choose: Choose, size: Sequence[int], batch: int = 1, past: Past | None = None
    ) -> Tensor:
        """The way down alone, `[batch, C, *size]`; of a stream, the next part of it."""

    @abstractmethod
    def latent_shape(self, size: Sequence[int]) -> list[tuple[int, ...]]:
        """Per level, the shape `(channels, *grid)` of the latents of one sample of `size`."""

    def decode(
        self, latents: Latents, levels: int | None = None, draw: Choose = choosing.mean
    ) -> Tensor:
        """Decode the first `levels` levels (all by default) to `[B, C, *size]`.

        Args:
            draw: how the finer levels are chosen: the prior's mean, or `choose.Draw(...)`.

        Raises:
            ValueError: there are fewer levels than asked for, or they do not suit their size.
        """
        held = check_prefix(latents, levels, self.latent_shape, self.top)
        return self.generate(Held(held, draw), latents.size, len(latents.levels[0]))

    def sample(
        self,
        size: Sequence[int],
        batch_size: int = 1,
        held: Mapping[int, Tensor] | None = None,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
        strength: float = 0.0,
    ) -> Tensor:
        """Draw from the model `[batch_size, C, *size]`, with any subset of levels `held` as given,
        or near them where `strength` is above 0, see `choose.Near`.

        Raises:
            ValueError: `size` is none of this domain, there is no sample to make, the temperature
                is negative or NaN, the strength is not in [0, 1], or a held level is not finite or
                does not suit this size.
        """
        check_batch(batch_size)
        held = check_held(
            {} if held is None else held, self.latent_shape(size), batch_size, self.top
        )
        draw = Draw(temperature, generator)
        choose = Near(held, draw, strength) if strength else Held(held, draw)
        return self.generate(choose, size, batch_size)
