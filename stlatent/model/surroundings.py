"""Settings of what stands around a ladder: what its input is and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from .strict import Positive, Strict

Stride = tuple[Positive, ...]


class Scaling(Strict):
    """How data of any range become values of about [-1, 1]: data = offset + scale * x.

    Attributes:
        offset, scale: one per channel.
    """

    offset: tuple[float, ...]
    scale: tuple[Annotated[float, Field(gt=0)], ...]


class Cube(Strict):
    """How shapes lie on a regular grid of voxels.

    Attributes:
        resolution: voxels per edge of the cube.
        band_voxels: distance at which the field is truncated, in voxels.
        margin: share of the cube's edge left free on each side of a mesh.
    """

    resolution: Annotated[int, Field(ge=8, le=1024)] = 128
    band_voxels: Annotated[float, Field(ge=2)] = 4.0
    margin: Annotated[float, Field(ge=0.01, lt=0.4)] = 0.05


class FoundationConfig(Strict):
    """The frozen autoencoder that a ladder stands on; see `foundation/frozen.py`.

    Attributes:
        path: a folder that `save_pretrained` of diffusers wrote, or a model of the Hugging Face hub
            by its name.
        subfolder: of it that holds the autoencoder, such as `vae` in a whole pipeline.
        revision: of the model on the hub; of a branch, what is trained remembers the commit.
        dtype: in which it computes.
        tiling, slicing: its own switches: large pictures in tiles, batches one by one.
        own_decoder: whether the model has a decoder of its own in place of the foundation's, as
            `only_decoder` trains it; it lies in the model's file.
        stride: pixels per latent of it along each axis; found when it is opened, as are
        pace: how many latents in time come together, and
        mean, unit: of its latents per channel; the ladder reads (latent - mean) / unit.
    """

    path: str
    subfolder: str | None = None
    revision: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    tiling: bool = False
    slicing: bool = False
    own_decoder: bool = False
    stride: Stride | None = None
    pace: Positive | None = None
    mean: tuple[float, ...] | None = None
    unit: tuple[Annotated[float, Field(gt=0)], ...] | None = None

    @model_validator(mode="before")
    @classmethod
    def _in_short(cls, value: Any) -> Any:
        """`path` alone is written without its name, which overrides open to a `kind`."""
        if isinstance(value, Mapping) and "kind" in value and "path" not in value:
            return {"path" if name == "kind" else name: v for name, v in value.items()}
        return {"path": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _trained_in_full(self) -> FoundationConfig:
        if self.own_decoder and self.dtype != "float32":
            raise ValueError(f"own_decoder is trained in float32, and dtype is {self.dtype}")
        return self
