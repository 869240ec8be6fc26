"""Models that do what another does, and can learn more: of images as of videos, and with motion."""

from __future__ import annotations

import torch
from torch import Tensor

from .config import MOTION_LATENTS, ModelConfig, Stage
from .ladder import Ladder


def frame_by_frame(model: Ladder) -> Ladder:
    """A model of videos that does to every frame what `model` does to an image: convolutions over
    time begin as the present alone (Carreira & Zisserman 2017, inflation).

    Raises:
        ValueError: it is not of images, stands on a foundation, or is not factorised.
    """
    config = model.config
    if config.domain != "image" or config.foundation or not config.factorised:
        raise ValueError(
            "what has time starts from a model that has, or videos from one of images that is "
            "`factorised` and stands on no foundation"
        )

    def over_time(stage: Stage) -> Stage:
        return stage.model_copy(update={"stride": (1, *stage.stride)})

    update = {"domain": "video", "stem": over_time(config.stem)}
    update["levels"] = tuple(over_time(level) for level in config.levels)
    found, known = Ladder(config.model_copy(update=update)), model.state_dict()
    for name, value in found.state_dict().items():
        if name in known:
            value.copy_(known[name].view_as(value))
        elif name.endswith("time.bias"):
            value.zero_()
        else:  # of `blocks.Neighbours`: one filter per channel, or from each channel to each
            value.zero_()
            each = range(len(value))
            value[each, each if value.shape[1] > 1 else 0, -1] = 1
    return found


@torch.no_grad()
def with_motion(model: Ladder) -> Ladder:
    """A model that tells in two more latents of level 0 how frames move, and of these, aligned,
    what `model` does of frames as they are. What level 0 remembers begins anew.

    Raises:
        ValueError: it cannot tell motion, see `ModelConfig.motion`.
    """
    first, *rest = model.config.levels
    wider = first.model_copy(update={"latent": first.latent + MOTION_LATENTS})
    values = model.config.model_dump() | {"levels": [wider, *rest], "motion": True}
    found, known = Ladder(ModelConfig.model_validate(values)), model.state_dict()
    for name, value in found.state_dict().items():
        if value.shape == known[name].shape:
            value.copy_(known[name])
        elif not name.startswith("recalls"):
            _place(value, known[name], wider.latent, first.latent)
    return found


def _place(value: Tensor, known: Tensor, wide: int, narrow: int) -> None:
    """Into weights of `wide` latents, those that are `known` of the first `narrow` of them: one
    axis of both counts means, or means and then deviations."""
    axis = next(k for k, (a, b) in enumerate(zip(value.shape, known.shape)) if a != b)
    kinds = value.shape[axis] // wide
    apart = value.unflatten(axis, (kinds, wide)).narrow(axis + 1, 0, narrow)
    apart.copy_(known.unflatten(axis, (kinds, narrow)))
