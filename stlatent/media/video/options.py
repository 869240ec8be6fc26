"""How videos and pictures may be read."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from ...model.config import Positive, Strict

Byte = Annotated[int, Field(ge=0, le=255)]


class ClipOptions(Strict):
    """What the latents of videos and pictures depend on beside the model and the sources.

    Attributes:
        short_side: resize frames so that their shorter side has so many pixels.
        size: resize frames to cover this height and width, and keep the centre.
        buckets: the same, each source to that of a few sizes whose aspect is nearest to its own:
            all multiples of the model's coarsest stride that have about so many pixels, and no
            more. Sources of one bucket make batches in training. Small ones are enlarged.
        fps: frames per second to encode; None is the source's own.
        clip_frames: cut sources into clips of so many frames, the last one may be shorter.
        scenes: cut sources where scenes change, and then into clips.
        tile: cut larger frames into overlapping tiles of so many pixels a side, at most; None is
            2048, or what is next to it in the model's strides.
        background: RGB behind transparent pixels, of 8 bits each.
    """

    short_side: Positive | None = None
    size: tuple[Positive, Positive] | None = None
    buckets: Positive | None = None
    fps: Annotated[float, Field(gt=0)] | None = None
    clip_frames: Positive | None = None
    scenes: bool = False
    tile: Positive | None = None
    background: tuple[Byte, Byte, Byte] = (255, 255, 255)

    @model_validator(mode="after")
    def _one_of_the_sizes(self) -> ClipOptions:
        sizes = ("short_side", "size", "buckets")
        if len(given := [name for name in sizes if getattr(self, name) is not None]) > 1:
            words = " and ".join(f"--{name.replace('_', '-')}" for name in given)
            raise ValueError(f"{words} all say how large frames become; give one of them")
        return self
