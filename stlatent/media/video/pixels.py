"""Between pixels on disk (uint8 RGB, channels last) and the model's floats (channels first)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def to_float(frames: Tensor | np.ndarray) -> Tensor:
    """uint8 `[..., T, H, W, 3]` in [0, 255] -> float32 `[..., 3, T, H, W]` in [-1, 1]."""
    frames = torch.as_tensor(frames)
    if frames.dtype != torch.uint8 or frames.ndim < 4 or frames.shape[-1] != 3:
        raise ValueError(
            f"frames are {frames.dtype} {list(frames.shape)}; expected uint8 [..., T, H, W, 3]"
        )
    return frames.movedim(-1, -4).float().div_(127.5).sub_(1)


def to_uint8(video: Tensor) -> np.ndarray:
    """Float `[..., 3, T, H, W]` in [-1, 1], clamped -> uint8 array `[..., T, H, W, 3]`."""
    if video.ndim < 4 or video.shape[-4] != 3:
        raise ValueError(f"video has shape {list(video.shape)}; expected [..., 3, T, H, W]")
    pixels = (video.detach().float() + 1).mul_(127.5).clamp_(0, 255).round_()
    return pixels.movedim(-4, -1).to("cpu", torch.uint8).contiguous().numpy()


def scaled(frames: Tensor, size: Sequence[int]) -> Tensor:
    """uint8 frames `[B, t, H, W, 3]` at `size` (height, width), bicubic with antialiasing."""
    if tuple(frames.shape[2:4]) == tuple(size):
        return frames
    flat = frames.flatten(0, 1).movedim(-1, 1)
    flat = flat if flat.device.type == "cpu" else flat.float()  # GPUs resize no bytes
    flat = F.interpolate(flat, tuple(size), mode="bicubic", antialias=True)
    flat = flat if flat.dtype == torch.uint8 else flat.round_().clamp_(0, 255).byte()
    return flat.movedim(1, -1).unflatten(0, frames.shape[:2])
