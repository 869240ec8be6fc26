"""Planes fitted to shapes one by one, with a decoder that they share: an auto-decoder (Park et al.
2019, DeepSDF). Nothing is encoded, so nothing generalises; the planes are data for a ladder.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..model.config import DecoderConfig
from ..model.likelihoods import Sdf
from ..triplane.fields import FieldDecoder, Points, cosine_planes
from .config import OptimiserConfig
from .fit import fit_task
from .task import Loss, Moment, Task

BATCH = 4  # shapes per step
OPTIMISER = OptimiserConfig(  # of planes; Adam without decay, and nothing is clipped or averaged
    lr=5e-3, warmup_steps=0, final=0, betas=(0.9, 0.999), weight_decay=0, clip=1e9, skip=1e9, ema=0
)
DECODER_RATE = 0.2  # its learning rate, relative to that of planes


class PlaneFitter:
    """Fits planes `[B, P, 3, n, n]` to volumes `[B, C, N, N, N]`, n = N / stride.

    Args:
        decoder: what reads the field from the planes; it learns in `share` and stays in `fit`.
    """

    def __init__(self, planes: int, config: DecoderConfig, stride: int = 1) -> None:
        self.points = Points(planes, config, Sdf(config.channels))
        self.stride = stride

    @property
    def decoder(self) -> FieldDecoder:
        return self.points.decoder

    @decoder.setter
    def decoder(self, decoder: FieldDecoder) -> None:
        self.points.decoder = decoder

    def share(self, volumes: Tensor, steps: int) -> list[float]:
        """Train the decoder, together with planes of these volumes; returns the losses."""
        self.points.requires_grad_(True)
        return self._descend(volumes, steps)[1]

    def fit(self, volumes: Tensor, steps: int) -> Tensor:
        """Planes of these volumes, for the decoder as it is."""
        self.points.requires_grad_(False)
        return self._descend(volumes, steps)[0]

    def _descend(self, volumes: Tensor, steps: int) -> tuple[Tensor, list[float]]:
        planes = cosine_planes(volumes, self.decoder.planes, self.stride)
        task, losses = PlanesTask(planes, self.points, volumes), []
        if steps:
            losses = fit_task(task, _rows(len(volumes)), OPTIMISER, steps).losses
        return task.model.planes.detach(), losses


class PlanesTask(Task):
    """Planes of some volumes, and what reads the field from them; a batch are rows of these."""

    def __init__(self, planes: Tensor, points: Points, volumes: Tensor) -> None:
        self.volumes = volumes
        self.model = self.network = nn.Module()
        self.model.planes = nn.Parameter(planes)
        self.model.points = points

    def parameters(self) -> list[dict[str, object]]:
        learned = [p for p in self.model.points.parameters() if p.requires_grad]
        groups = [{"params": [self.model.planes]}]
        return groups + ([{"params": learned, "rate": DECODER_RATE}] if learned else [])

    def loss(self, batch: Tensor, at: Moment) -> Loss:
        return Loss(self.model.points(self.model.planes[batch], self.volumes[batch]).mean(), {})


def _rows(count: int) -> Iterator[Tensor]:
    while True:
        yield torch.randperm(count)[:BATCH]
