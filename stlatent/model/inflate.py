"""Models of images as models of videos."""

from __future__ import annotations

from .config import Stage
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
