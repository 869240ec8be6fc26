"""Planes fitted to shapes one by one, with a decoder that they share: an auto-decoder (Park et al.
2019, DeepSDF). Nothing is encoded, so nothing generalises; the planes are data for a ladder.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..model.config import DecoderConfig
from ..model.likelihoods import Sdf
from ..triplane.fields import FieldDecoder, Points, cosine_planes

PLANES_LR, DECODER_LR = 5e-3, 1e-3
BATCH = 4  # shapes per step


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
        planes = cosine_planes(volumes, self.decoder.planes, self.stride).requires_grad_(True)
        learned = [p for p in self.points.parameters() if p.requires_grad]
        groups = [{"params": [planes], "lr": PLANES_LR}, {"params": learned, "lr": DECODER_LR}]
        adam = torch.optim.Adam(groups[: 1 + bool(learned)])
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, max(steps, 1))
        losses = []
        for _ in range(steps):
            rows = torch.randperm(len(volumes))[:BATCH]
            loss = self.points(planes[rows], volumes[rows]).mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
            schedule.step()
            losses.append(float(loss.detach()))
        return planes.detach(), losses
