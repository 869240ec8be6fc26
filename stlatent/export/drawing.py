"""What an exported ladder draws: latents from their posteriors, and levels that are not packed from
their priors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor

from ..model.choose import Draw
from .noise import Generators, WholeNoise, draw, one_each
from .pieces import Pieces


class Drawing(Pieces):
    """Draws in pieces what the same generator gives for the whole.

    Attributes:
        use_prior_sampling: draw the levels that are not packed, where decoding is not to take the
            mean of their priors.
        prior_temperature: scales the standard deviation of these.
        prior_seed: of what is decoded without a generator; None is torch's global one.
    """

    def _start_certain(self) -> None:
        """Take means."""
        self.use_prior_sampling = False
        self.prior_temperature, self.prior_seed = 1.0, None

    def enable_prior_sampling(self, temperature: float = 1.0, seed: int | None = None) -> None:
        """Draw the levels that are not packed, where `decode` is not to take their mean.

        Args:
            temperature: scales the standard deviation of the priors.
            seed: of every `decode` that is given no generator; None is torch's global generator.

        Raises:
            ValueError: all levels are packed, or the temperature is negative or NaN.
        """
        if self._packed_levels == len(self.ladder.levels):
            raise ValueError("all levels are packed, so there is none to draw; export fewer")
        Draw(temperature)
        self.use_prior_sampling = True
        self.prior_temperature, self.prior_seed = temperature, seed

    def disable_prior_sampling(self) -> None:
        """Take the prior's mean for the levels that are not packed."""
        self.use_prior_sampling = False

    @apply_forward_hook
    def _draw(self, x: Tensor, generator: Generators) -> Tensor:
        """Packed latents of `x`, drawn from their posterior."""
        if isinstance(generator, Sequence):
            each = zip(x.split(1), one_each(generator, len(x)))
            return torch.cat([self._draw(one, g) for one, g in each])
        levels = range(len(self.ladder.levels))
        drawn = draw(generator, x.device)
        noise = WholeNoise(self.ladder, x.shape[2:], len(x), levels, drawn, x.device)
        return self._moments(x, noise).chunk(2, 1)[0]

    def _decoded(self, z: Tensor, generator: Generators) -> Tensor:
        """All that packed latents cover; other levels are drawn, or the means of their priors."""
        if not self.use_prior_sampling:  # some pipelines give a generator all the same
            return self._pixels(z, None)
        if generator is None and self.prior_seed is not None:
            generator = torch.Generator(z.device).manual_seed(self.prior_seed)
        if isinstance(generator, Sequence):
            each = zip(z.split(1), one_each(generator, len(z)))
            return torch.cat([self._decoded(one, g) for one, g in each])
        levels = range(self._packed_levels, len(self.ladder.levels))
        size = self.ladder.domain.samples(z.shape[2:], self.packing.stride)
        drawn = draw(generator, z.device, self.prior_temperature)
        return self._pixels(z, WholeNoise(self.ladder, size, len(z), levels, drawn, z.device))

    @property
    def _packed_levels(self) -> int:
        return len(self.packing.level_channels)
