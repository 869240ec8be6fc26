"""What every test relies on: a usable torchvision, few threads, a fixed seed."""

from __future__ import annotations

import ctypes
import random
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch


def declare_torchvision_operators() -> None:
    """Let `timm` and `diffusers` import beside a torchvision that was built for another torch.

    Where only a CUDA wheel of torchvision is to be had, its binary does not load beside a CPU
    torch, and its Python part fails at import for want of two operators. Declared, not implemented.
    """
    spec = find_spec("torchvision")
    if spec is None or spec.origin is None:
        return
    try:
        for binary in Path(spec.origin).parent.glob("_C.*"):
            ctypes.CDLL(str(binary))
    except OSError:
        torch.library.define(
            "torchvision::nms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )
        torch.library.define(
            "torchvision::qnms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )


declare_torchvision_operators()  # before anything imports diffusers
torch.set_num_threads(1)  # the models of the tests are tiny: threads would only wait


@pytest.fixture(autouse=True)
def seed() -> None:
    """Every test starts from the same random state."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
