"""Latents on several levels, as a value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Latents:
    """What a batch of inputs is encoded to.

    Attributes:
        levels: latents per level, coarsest first, `[B, groups * latent, *grid]`, float32.
        size: sizes of the input's axes, such as `(17, 256, 256)`: decoding comes out at this size.
    """

    levels: tuple[Tensor, ...]
    size: tuple[int, ...]

    @property
    def batch(self) -> int:
        """Number of inputs."""
        return len(self.levels[0])

    @property
    def numel(self) -> int:
        """Latent numbers per sample over all levels."""
        return sum(level[0].numel() for level in self.levels)

    @property
    def movable(self) -> Sequence[int]:
        """Levels that can move alone, as `towards` has them."""
        return range(len(self.levels))

    def to(self, device: torch.device | str) -> Latents:
        """The same on a device."""
        return Latents(tuple(z.to(device) for z in self.levels), self.size)

    def held(self, levels: Sequence[int]) -> Mapping[int, Tensor]:
        """These levels, as `sample` holds them.

        Raises:
            ValueError: a level does not exist.
        """
        check_levels_exist(levels, len(self.levels))
        return {k: self.levels[k] for k in sorted({*levels})}

    def with_finer(self, other: Latents, levels: int) -> Latents:
        """The first `levels` levels of these, and the finer ones of `other`.

        Raises:
            ValueError: the two differ in their sizes.
        """
        return self.mixed(other, range(levels, len(self.levels)))

    def mixed(self, other: Latents, levels: Sequence[int]) -> Latents:
        """These, but for `levels`, which are those of `other`; where it is none or all of them,
        one of the two itself.

        Raises:
            ValueError: the two differ in their sizes.
        """
        self._check(other)
        every = {*range(len(self.levels))}
        if (taken := every & {*levels}) in (set(), every):
            return other if taken else self
        pairs = enumerate(zip(self.levels, other.levels, strict=True))
        return Latents(tuple(b if k in levels else a for k, (a, b) in pairs), self.size)

    def towards(self, other: Latents, share: float, levels: Sequence[int] | None = None) -> Latents:
        """On the straight line to `other`; only `levels` move, if given. A share of 0 gives these
        themselves, and 1, where all levels move, the other.

        Raises:
            ValueError: the two differ in their sizes.
        """
        self._check(other)
        moving = range(len(self.levels)) if levels is None else levels
        if share in (0, 1):
            return self.mixed(other, moving if share else ())
        pairs = enumerate(zip(self.levels, other.levels, strict=True))
        moved = (a.lerp(b, share) if k in moving else a for k, (a, b) in pairs)
        return Latents(tuple(moved), self.size)

    def _check(self, other: Latents) -> None:
        shapes = [[tuple(z.shape) for z in one.levels] for one in (self, other)]
        if self.size != other.size or shapes[0] != shapes[1]:
            raise ValueError(f"{self!r} and {other!r} differ in their sizes; only equal ones mix")

    def __repr__(self) -> str:
        shapes = ", ".join(str(list(level.shape)) for level in self.levels)
        return f"Latents(size={list(self.size)}, levels=[{shapes}])"


def check_levels_exist(levels: Iterable[int], count: int) -> None:
    """ValueError unless all of `levels` are among those of a model of `count` ones."""
    if wrong := [k for k in levels if k not in range(count)]:
        raise ValueError(f"level {wrong[0]} does not exist; this model has levels 0 to {count - 1}")
