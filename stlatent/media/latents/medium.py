"""Latents of a foundation as a medium: what a model on it reads in place of pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch

from ...foundation.autoencoder import FoundationAutoencoder
from ...model.device import chunk_pixels
from ..base import Medium
from ..coder import CoderFor
from ..encoder import Named, Sink
from ..options import SourceOptions
from ..source import Kind, Source, named_files
from ..video.medium import Clips
from .child import LatentPlan
from .encode import LatentEncoder
from .options import LatentOptions

KINDS: dict[str, Kind] = dict.fromkeys((".safetensors", ".pt", ".pth"), "latents")
WHAT = f"latents ({' '.join(KINDS)})"


class CachedLatents(Clips):
    """Files that hold latents of the foundation of a model, see child.py; a part is one latent
    step, or a picture's. Written are the pixels that they stand for."""

    what = "latents computed before"
    parts = "latents"
    kinds = KINDS
    options = LatentOptions
    coded = False
    pictured = False

    def find(self, root: Path) -> list[Source]:
        return named_files(root, self.kinds, WHAT)

    def check(self, root: str | Path, sources: Sequence[Named]) -> None:
        """Each is checked when it is read."""

    def resolve(self, options: SourceOptions) -> dict[str, object]:
        return Medium.resolve(self, options)  # they are not cut into tiles

    def plan(self, options: SourceOptions, device: torch.device) -> LatentPlan:
        stride = self.config.foundation.stride
        return LatentPlan(
            channels=len(self.config.foundation.mean),
            domain=self.config.domain,
            positions=chunk_pixels(device) // math.prod(stride),
        )

    def encoder(
        self,
        model: FoundationAutoencoder,
        options: SourceOptions,
        sink: Sink,
        std: bool,
        coder: CoderFor | None,
    ) -> LatentEncoder:
        return LatentEncoder(model, sink, std, options.normalised)
