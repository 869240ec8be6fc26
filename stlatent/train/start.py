"""The weights that a run starts from: those of the same model, or of what it goes on from."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from .. import checkpoint
from ..model.config import ModelConfig
from ..model.grow import frame_by_frame, with_motion
from .config import RunConfig


def start_weights(run: RunConfig, wanted: ModelConfig) -> Mapping[str, Tensor]:
    """Of the model to start from: the same one, whatever the size of the shapes that it saw, and
    whether or not its priors remember, its levels have previews, or its decoder is its own. A model
    of videos may also start from one of images, and one that tells motion from one that does not,
    see `model/grow.py`.

    wanted: what the new one is, with all that its foundation says of itself.

    Raises:
        ValueError: it is another model.
    """
    start = checkpoint.load(run.start)
    if wanted.axes.has_time and not start.config.axes.has_time:
        start = frame_by_frame(start)
    if wanted.motion and not start.config.motion:
        start = with_motion(start)
    update = {name: getattr(wanted, name) for name in ("cube", "latents_of", "previews")}
    update |= {} if start.config.recall else {"recall": wanted.recall}
    update["recall_threshold"] = wanted.recall_threshold
    if run.only_decoder and start.config.foundation:
        found = start.config.foundation.model_copy(update={"own_decoder": True})
        update["foundation"] = found
    found = start.config.model_copy(update=update)
    differs = [name for name, value in wanted if getattr(found, name) != value]
    if differs:
        raise ValueError(
            f"the model in start={run.start} and `model` differ in {', '.join(differs)}; "
            "give `model` the same settings, or leave start away"
        )
    weights = start.state_dict()
    unused = () if wanted.previews else ("preview.",)
    return {name: weight for name, weight in weights.items() if not name.startswith(unused)}
