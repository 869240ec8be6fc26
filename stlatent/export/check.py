"""What an exported folder gives, beside what the model gave: run in a process of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import AutoModel, ModelMixin
from torch import Tensor

from ..weights import read
from .with_ladder import AutoencoderWithLadder


@torch.no_grad()
def differences(folder: str | Path, probe: str | Path) -> dict[str, float]:
    """Largest difference of every level and of the decoded sample, relative to its largest value.

    Args:
        probe: safetensors file with an input `x`, and `level_0`, ... and `decoded` as the model
            makes them from it.
    """
    vae = AutoModel.from_pretrained(str(folder), trust_remote_code=True)
    expected, _ = read(Path(probe))
    levels, decoded = _coded(vae, expected.pop("x"))
    found = {f"level_{k}": z for k, z in enumerate(levels)} | {"decoded": decoded}
    return {
        name: ((found[name] - value).abs().max() / value.abs().max().clamp_min(1e-8)).item()
        for name, value in expected.items()
    }


def _coded(vae: ModelMixin, x: Tensor) -> tuple[Sequence[Tensor], Tensor]:
    """The levels of `x`, and what is decoded of them."""
    if isinstance(vae, AutoencoderWithLadder):
        frozen = vae.ladder.frozen
        latents = vae.split(frozen.own(frozen.encode(x)))
        return latents.levels, frozen.decode(frozen.normalised(vae.join(latents)))
    posterior = vae.encode(x).latent_dist
    decoded = vae.decode(posterior.mode(), size=posterior.size).sample
    return vae.packing.unpack(posterior.mean), decoded


if __name__ == "__main__":
    print(json.dumps(differences(*sys.argv[1:])))
