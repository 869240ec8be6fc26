"""The weights that a run starts from: those of the same model, or of what it goes on from."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from .. import checkpoint
from ..model.config import ModelConfig
from ..model.ladder import Ladder
from .config import RunConfig


def start_weights(run: RunConfig, wanted: ModelConfig) -> Mapping[str, Tensor]:
    """Of the model to start from: the same one, whatever the size of the shapes that it saw, and
    whether or not its priors remember, or its decoder is its own. A model of videos may also start
    from one of images, see `frame_by_frame`.

    wanted: what the new one is, with all that its foundation says of itself.

    Raises:
        ValueError: it is another model.
    """
    start = checkpoint.load(run.start)
    if (start.config.domain, wanted.domain) == ("image", "video"):
        start = frame_by_frame(start)
    update = {"cube": wanted.cube, "latents_of": wanted.latents_of}
    update |= {} if start.config.recall else {"recall": wanted.recall}
    if run.only_decoder and start.config.foundation:
        found = start.config.foundation.model_copy(update={"own_decoder": True})
        update["foundation"] = found
    found = start.config.model_copy(update=update)
    differs = [name for name, value in wanted if getattr(found, name) != value]
    if differs:
        raise ValueError(
            f"the model in start={run.start} has another {' and '.join(differs)} than `model`; "
            "give `model` the same settings, or leave start away"
        )
    return start.state_dict()


def frame_by_frame(model: checkpoint.Model) -> checkpoint.Model:
    """The model of videos that does to every frame what `model` does to an image: convolutions over
    time begin as the present alone (Carreira & Zisserman 2017, inflation).

    Raises:
        ValueError: it stands on a foundation, or is not factorised.
    """
    config = model.config
    if config.foundation or not config.factorised:
        raise ValueError(
            "a model of videos starts from one of images that is `factorised` and on no foundation"
        )

    def over_time(stage: object) -> object:
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
