"""Draws that depend on a seed alone, not on the pieces in which a sample goes through."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..media.tiles import Tile
from ..model.choose import Distribution, Draw, Site
from ..model.gaussian import Gaussian
from ..model.ladder import Ladder

Generators = torch.Generator | Sequence[torch.Generator] | None


def draw(generator: torch.Generator | None, device: torch.device, temperature: float = 1.0) -> Draw:
    """Draws with any generator; one of another device hands on a seed for one of this."""
    if generator is not None and generator.device.type != device.type:
        seed = torch.randint(2**62, (), generator=generator, device=generator.device).item()
        generator = torch.Generator(device).manual_seed(seed)
    return Draw(temperature, generator)


def one_each(generators: Sequence[torch.Generator], batch: int) -> list[torch.Generator]:
    """A generator per sample: the first ones of a list, as `diffusers` takes them.

    Raises:
        ValueError: there are fewer than samples, and more than one, which serves them all.
    """
    if len(generators) == 1:
        return list(generators) * batch
    if len(generators) < batch:
        raise ValueError(f"{len(generators)} generators are given for {batch} samples")
    return list(generators[:batch])


class WholeNoise:
    """Noise of whole samples, of which every piece takes its part: a draw is the same however it
    is cut, and where tiles overlap they agree.

    Args:
        size: of the whole, along the axes of the domain.
        levels: that are drawn.
        draw: how; nothing is drawn of codes.
    """

    def __init__(
        self,
        ladder: Ladder,
        size: Sequence[int],
        batch: int,
        levels: range,
        draw: Draw,
        device: torch.device,
    ) -> None:
        self.ladder, self.draw = ladder, draw
        self.noise: dict[Site, Tensor] = {}
        shapes = ladder.latent_shape(size)
        for k in levels:
            level, (_, *grid) = ladder.levels[k], shapes[k]
            for group in range(0 if level.codebook else level.groups):
                shape = (batch, level.latent, *grid)
                noise = torch.randn(shape, generator=draw.generator, device=device)
                self.noise[Site(k, group)] = noise

    def part(self, rows: slice, tile: Tile | None) -> PartNoise:
        """What some samples draw, and of these a tile, from its first step on."""
        return PartNoise(self, rows, tile)


class PartNoise:
    """Chooses draws with the noise of a piece, which goes through chunk by chunk."""

    def __init__(self, whole: WholeNoise, rows: slice, tile: Tile | None) -> None:
        self.whole, self.rows, self.tile = whole, rows, tile
        self.steps: dict[Site, int] = {}  # that have been drawn

    def __call__(self, site: Site, posterior: Distribution | None, prior: Distribution) -> Tensor:
        found = posterior or prior
        if not isinstance(found, Gaussian):
            return self.whole.draw(site, posterior, prior)
        noise = self._noise(site, found.mean)
        return found.mean + self.whole.draw.temperature * found.std * noise

    def _noise(self, site: Site, like: Tensor) -> Tensor:
        domain, noise = self.whole.ladder.domain, self.whole.noise[site][self.rows]
        if self.tile is not None:
            strides = domain.of_space(self.whole.ladder.levels[site.level].stride)
            starts = (start for start, _ in self.tile.spans)
            for dim, start, stride in zip((-2, -1), starts, strides):
                noise = noise.narrow(dim, start // stride, like.shape[dim])
        if not domain.has_time:
            return noise
        start = self.steps.get(site, 0)
        self.steps[site] = stop = start + domain.of_time(like.shape[2:])
        return domain.steps(noise, start, stop)
