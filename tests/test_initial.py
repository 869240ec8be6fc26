"""New models begin as they always have: the same seed, the same weights, as a linear code."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from domains import config
from torch import nn

from stlatent.checkpoint import build
from stlatent.model.config import ModelConfig, load
from stlatent.train.config import RunConfig

CONFIGS = Path(__file__).parents[1] / "configs"

# what the first version made of seed 0: see `summed`
EXPECTED = {
    "image": -555.771434,
    "video nvae": -6.937446,
    "video-joint vdvae": -14.353821,
    "voxel": 12.203236,
    "triplane": -8.385118,
    "video/tiny": 59.420972,
    "image/vqvae2": 904.303297,
    "shape/triplane": 1405.820973,
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
