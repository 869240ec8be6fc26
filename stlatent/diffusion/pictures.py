"""Decoded tensors as pictures."""

from __future__ import annotations

from PIL import Image
from torch import Tensor

from ..data import to_uint8

PICTURES = ("image", "video")  # the domains whose samples can be shown as they are


def pictures(x: Tensor) -> list[Image.Image] | list[list[Image.Image]]:
    """`[B, C, H, W]` in [-1, 1] -> pictures; `[B, C, T, H, W]` -> lists of frames."""
    video = x if x.ndim == 5 else x.unsqueeze(2)
    if video.shape[1] == 1:
        video = video.expand(-1, 3, -1, -1, -1)
    frames = [[Image.fromarray(frame) for frame in to_uint8(clip)] for clip in video]
    return frames if x.ndim == 5 else [clip[0] for clip in frames]
