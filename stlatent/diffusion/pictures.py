"""Decoded tensors as what people look at."""

from __future__ import annotations

import trimesh
from PIL import Image
from torch import Tensor

from ..geometry.values import CHANNELS
from ..media.shape.decoded import DecodedShape
from ..media.video.pixels import to_uint8
from ..model.config import ModelConfig
from ..model.ladder import Ladder


def shown_as(model: ModelConfig) -> str:
    """What samples of a model are: `pil`, `mesh`, or `pt` where neither can be made of them."""
    if model.reads == "clips":
        return "pil"
    return "mesh" if model.reads == "shapes" and model.read_channels in CHANNELS else "pt"


def meshes(ladder: Ladder, x: Tensor) -> list[trimesh.Trimesh]:
    """Surfaces of decoded volumes `[B, C, X, Y, Z]`, or of planes that stand for a field, in the
    cube [-1, 1]^3; without faces where nothing is inside."""
    return [DecodedShape(ladder, one).mesh() for one in x.split(1)]


def pictures(x: Tensor) -> list[Image.Image] | list[list[Image.Image]]:
    """`[B, C, H, W]` in [-1, 1] -> pictures; `[B, C, T, H, W]` -> lists of frames."""
    video = x if x.ndim == 5 else x.unsqueeze(2)
    if video.shape[1] == 1:
        video = video.expand(-1, 3, -1, -1, -1)
    frames = [[Image.fromarray(frame) for frame in to_uint8(clip)] for clip in video]
    return frames if x.ndim == 5 else [clip[0] for clip in frames]
