"""Pictures in tiles: latents cut in the middle of the overlaps, pixels blended there.

Every latent comes whole from one tile, and so the levels of a place belong together. Pixels go from
one tile to the next over the middle half of an overlap. Both equal the untiled result wherever the
network sees no further than a quarter of the overlap.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Span = tuple[int, int]


@dataclass(frozen=True)
class Tiles:
    """Sizes in pixels and frames.

    Attributes:
        size: height and width of a tile.
        stride: distance of tiles.
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

    def spans(self, grid: Sequence[int], space: int) -> tuple[list[Span], list[Span]]:
        """Rows and columns of tiles over a grid of latents `(height, width)`."""
        return tuple(
            _spans(n, size // space, stride // space)
            for n, size, stride in zip(grid, self.size, self.stride)
        )


def encode_tiles(
    run: Callable[[Tensor], Tensor], x: Tensor, spans: tuple[list[Span], list[Span]], factor: int
) -> Tensor:
    """`[..., H, W] -> [..., H / factor, W / factor]`, tile by tile through `run`."""
    rows, columns = spans
    bands = []
    for (top, bottom), row in zip(rows, _shares(rows)):
        band = x[..., top * factor : bottom * factor, :]
        parts = [
            run(band[..., left * factor : right * factor])[..., row, column]
            for (left, right), column in zip(columns, _shares(columns))
        ]
        bands.append(torch.cat(parts, -1))
    return torch.cat(bands, -2)


def decode_tiles(
    run: Callable[[Tensor], Tensor], z: Tensor, spans: tuple[list[Span], list[Span]], factor: int
) -> Tensor:
    """`[..., h, w] -> [..., h factor, w factor]`, tile by tile through `run`."""
    rows, columns = spans
    whole = None
    for (top, bottom), down in zip(rows, _weights(rows, factor)):
        for (left, right), across in zip(columns, _weights(columns, factor)):
            tile = run(z[..., top:bottom, left:right])
            if whole is None:
                sides = rows[-1][1] * factor, columns[-1][1] * factor
                whole = tile.new_zeros(*tile.shape[:-2], *sides)
            weight = (down[:, None] * across).to(tile)
            place = whole[..., top * factor : bottom * factor, left * factor : right * factor]
            place += weight * tile
    return whole


def _spans(n: int, size: int, stride: int) -> list[Span]:
    starts = [0]
    while starts[-1] + size < n:
        starts.append(starts[-1] + stride)
    return [(start, min(start + size, n)) for start in starts]


def _shares(spans: Sequence[Span]) -> list[slice]:
    """The part of each tile that is its own: up to the middle of the overlaps."""
    middles = [(end + start) // 2 for (_, end), (start, _) in itertools.pairwise(spans)]
    bounds = [0, *middles, spans[-1][1]]
    return [slice(a - start, b - start) for (start, _), a, b in zip(spans, bounds, bounds[1:])]


def _weights(spans: Sequence[Span], factor: int) -> list[Tensor]:
    """Per tile, how much each of its pixels counts; the weights of a pixel add up to 1."""
    weights = [torch.ones((end - start) * factor) for start, end in spans]
    for (before, after), ((_, end), (start, _)) in zip(
        itertools.pairwise(weights), itertools.pairwise(spans)
    ):
        overlap = (end - start) * factor
        if overlap:
            ramp = ((torch.arange(overlap) + 0.5) * 2 / overlap - 0.5).clamp(0, 1)
            before[-overlap:] -= ramp
            after[:overlap] -= 1 - ramp
    return weights
