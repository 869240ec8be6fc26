"""What is measured beside each other: prefixes of a ladder, and autoencoders of `diffusers`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from ..checkpoint import Model
from ..foundation.frozen import FrozenAutoencoder
from ..foundation.opening import open_foundation
from ..model.config import FoundationConfig
from ..model.gaussian import BITS_PER_NAT
from ..model.latents import Latents
from ..model.passes import Encoded


class Peer(Protocol):
    """An autoencoder of clips.

    Attributes:
        name: in tables.
        device: where clips are read.
        parameters: how many it has.
    """

    name: str
    device: torch.device
    parameters: int

    def encode(self, x: Tensor) -> object:
        """A code of a clip `[1, 3, T, H, W]` in [-1, 1]."""

    def decodings(self, code: object) -> Iterator[tuple[str, Tensor, int, float | None]]:
        """Of each way to decode it: its name, the clip `[1, 3, T, H, W]`, latent numbers, and bits
        of the rate, if it has one. One way is run at a time, when it is asked for."""


class LadderPeer:
    """A model of this library, prefix by prefix."""

    def __init__(self, name: str, model: Model) -> None:
        self.name, self.model = name, model
        self.device = next(model.parameters()).device
        self.parameters = sum(p.numel() for p in model.parameters())
        self.still = model.domain.causal is None

    def encode(self, x: Tensor) -> Encoded:
        frames = x[0].transpose(0, 1) if self.still else x
        return self.model.encode(frames)

    def decodings(self, code: Encoded) -> Iterator[tuple[str, Tensor, int, float | None]]:
        numbers, bits, count = 0, 0.0, len(code.levels)
        for levels in range(1, count + 1):
            numbers += code.levels[levels - 1].numel()
            bits += float(code.kl[levels - 1].sum()) * BITS_PER_NAT
            y = self.model.decode(Latents(code.levels, code.size), levels)
            y = y.transpose(0, 1)[None] if self.still else y
            yield _prefix(levels, count), y, numbers, bits


class FrozenPeer:
    """An autoencoder of `diffusers`; of pictures, frame by frame."""

    def __init__(self, place: str, device: torch.device) -> None:
        """place: a folder or a name on the hub, `#subfolder` behind it for part of a pipeline."""
        path, _, subfolder = place.partition("#")
        config = FoundationConfig(path=path, subfolder=subfolder or None)
        self.frozen: FrozenAutoencoder = open_foundation(config)
        self.frozen.module.to(device)
        self.device = device
        self.parameters = sum(p.numel() for p in self.frozen.module.parameters())
        self.name = f"{type(self.frozen.module).__name__} ({place})"

    def encode(self, x: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        frozen, axes = self.frozen, self.frozen.domain
        if axes.causal is None:
            x = x[0].transpose(0, 1)
            padded = axes.pad(x, frozen.stride)
            return torch.cat([frozen.encode(frame[None]) for frame in padded]), x.shape[2:]
        unit = axes.with_time(frozen.stride, axes.of_time(frozen.stride) * frozen.pace)
        return frozen.encode(axes.pad(x, unit)), x.shape[2:]

    def decodings(
        self, code: tuple[Tensor, tuple[int, ...]]
    ) -> Iterator[tuple[str, Tensor, int, float | None]]:
        (z, size), axes = code, self.frozen.domain
        if axes.causal is None:
            frames = torch.cat([self.frozen.decode(one[None]) for one in z])
            y = axes.crop(frames, size).transpose(0, 1)[None]
        else:
            y = axes.crop(self.frozen.decode(z), size)
        yield "all", y, z.numel(), None


def _prefix(levels: int, count: int) -> str:
    if levels == count:
        return "all"
    return "0" if levels == 1 else f"0–{levels - 1}"
