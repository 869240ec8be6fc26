"""What every kind of data does to measure a model during training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..checkpoint import Model
from ..model.gaussian import BITS_PER_NAT


@torch.no_grad()
def measured(model: Model, x: Tensor) -> tuple[list[Tensor], list[float]]:
    """A sample `[1, C, *axes]` decoded from each prefix of levels, on its own device, and the bits
    per input value of each level."""
    entered = x.to(next(model.parameters()).device)
    bits = [float(kl.sum()) * BITS_PER_NAT / x.numel() for kl in model(entered).kl]
    latents = model.encode(entered)
    decoded = [model.decode(latents, k + 1).to(x.device) for k in range(len(model.levels))]
    return decoded, bits


def write_picture(out: Path, step: int, picture: np.ndarray) -> None:
    """Keep a picture of held-out samples, uint8 `[H, W, 3]`, with the run in `out`."""
    folder = out / "reconstructions"
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(folder / f"{step:07d}.png")
