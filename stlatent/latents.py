"""Latents on several levels, as a value."""

from __future__ import annotations

from dataclasses import dataclass

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
    def numbers(self) -> int:
        """Latent numbers per sample over all levels."""
        return sum(level[0].numel() for level in self.levels)

    def __repr__(self) -> str:
        shapes = ", ".join(str(list(level.shape)) for level in self.levels)
        return f"Latents(size={list(self.size)}, levels=[{shapes}])"
