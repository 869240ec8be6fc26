"""Tiles of pictures as pipelines ask for them, and draws that do not depend on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..media.tiles import Tile, Tiling
from ..model.choose import Choose, Distribution, Draw, Site
from ..model.gaussian import Gaussian
from ..model.ladder import Ladder


@dataclass(frozen=True)
class Tiles:
    """Sizes in pixels and frames; how tiles are joined is said in `media/tiles.py`.

    Attributes:
        size: height and width of a tile, at most.
        stride: distance of tiles of that size; what is left of it is how far they overlap.
        frames: how many go through at a time; time has no overlap, since streaming is exact.
    """

    size: tuple[int, int]
    stride: tuple[int, int]
    frames: int

    @staticmethod
    def usual(space: int, time: int) -> Tiles:
        """About 512 pixels that overlap by a quarter, and 16 frames."""
        size, stride = -(-512 // space) * space, -(-384 // space) * space
        return Tiles((size, size), (stride, stride), -(-16 // time) * time)

    def but(
        self,
        size: tuple[int | None, int | None],
        stride: tuple[int | None, int | None],
        frames: int | None,
    ) -> Tiles:
        """The same, except for what is given."""
        new_size = tuple(new or old for new, old in zip(size, self.size))
        new_stride = tuple(new or old for new, old in zip(stride, self.stride))
        return Tiles(new_size, new_stride, frames or self.frames)

    def check(self, space: int, time: int) -> None:
        """Raise ValueError unless tiles begin and end between latents."""
        for name, size, stride in zip(("height", "width"), self.size, self.stride):
            if size % space or stride % space or not stride <= size <= 2 * stride:
                raise ValueError(
                    f"tiles have {name} {size} and stride {stride}; both must be multiples of "
                    f"{space}, and the stride from half of the {name} to all of it"
                )
        if self.frames < 1 or self.frames % time:
            raise ValueError(f"tiles have {self.frames} frames; give a multiple of {time}")

    def over(self, size: Sequence[int], space: int) -> Tiling:
        """The tiles of pictures of `size` (height, width)."""
        overlap = [a - b for a, b in zip(self.size, self.stride)]
        return Tiling(size, (space, space), self.size, overlap)


def parts(
    ladder: Ladder, choose: Choose, size: Sequence[int], batch: int, first: int = 0
) -> Callable[[Tile], Choose]:
    """How each tile chooses: as `choose`, but draws take their noise from that of the whole.

    Args:
        size: of the whole, along the axes of the domain.
        first: the coarsest level that is drawn.
    """
    if not isinstance(choose, Draw):
        return lambda tile: choose
    return WholeNoise(ladder, size, batch, range(first, len(ladder.levels)), choose).part


class WholeNoise:
    """Noise of whole pictures, of which every tile takes its part: a draw is the same with tiles
    and without, and where tiles overlap they agree.

    Args:
        levels: that are drawn.
        draw: how; codes are drawn by it tile by tile.
    """

    def __init__(
        self, ladder: Ladder, size: Sequence[int], batch: int, levels: range, draw: Draw
    ) -> None:
        self.ladder, self.draw = ladder, draw
        device, self.noise = ladder.top.device, {}
        shapes = ladder.latent_shape(size)
        for k in levels:
            level, (_, *grid) = ladder.levels[k], shapes[k]
            for group in range(0 if level.codebook else level.groups):
                shape = (batch, level.latent, *grid)
                noise = torch.randn(shape, generator=draw.generator, device=device)
                self.noise[Site(k, group)] = noise

    def part(self, tile: Tile) -> TileNoise:
        """What a tile draws, from its first step on."""
        return TileNoise(self, tile)


class TileNoise:
    """Chooses draws with the noise of a tile, which goes through chunk by chunk."""

    def __init__(self, whole: WholeNoise, tile: Tile) -> None:
        self.whole, self.tile = whole, tile
        self.steps: dict[Site, int] = {}  # that have been drawn

    def __call__(self, site: Site, posterior: Distribution | None, prior: Distribution) -> Tensor:
        found = posterior or prior
        if not isinstance(found, Gaussian):
            return self.whole.draw(site, posterior, prior)
        noise = self._noise(site, found.mean)
        return found.mean + self.whole.draw.temperature * found.std * noise

    def _noise(self, site: Site, like: Tensor) -> Tensor:
        domain, noise = self.whole.ladder.domain, self.whole.noise[site]
        strides = domain.of_space(self.whole.ladder.levels[site.level].stride)
        starts = (start for start, _ in self.tile.spans)
        for dim, start, stride in zip((-2, -1), starts, strides):
            noise = noise.narrow(dim, start // stride, like.shape[dim])
        if not domain.has_time:
            return noise
        start = self.steps.get(site, 0)
        self.steps[site] = stop = start + domain.of_time(like.shape[2:])
        return domain.steps(noise, start, stop)
