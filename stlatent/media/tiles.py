"""Frames or volumes that are too large for the memory, in overlapping tiles.

    0        o                       o = overlap
    ├────────┼─────╱╲──────┤         a tile counts in full where it is alone, and fades linearly
             ├─────╲╱──────┼─ ...    towards its edge where it meets another

Each tile is a stream of its own. Latents (and, decoding, pixels) in an overlap are the mean of
those of its tiles, so there is no hard seam. They are not those of the whole, since a tile
does not see what lies beyond it; `tools/benchmarks/measure_seams.py` measures by how much.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

OVERLAP = 4  # a tile overlaps the next one by a quarter of the largest side
LARGEST = 2048  # pixels a side of what goes through the network in one piece, unless one asks


@dataclass(frozen=True)
class Tile:
    """A part of a frame or volume.

    Attributes:
        spans: `(start, stop)` along each space axis, in pixels: rows, columns.
    """

    spans: tuple[tuple[int, int], ...]

    @property
    def size(self) -> tuple[int, ...]:
        """Along each axis of space, in pixels."""
        return tuple(stop - start for start, stop in self.spans)

    @property
    def slices(self) -> tuple[slice, ...]:
        """Of the last axes of a tensor."""
        return tuple(slice(*span) for span in self.spans)


class Tiling:
    """How frames of `size` (height, width), or volumes, are cut.

    Args:
        unit: coarsest stride of the model along these axes; tiles begin at multiples of it.
        side: of a tile in pixels, at most, see `check_side`: one for all axes, or one for each;
            None, or what is no larger, is one tile.
        overlap: of neighbouring tiles in pixels, along each axis, multiples of `unit`; by default
            a quarter of a tile.
    """

    def __init__(
        self,
        size: Sequence[int],
        unit: Sequence[int],
        side: int | Sequence[int] | None = None,
        overlap: Sequence[int] | None = None,
    ) -> None:
        self.size, self.unit = tuple(size), tuple(unit)
        sides = side if isinstance(side, Sequence) else (side,) * len(self.size)
        self.overlap = tuple(overlap or map(_overlap, sides, unit))
        axes = zip(size, unit, sides, self.overlap, strict=True)
        self.tiles = [Tile(spans) for spans in product(*(_spans(*axis) for axis in axes))]
        self._shares: dict[tuple[int, ...], list[Tensor]] = {}

    def split(self, whole: Tensor, stride: Sequence[int]) -> list[Tensor]:
        """Latents `[..., *grid]` under each tile; one of them covers `stride` pixels."""
        return [_part(whole, self._grid(tile, stride)) for tile in self.tiles]

    def join(self, parts: Iterable[Tensor], stride: Sequence[int] | None = None) -> Tensor:
        """The latents, or the pixels, of the whole `[..., *grid]` from those of its tiles,
        of which one after the other is asked for."""
        grids, shape, shares = self._layout(stride)
        whole = None
        for part, grid, share in zip(parts, grids, shares, strict=True):
            if len(self.tiles) == 1:
                whole = part
                continue
            if whole is None:
                whole = part.new_zeros(*part.shape[: -len(shape)], *shape)
            _part(whole, grid).add_(part * share.to(part))
        return whole

    def pick(self, parts: Sequence[Tensor], stride: Sequence[int]) -> Tensor:
        """The same of codes, which have no mean: each is that of the tile that counts most."""
        if len(parts) == 1:
            return parts[0]
        grids, shape, shares = self._layout(stride)
        whole = parts[0].new_zeros(*parts[0].shape[: -len(shape)], *shape)
        most = torch.zeros(shape)
        for part, grid, share in zip(parts, grids, shares, strict=True):
            ahead = (share > _part(most, grid)).to(part.device)
            _part(whole, grid).copy_(torch.where(ahead, part, _part(whole, grid)))
            _part(most, grid).copy_(torch.maximum(share, _part(most, grid)))
        return whole

    def gather(self, parts: Sequence[Tensor], stride: Sequence[int], codes: bool) -> Tensor:
        """The latents of the whole, which may be codes, from those of its tiles."""
        return self.pick(parts, stride) if codes else self.join(parts, stride)

    def _layout(
        self, stride: Sequence[int] | None
    ) -> tuple[list[list[tuple[int, int]]], list[int], list[Tensor]]:
        """Where the tiles lie in a grid, its size, and what each tile counts for."""
        grids = [self._grid(tile, stride) for tile in self.tiles]
        shape = [max(grid[axis][1] for grid in grids) for axis in range(len(self.size))]
        return grids, shape, self._weights(grids, shape, tuple(stride or [1] * len(shape)))

    def _grid(self, tile: Tile, stride: Sequence[int] | None) -> list[tuple[int, int]]:
        """Spans in a grid of latents, which covers whole units; or of pixels."""
        if stride is None:
            return list(tile.spans)
        return [
            (start // s, -(-stop // u) * u // s)
            for (start, stop), s, u in zip(tile.spans, stride, self.unit, strict=True)
        ]

    def _weights(
        self, grids: Sequence[list[tuple[int, int]]], shape: Sequence[int], stride: tuple[int, ...]
    ) -> list[Tensor]:
        """What each tile counts for at each of its positions; they add up to 1."""
        key = (*shape, *stride)
        if key not in self._shares:
            total, weights = torch.zeros(shape), []
            for grid in grids:
                weight = torch.ones(())
                for axis in zip(grid, shape, self.overlap, stride, strict=True):
                    span, n, overlap, s = axis
                    weight = weight[..., None] * _fade(span, n, overlap / s)
                weights.append(weight)
                _part(total, grid).add_(weights[-1])
            self._shares[key] = [
                w / _part(total, grid) for w, grid in zip(weights, grids, strict=True)
            ]
        return self._shares[key]


def check_side(
    side: int | None, unit: Sequence[int], whole: bool = False, largest: int = LARGEST
) -> int | None:
    """The side of tiles that is asked for, or else one that fits a model of coarsest stride `unit`.

    Args:
        whole: samples are never cut, since an exact ladder's tiles would meet in means, which are
            not exact; then there is no side.
        largest: side that does in most cases.

    Raises:
        ValueError: it is no multiple of the stride, or too small to overlap, or one is given where
            nothing is cut.
    """
    if whole:
        if side is not None:
            raise ValueError("an exact ladder takes samples in one piece; leave out --tile")
        return None
    step = math.lcm(*unit)
    if side is None:
        return max(2, largest // step) * step
    if side % step or side < 2 * step:
        raise ValueError(
            f"--tile is {side}; it must be a multiple of the model's coarsest stride {step}, "
            f"and at least twice as much, such as {max(2, round(side / step)) * step}"
        )
    return side


def _spans(length: int, unit: int, side: int | None, overlap: int) -> list[tuple[int, int]]:
    """As few tiles as do, of about equal size, `side` at most."""
    if side is None or length <= side:
        return [(0, length)]
    count = -(-(length - overlap) // (side - overlap))
    size = -(-(length + (count - 1) * overlap) // (count * unit)) * unit
    starts = range(0, count * (size - overlap), size - overlap)
    return [(start, min(start + size, length)) for start in starts]


def _overlap(side: int | None, unit: int) -> int:
    return max(1, (side or 0) // OVERLAP // unit) * unit


def _fade(span: tuple[int, int], length: int, ramp: float) -> Tensor:
    """1 inside, falling towards those ends of `span` at which another tile goes on."""
    start, stop = span
    at = torch.arange(start, stop) + 0.5
    up = (at - start) / ramp if start else torch.ones(stop - start)
    down = (stop - at) / ramp if stop < length else torch.ones(stop - start)
    return torch.minimum(up, down).clamp(max=1)


def _part(whole: Tensor, grid: Sequence[tuple[int, int]]) -> Tensor:
    return whole[(..., *(slice(*span) for span in grid))]
