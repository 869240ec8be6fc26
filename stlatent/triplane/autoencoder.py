"""The triplane autoencoder: volumes in, latents of a ladder over planes, fields at any point out.

    volume [B, C, N, N, N] ── lift ──► planes ── ladder ──► planes [B, P, 3, n, n] ─┐
                                                             points [B, n, 3] ──────┴─► field

The ladder is one over domain `triplane` like any other, but for its likelihood, which is not over
planes but over points (`fields.Points`): so both ends are trained with it, by the same loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..model import choose as choosing
from ..model.around import AroundLadder
from ..model.choose import Choose
from ..model.config import ModelConfig
from ..model.ladder import Ladder
from ..model.latents import Latents
from ..model.likelihoods import make_likelihood
from ..model.passes import Encoded, Pass
from ..model.transform import Channels
from .fields import Lift, Points, expected_channels, on_grid


class FieldLadder(Ladder):
    """A ladder over planes that stand for a field, by which they are judged."""

    def _make_likelihood(self) -> Points:
        field = self.config.field
        judge = make_likelihood(self.config.likelihood, field.channels)
        return Points(self.config.channels, field, judge)

    def _expected_channels(self) -> Channels:
        return expected_channels(self.config)


class TriplaneAutoencoder(AroundLadder):
    """`config` is that of a ladder over planes, with `field`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.lift = Lift(config)
        self.ladder = FieldLadder(config)

    @property
    def exported(self) -> Ladder:
        """The ladder alone: pipelines of `diffusers` make planes."""
        return self.ladder

    @property
    def size(self) -> tuple[int, int, int]:
        """Of the planes `(3, n, n)`."""
        n = self.config.field.resolution // self.config.field.lift.stride[1]
        return 3, n, n

    def forward(
        self, volume: Tensor, choose: Choose = choosing.mean, again: Tensor | None = None
    ) -> Pass:
        """Encode and decode a volume `[B, C, N, N, N]`: a pass of the ladder over its planes."""
        return self.ladder(self.lift(self.as_input(volume)), choose, again)

    def encode(self, volume: Tensor, choose: Choose = choosing.mean) -> Encoded:
        """Latents of a volume `[B, C, N, N, N]`, see `Ladder.encode`: a distance in [-1, 1] in
        units of its truncation, negative inside, and colours in [-1, 1], 0 where unknown.

        Raises:
            ValueError: the volume has not the channels or the resolution of this model.
        """
        return self.ladder.encode(self.lift(self.as_input(volume)), choose)

    def decode(
        self, latents: Latents, levels: int | None = None, draw: Choose = choosing.mean
    ) -> Tensor:
        """Planes `[B, P, 3, n, n]` from the first `levels` levels, see `Ladder.decode`."""
        return self.ladder.decode(latents, levels, draw)

    def sample(
        self,
        size: Sequence[int],
        batch_size: int = 1,
        held: Mapping[int, Tensor] | None = None,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
        strength: float = 0.0,
    ) -> Tensor:
        """Draw planes `[batch_size, P, *size]`, see `Ladder.sample`; `size` is of planes."""
        return self.ladder.sample(size, batch_size, held, temperature, generator, strength)

    def likelihood_parameters(self, choose: Choose, size: Sequence[int], batch: int = 1) -> Tensor:
        """Planes `[batch, P, *size]`, see `Ladder.likelihood_parameters`."""
        return self.ladder.likelihood_parameters(choose, size, batch)

    def field(self, planes: Tensor, points: Tensor) -> Tensor:
        """Distance, and colours if the model has any, `[B, n, C]`, at points `[B, n, 3]` in the
        cube [-1, 1]^3. Without gradients, memory is bounded for any number of points."""
        return self.likelihood.decoder(planes, points)

    def volume(self, planes: Tensor, resolution: int | None = None) -> Tensor:
        """The field of planes on a grid `[B, C, N, N, N]`, by default that of the volumes read."""
        n = resolution or self.config.field.resolution
        return on_grid(self.likelihood.decoder, planes, n)

    def latent_shape(self, size: Sequence[int]) -> list[tuple[int, ...]]:
        """Per level, the shape `(channels, *grid)` of the latents of a volume of `size`."""
        n = size[0] // self.config.field.lift.stride[1]
        return self.ladder.latent_shape((3, n, n))

    def target(self, out: Pass, volume: Tensor, keep: Tensor | None = None) -> Tensor:
        """What a pass over `volume` is compared with by the likelihood: `volume` itself."""
        return volume


def as_volume(model: Ladder | TriplaneAutoencoder, decoded: Tensor) -> Tensor:
    """What a model has decoded, as it reads it: of planes that stand for a field, the volume
    `[B, C, N, N, N]`; of all else, the same."""
    field = model.config.field
    return on_grid(model.likelihood.decoder, decoded, field.resolution) if field else decoded


def make_ladder(config: ModelConfig) -> Ladder:
    """A new ladder, over planes that stand for a field or over any domain."""
    return FieldLadder(config) if config.field else Ladder(config)
