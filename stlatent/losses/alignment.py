"""Latents that diffuse well: near where a frozen picture network sees the same, far where not.

Yao et al. 2025 (VA-VAE, Reconstruction vs. Generation, eq. 5), the marginal distance matrix
similarity: cosines between the latents of any two positions of a picture are to be those between
the features of a frozen `timm` network there, up to a margin. Nothing is trained for it.

    mean over positions i, j of  max(0, |cos(z_i, z_j) - cos(f_i, f_j)| - margin)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..model.domain import Domain
from .perceptual import PerceptualLoss


class FeatureAlignment(nn.Module):
    """How unlike the positions of latents and of features are related.

    Args:
        features: one layer of a frozen backbone.
        domain: `image`, or `video`, where a latent goes with the last frame that it covers.
        stride: of the latents.
        margin: differences of cosines below it cost nothing.

    Raises:
        ValueError: the domain has no pictures.
    """

    def __init__(
        self, features: PerceptualLoss, domain: Domain, stride: tuple[int, ...], margin: float
    ) -> None:
        super().__init__()
        if not domain.pictures:
            raise ValueError(
                f"alignment compares with features of pictures, and domain '{domain.name}' has none"
            )
        self.features, self.domain, self.stride, self.margin = features, domain, stride, margin

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        """Scalar, for latents `[B, C, *grid]` of `x` `[B, 3, *axes]` in [-1, 1].

        Raises:
            ValueError: a grid of one position, where there is nothing to compare.
        """
        if z.shape[-1] * z.shape[-2] < 2:
            raise ValueError(
                f"alignment compares positions, and the latents have a grid of {list(z.shape[2:])}:"
                f" choose a finer level, or larger samples"
            )
        if self.domain.has_time:
            last = torch.arange(z.shape[2], device=x.device) * self.stride[0]
            x = x[:, :, last.clamp(max=x.shape[2] - 1)]
            z = z.transpose(1, 2).flatten(0, 1)
        with torch.no_grad():
            maps = self.features.unit_features(x)[-1]
            maps = F.adaptive_avg_pool2d(maps, z.shape[-2:])
        return F.relu((_cosines(z) - _cosines(maps)).abs() - self.margin).mean()


def _cosines(maps: Tensor) -> Tensor:
    """`[B, C, h, w]` -> cosines between any two positions `[B, h w, h w]`."""
    unit = F.normalize(maps.float().flatten(2), dim=1, eps=1e-6)
    return unit.transpose(1, 2) @ unit
