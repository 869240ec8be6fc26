"""How videos and pictures may be read."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ...model.config import Positive, Strict

Byte = Annotated[int, Field(ge=0, le=255)]


class ClipOptions(Strict):
    """What the latents of videos and pictures depend on beside the model and the sources.

    Attributes:
        short_side: resize frames so that their shorter side has so many pixels.
        fps: frames per second to encode; None is the source's own.
        clip_frames: cut sources into clips of so many frames, the last one may be shorter.
        scenes: cut sources where scenes change, and then into clips.
        tile: cut larger frames into overlapping tiles of so many pixels a side, at most; None is
            2048, or what is next to it in the model's strides.
        background: RGB behind transparent pixels, of 8 bits each.
    """

    short_side: Positive | None = None
    fps: Annotated[float, Field(gt=0)] | None = None
    clip_frames: Positive | None = None
    scenes: bool = False
    tile: Positive | None = None
    background: tuple[Byte, Byte, Byte] = (255, 255, 255)
