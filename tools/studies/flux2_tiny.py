"""The tiny autoencoder of FLUX.2's latents (TAEF2, madebyollin/taesd, MIT) as one of `diffusers`.

    python tools/studies/flux2_tiny.py WEIGHTS --out runs/flux2-tiny

8 x 8 pixels per latent, 32 channels. `WEIGHTS` holds `flux2_tiny_encoder.safetensors` and
`flux2_tiny_decoder.safetensors`, whose names are positions in a sequence of layers.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from safetensors.torch import load_file
from torch import Tensor, nn

from stlatent.cli.outcome import command
from stlatent.foundation.classes import register

WIDTH, LATENT = 64, 32


class Block(nn.Module):
    """Three convolutions around a shortcut; with `pool`, after a look at wider channels."""

    def __init__(self, pool: bool = False) -> None:
        super().__init__()
        layers = [conv(WIDTH, WIDTH) for _ in range(3)]
        self.conv = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
        self.pool = None
        if pool:
            wide, narrow = (nn.Conv2d(a, b, 1, bias=False) for a, b in ((64, 256), (256, 64)))
            self.pool = nn.Sequential(wide, nn.GroupNorm(4, 256), nn.ReLU(), narrow)

    def forward(self, x: Tensor) -> Tensor:
        if self.pool is not None:
            x = x + self.pool(x)
        return torch.relu(self.conv(x) + x)


class Clamp(nn.Module):
    """Latents softly held within -3 and 3."""

    def forward(self, x: Tensor) -> Tensor:
        return 3 * torch.tanh(x / 3)


def conv(inputs: int, outputs: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=bias)


@register
class Flux2Tiny(ModelMixin, ConfigMixin):
    """Pixels in [-1, 1] to latents and back, as autoencoders of diffusers do it."""

    @register_to_config
    def __init__(self, latent_channels: int = LATENT) -> None:
        super().__init__()
        encoder: list[nn.Module] = [conv(3, WIDTH), Block()]
        for last in (False, False, True):
            encoder += [conv(WIDTH, WIDTH, 2, bias=False), *(Block(last) for _ in range(3))]
        self.encoder = nn.Sequential(*encoder, conv(WIDTH, latent_channels))
        decoder: list[nn.Module] = [Clamp(), conv(latent_channels, WIDTH), nn.ReLU()]
        for first in (True, False, False):
            decoder += [Block(first) for _ in range(3)]
            decoder += [nn.Upsample(scale_factor=2), conv(WIDTH, WIDTH, bias=False)]
        self.decoder = nn.Sequential(*decoder, Block(), conv(WIDTH, 3))

    def encode(self, x: Tensor) -> Encoded:
        return Encoded(self.encoder((x + 1) / 2))

    def decode(self, z: Tensor) -> Tensor:
        return 2 * self.decoder(z) - 1


class Encoded:
    """What `encode` gives."""

    def __init__(self, latents: Tensor) -> None:
        self.latents = latents


def read(folder: Path) -> Flux2Tiny:
    """The autoencoder from its two files.

    Raises:
        ValueError: a file is missing, or its layers are others.
    """
    model = Flux2Tiny()
    for part in ("encoder", "decoder"):
        file = folder / f"flux2_tiny_{part}.safetensors"
        if not file.is_file():
            raise ValueError(f"{file} is missing; give the folder that holds both files")
        try:
            getattr(model, part).load_state_dict({k: v.float() for k, v in load_file(file).items()})
        except RuntimeError as error:
            raise ValueError(f"{file}: {str(error).splitlines()[1].strip()}") from None
    return model.eval()


@command("flux2_tiny")
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path, help="folder of both files")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    read(options.weights).save_pretrained(options.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
