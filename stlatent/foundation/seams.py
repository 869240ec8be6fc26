"""How far a stream through a frozen autoencoder is from one piece."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..model.past import Past
from .frozen import FrozenAutoencoder
from .streams import TIME, pieces

SAME = 1e-3  # of a deviation: differences of rounding


@dataclass(frozen=True)
class Seams:
    """How far a stream is from one piece: the mean difference, in deviations.

    Attributes:
        latents, pixels: of the foundation, encoded and decoded.
        ahead: whether what is decoded depends on latents to come.
        words: how it streams.
    """

    latents: float
    pixels: float
    ahead: bool
    words: str

    def __str__(self) -> str:
        differs = f"latents by {self.latents:.2%}, decoded pixels by {self.pixels:.2%}"
        ahead = "; its decoder looks ahead, which a stream cannot" if self.ahead else ""
        return (
            f"the foundation streams {self.words}; off one piece: {differs} of a deviation{ahead}"
        )


@torch.no_grad()
def seams(frozen: FrozenAutoencoder, x: Tensor) -> Seams:
    """The difference on pixels `x` `[B, 3, T, H, W]` of whole strides, in chunks as short as the
    class takes; those that look back further than a chunk need more than `CONTEXT` latents."""
    step = frozen.pace * frozen.stride[0]
    z = frozen.encode(x)
    y, begun = frozen.decode(z), frozen.decode(z[:, :, : 1 + frozen.pace])
    ahead = _deviation(begun, y[:, :, : begun.shape[TIME]]) > SAME
    latents = _deviation(_streamed(frozen.encode, x, step), z)
    pixels = _deviation(_streamed(frozen.decode, z, frozen.pace), y)
    return Seams(latents, pixels, ahead, frozen.stream.words)


def _streamed(code: Callable[[Tensor, Past], Tensor], x: Tensor, step: int) -> Tensor:
    state, found = None, []
    for piece in pieces(x, 1 + step, step):
        past = Past(state)
        found.append(code(piece, past))
        state = past.state
    return torch.cat(found, TIME)


def _deviation(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().mean() / expected.std().clamp_min(1e-8))
