"""The mixins by which diffusers tests its own models, on exported ladders.

They are in no package of diffusers, but in its repository: name a checkout to run them,

    DIFFUSERS_CHECKOUT=~/diffusers DIFFUSERS_TEST_DEVICE=cpu pytest tests/test_diffusers_suites.py

What they check on a CPU is also checked by tests of our own, in `test_export_tools.py` and
`test_export_conventions.py`; what needs an accelerator is only here.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest
import torch

CHECKOUT = os.environ.get("DIFFUSERS_CHECKOUT")
if not CHECKOUT:
    reason = "the suites of diffusers need DIFFUSERS_CHECKOUT, a checkout of its repository"
    pytest.skip(reason, allow_module_level=True)
sys.path.insert(0, CHECKOUT)

from tests.models.autoencoders.testing_utils import AutoencoderTesterMixin  # noqa: E402
from tests.models.testing_utils import (  # noqa: E402
    BaseModelTesterConfig,
    MemoryTesterMixin,
    ModelTesterMixin,
    TrainingTesterMixin,
)

from stlatent import AutoencoderLadder  # noqa: E402


class Config(BaseModelTesterConfig):
    """A tiny ladder over videos."""

    model_class = AutoencoderLadder
    output_shape = (3, 9, 16, 16)
    main_input_name = "sample"

    def get_init_dict(self) -> dict[str, Any]:
        strides = ((4, 8, 8), (2, 4, 4))
        levels = [{"stride": s, "width": 12, "latent": 2, "blocks": 1} for s in strides]
        stem = {"stride": (2, 4, 4), "width": 12, "blocks": 1}
        return {
            "model": {"domain": "video", "levels": levels, "stem": stem},
            "levels": 2,
            "measured_mean": [0.1] * 4,
            "measured_std": [1.2] * 4,
        }

    def get_dummy_inputs(self) -> dict[str, Any]:
        noise = torch.Generator().manual_seed(0)
        device = os.environ.get("DIFFUSERS_TEST_DEVICE")
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        return {"sample": torch.randn(2, 3, 9, 16, 16, generator=noise).to(device)}


class TestModel(Config, ModelTesterMixin):
    """Saving, loading, types, shards."""


class TestTraining(Config, TrainingTesterMixin):
    """Gradients, averages, checkpointing."""


class TestMemory(Config, MemoryTesterMixin):
    """Offloading and casting."""


class TestSwitches(Config, AutoencoderTesterMixin):
    """Slices and tiles."""
