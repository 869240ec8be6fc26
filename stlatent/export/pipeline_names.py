"""The names under which pipelines of `diffusers` look up one and the same thing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..model.domain import Domain
from ..model.ladder import Ladder
from ..model.packing import Packing

# looked up on the model itself
ATTRIBUTES = {"spatial_compression_ratio", "temporal_compression_ratio", "temperal_downsample"}
CLASS = "AutoencoderLadder"
# by which others of diffusers build themselves: of an unknown name they fail, and are not filled
# with random weights
NAMES_OF_PARTS = ("down_block_types", "dim_mult")


def pipeline_names(model: Ladder, packing: Packing) -> dict[str, Any]:
    """Everything that pipelines read from a VAE's `config`, for packed latents of `model`.

    Latents are normalised inside, so `latents_mean`, `latents_std`, `scaling_factor` and
    `shift_factor` all say: leave them as they are. Whatever of these a pipeline goes by, a
    transformer sees the same numbers.

    Of `block_out_channels` and `temperal_downsample` pipelines read how many there are, as powers
    of two. They are left out where the strides are none.

    Raises:
        ValueError: the strides of the space axes differ, of the packed latents or of level 0.
    """
    ratios(model.domain, model.levels[0].stride)  # tiles are made of its latents
    space, time = ratios(model.domain, packing.stride)
    names: dict[str, Any] = {
        "in_channels": model.config.channels,
        "out_channels": model.config.channels,
        "latent_channels": packing.channels,
        "z_dim": packing.channels,
        "spatial_compression_ratio": space,
        "scale_factor_spatial": space,
        "temporal_compression_ratio": time,
        "scale_factor_temporal": time,
        "latents_mean": [0.0] * packing.channels,
        "latents_std": [1.0] * packing.channels,
        "scaling_factor": 1.0,
        "shift_factor": 0.0,
        "invert_scale_latents": False,
        "grid": list(packing.stride),
        "timestep_conditioning": False,
        "force_upcast": False,
    }
    names |= {key: [CLASS] for key in NAMES_OF_PARTS}
    halvings, in_time = space.bit_length() - 1, time.bit_length() - 1
    if space == 1 << halvings:
        names["block_out_channels"] = [model.config.stem.width] * (halvings + 1)
        names["encoder_block_out_channels"] = names["block_out_channels"]
        if time == 1 << in_time and in_time <= halvings:
            names["temperal_downsample"] = [i >= halvings - in_time for i in range(halvings)]
    return names


def ratios(domain: Domain, stride: Sequence[int]) -> tuple[int, int]:
    """Input samples per latent of `stride` along space and along time."""
    space = set(domain.of_space(stride)) or {1}
    if len(space) > 1:
        raise ValueError(
            f"latents have stride {list(stride)}; diffusers knows a single factor for all space "
            f"axes: train a model whose level 0 is as coarse along each, and pack it on such a grid"
        )
    return space.pop(), domain.of_time(stride)
