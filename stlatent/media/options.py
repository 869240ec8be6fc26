"""How sources may be read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from ..geometry.cube import Axes
from ..geometry.field import FieldSettings
from ..geometry.volumes import MAX_VOXELS
from ..model.config import Positive, Strict

Byte = Annotated[int, Field(ge=0, le=255)]


class SourceOptions(Strict):
    """What latents depend on beside the model and the sources. Each medium takes some of these.

    Attributes:
        short_side: resize frames so that their shorter side has so many pixels.
        fps: frames per second to encode; None is the source's own.
        clip_frames: cut sources into clips of so many frames, the last one may be shorter.
        scenes: cut sources where scenes change, and then into clips.
        tile: cut larger frames into overlapping tiles of so many pixels a side, at most; None is
            2048, or what is next to it in the model's strides.
        background: RGB behind transparent pixels, of 8 bits each.
        fields: what meshes are turned into; None is what the model reads, 64 voxels per
            edge where that is any, or no meshes.
        refine: steps of gradient descent by which the latents of shapes are improved.
        volume_axes: the direction in a volume's asset along which each of its axes runs.
        max_voxels: of a volume that is read; a larger one is named, and left out.
        normalised: whether latents that were computed before are (z - mean) / std already, by what
            the config of the foundation says, and not as its `encode` gives them.
    """

    short_side: Positive | None = None
    fps: Annotated[float, Field(gt=0)] | None = None
    clip_frames: Positive | None = None
    scenes: bool = False
    tile: Positive | None = None
    background: tuple[Byte, Byte, Byte] = (255, 255, 255)
    fields: FieldSettings | None = None
    refine: Annotated[int, Field(ge=0)] = 0
    volume_axes: Axes = ("x", "y", "z")
    max_voxels: Positive = MAX_VOXELS
    normalised: bool = False

    def given(self) -> set[str]:
        """Names of the options that differ from their defaults."""
        fields = SourceOptions.model_fields
        return {name for name, field in fields.items() if getattr(self, name) != field.default}


# what the options are called on the command line, where it is otherwise
WORDS = {"fields": "resolution", "volume_axes": "axes"}


@dataclass(frozen=True)
class Extent:
    """How much of a source is taken, or how large a sample is drawn; None is the medium's choice.

    Attributes:
        frames: of a video.
        size: height and width of pictures, or of planes.
        seconds: of sound.
    """

    frames: int | None = None
    size: tuple[int, int] | None = None
    seconds: float | None = None
