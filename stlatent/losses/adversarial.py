"""A patch discriminator over any domain, with the hinge loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ..model.domain import Domain
from ..model.layers import Conv, Down
from ..model.past import Past


class PatchDiscriminator(nn.Module):
    """Says of each patch whether it is real (Isola et al. 2017, PatchGAN).

    Folds the input by `stride`, halves it twice more along every axis that may be resampled, and
    judges each place that is left: `[B, C, *axes] -> [B, 1, *patches]`.

    Args:
        stride: of the first fold, such as that of the ladder's stem.
        width: channels after the first fold; doubled at each halving.
    """

    def __init__(self, domain: Domain, channels: int, stride: Sequence[int], width: int = 64):
        super().__init__()
        self.domain = domain
        halve = [1 if axis.kind == "index" else 2 for axis in domain.axes]
        self.stride = [f * 4 if h == 2 else f for f, h in zip(stride, halve, strict=True)]
        self.fold = Down(domain, channels, width, stride)
        self.looks = nn.ModuleList()
        self.downs = nn.ModuleList()
        for _ in range(2):
            self.looks.append(Conv(domain, width, width, 3, 3))
            self.downs.append(Down(domain, width, 2 * width, halve))
            width *= 2
        self.verdict = Conv(domain, width, 1, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        past = Past()
        h = self.fold(self.domain.pad(x, self.stride), past)
        for look, down in zip(self.looks, self.downs, strict=True):
            h = down(F.leaky_relu(look(F.leaky_relu(h, 0.2), past), 0.2), past)
        return self.verdict(F.leaky_relu(h, 0.2), past)


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Hinge loss of the verdicts (Lim & Ye 2017); scalar."""
    return (F.relu(1 - real.float()).mean() + F.relu(1 + fake.float()).mean()) / 2


def generator_loss(fake: Tensor) -> Tensor:
    """What the decoder minimises; scalar."""
    return -fake.float().mean()
