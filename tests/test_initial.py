"""New models begin alike everywhere: the same seed, the same weights, as a linear code."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from domains import config
from torch import nn

from stlatent import Ladder, Level, Stage
from stlatent.checkpoint import build
from stlatent.model.config import ModelConfig, load
from stlatent.train.config import RunConfig

CONFIGS = Path(__file__).parents[1] / "configs"

# of seed 0, on whatever processor: see `summed`
EXPECTED = {
    "image": -555.771434,
    "video nvae": -21.814016,
    "video-joint vdvae": -10.118494,
    "voxel": 12.203236,
    "triplane": -8.385118,
    "video/tiny": 41.894291,
    "image/vqvae2": 904.303297,
    "shape/triplane": -645.926738,
    "shape/planes": 80.263135,
    "image/vdvae": 893.810059,
}


def summed(model: nn.Module) -> float:
    """All numbers of a model, each with a weight of its own."""
    values = torch.cat([value.double().flatten() for value in model.state_dict().values()])
    return float(values @ torch.sin(torch.arange(len(values)).double() * math.e))


def asked(name: str) -> ModelConfig:
    if "/" in name:
        return load(RunConfig, CONFIGS / f"{name}.yaml").model
    variant, _, cell = name.partition(" ")
    return config(variant, **({"cell": cell} if cell else {}))


@pytest.mark.parametrize("name", EXPECTED)
def test_the_same_seed_gives_the_same_weights(name):
    torch.manual_seed(0)
    assert summed(build(asked(name))) == pytest.approx(EXPECTED[name], rel=1e-6, abs=1e-4)


def test_a_level_may_have_more_latents_than_features_and_spread() -> None:
    """As on an autoencoder of few channels: 4 values a block, 8 latents."""
    config = ModelConfig(
        domain="image",
        channels=1,
        stem=Stage(stride=(1, 1), width=8, blocks=0),
        levels=(Level(stride=(2, 2), width=16, latent=8, blocks=0),),
        spread=3,
    )
    x = torch.rand(1, 1, 8, 8) * 2 - 1
    ladder = Ladder(config).eval()
    assert (ladder.decode(ladder.encode(x)) - x).abs().max() < 0.5
