"""Tiles of pictures as pipelines ask for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..media.tiles import Tiling


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
        space: int,
    ) -> Tiles:
        """The same, except for what is given; a new size comes with an overlap of a quarter."""
        usual = [
            old if new is None else _apart(new, 0.25, space) for new, old in zip(size, self.stride)
        ]
        old = (*self.size, *usual, self.frames)
        given = zip((*size, *stride, frames), old, strict=True)
        height, width, down, right, frames = (o if new is None else new for new, o in given)
        return Tiles((height, width), (down, right), frames)

    def overlapping(self, shares: tuple[float | None, float | None], space: int) -> Tiles:
        """The same with tiles that overlap by about these shares of their height and width.

        Raises:
            ValueError: a share is not from 0 to a half.
        """
        strides = list(self.stride)
        for i, share in enumerate(shares):
            if share is None:
                continue
            if not 0 <= share <= 0.5:
                raise ValueError(f"tiles are to overlap by {share}; give a share from 0 to 0.5")
            strides[i] = _apart(self.size[i], share, space)
        return Tiles(self.size, tuple(strides), self.frames)

    def check(self, space: int, time: int) -> None:
        """Raise ValueError unless tiles begin and end between latents."""
        for name, size, stride in zip(("height", "width"), self.size, self.stride):
            fits = 0 < stride <= size <= 2 * stride
            if size % space or stride % space or not fits:
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


def _apart(size: int, share: float, space: int) -> int:
    """How far tiles of `size` lie apart that overlap by about `share`: whole latents, and from half
    of the size on."""
    half = -(-size // (2 * space))
    return max(half, round(size * (1 - share) / space)) * space
