"""What a pipeline makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import trimesh
from diffusers.utils import BaseOutput
from PIL import Image
from torch import Tensor


@dataclass
class LadderPipelineOutput(BaseOutput):
    """What a pipeline makes.

    Attributes:
        frames: see `output_type` of the call.
    """

    frames: (
        list[Image.Image]
        | list[list[Image.Image]]
        | list[trimesh.Trimesh]
        | Tensor
        | tuple[Tensor, ...]
    )

    @property
    def images(self) -> Any:
        """`frames`, as pipelines that make pictures call it."""
        return self.frames

    @property
    def samples(self) -> Any:
        raise AttributeError("what a pipeline makes is called `frames` now, as in diffusers")
