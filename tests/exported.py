"""Small exported autoencoders, shared by the tests of the export."""

import torch

from stlatent import Ladder, Level, ModelConfig, Stage
from stlatent.evaluate.latents import measure_latents
from stlatent.export import AutoencoderLadder
from stlatent.export.folder import wrap


def autoencoder(model: Ladder, levels: int, x: torch.Tensor) -> AutoencoderLadder:
    """`model`, normalised by what it makes of `x`."""
    return wrap(model, levels, *measure_latents(model, [x]).first(levels))


def tiny(domain="video", strides=((4, 8, 8), (2, 4, 4)), latent=2, spread=1) -> AutoencoderLadder:
    """All levels of a ladder without attention: it sees only what lies near."""
    torch.manual_seed(0)
    levels = tuple(Level(stride=s, width=12, latent=latent, blocks=0) for s in strides)
    stem = Stage(stride=strides[-1], width=12, blocks=0)
    config = ModelConfig(domain=domain, levels=levels, stem=stem, spread=spread)
    model = Ladder(config).requires_grad_(False)
    for parameter in model.parameters():
        parameter += 0.05 * torch.randn_like(parameter)
    count = latent * len(strides)
    return wrap(model, len(strides), [0.1] * count, [1.2] * count)
