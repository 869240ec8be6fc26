"""Training of a decoder and of nothing else: latents stay as they are, to the last digit, those of
every level and those of a foundation. So data sets, and what was trained on them, go on working.

Of a ladder, it is what lies behind its last latent, trained by the loss of the whole. Of a
foundation, its decoder, under a ladder that is trained: a short prefix gives means of latents,
which that decoder has never seen. Here it learns what such a mean stands for: the mean of pixels, a
blur.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..foundation.autoencoder import FoundationAutoencoder
from ..losses.elbo import draw_prefixes
from ..losses.pixels import PixelConfig, pixel_error
from ..model.choose import Prefix, mean
from ..model.fingerprint import decoder_parts
from ..model.ladder import Ladder
from .processes import Batches
from .task import Loss, Moment


def train_decoder_alone(ladder: Ladder) -> None:
    """Freeze all but the parts that no latent depends on, prior or posterior."""
    ladder.requires_grad_(False)
    for part in decoder_parts(ladder):
        part.requires_grad_(True)


class Decoding(nn.Module):
    """How far prefixes of a model are from what they should decode to, of which nothing is to be
    trained but the decoder that is its own.

    Every number of levels comes as often as any other. All levels of an exact ladder are the
    foundation's latents, which go on being decoded as the foundation does.
    """

    def __init__(self, model: FoundationAutoencoder, config: PixelConfig) -> None:
        super().__init__()
        self.model, self.config = model.eval().requires_grad_(False), config
        model.decoder.requires_grad_(True)

    def forward(self, x: Tensor, keep: Tensor, noise: torch.Generator) -> Tensor:
        """Half the logarithm of the squared error of samples `[B, 3, *size]`: `[B]`.

        Args:
            keep: number of levels that each sample keeps `[B]`.
            noise: of the windows' place.
        """
        with torch.no_grad():
            out = self.model(x, Prefix(keep, mean))
        whole = keep == len(self.model.config.levels) + 1  # with the exact one
        z = torch.where(whole.view(-1, *[1] * (x.ndim - 1)), out.inputs, out.x)
        decode, teacher = self.model.through_decoder, self.model.frozen.teacher.decode
        return pixel_error(decode, teacher, z, out.inputs, self.config.window, noise)

    def train(self, mode: bool = True) -> Decoding:
        """As whoever decodes uses it."""
        return self


def decoder_loss(network: nn.Module, model: FoundationAutoencoder, x: Tensor, at: Moment) -> Loss:
    """The mean over samples.

    Args:
        network: `Decoding` of `model`, or its wrapper where several processes train.
    """
    batches, levels = Batches(len(x), at), len(model.levels)
    keep = draw_prefixes(batches.samples, levels + 1, 1.0, at.noise, x.device)[batches.own]
    return Loss(network(x, keep, at.noise).mean(), {})
