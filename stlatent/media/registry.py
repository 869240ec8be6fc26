"""Which medium a model is for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from torch import Tensor

from ..checkpoint import Model
from ..model.config import ModelConfig
from .base import Medium


@cache
def media() -> tuple[type[Medium], ...]:
    """All media; the first one that knows a file is the one that it is taken for."""
    from .audio.medium import Sounds
    from .planes.medium import FeaturePlanes
    from .shape.medium import Shapes
    from .shape.near_medium import SparseShapes
    from .video.medium import Clips
    from .volumes.medium import MovingVolumes

    return Clips, Shapes, SparseShapes, Sounds, MovingVolumes, FeaturePlanes


def medium_for(domain: str, field: bool) -> type[Medium]:
    """The medium of models of a domain, with or without a field of their own.

    Raises:
        ValueError: there is none.
    """
    for kind in media():
        if kind.reads(domain, field):
            return kind
    raise ValueError(f"no medium goes with domain '{domain}'")


def medium_of(model: Model | ModelConfig) -> Medium:
    """The medium that a model is for; ValueError where there is none."""
    config = model if isinstance(model, ModelConfig) else model.config
    return medium_for(config.domain, config.field is not None)(config)


def yardstick(model: Model, root: Path, name: str) -> Iterator[tuple[str, Tensor]]:
    """Names and clips `[1, 3, T, H, W]` in [-1, 1] of a public set, see `video/yardsticks.py`.

    Raises:
        ValueError: the model reads nothing of the kind, or the set does not lie there.
    """
    from .video.medium import Clips
    from .video.yardsticks import read_yardstick

    medium = medium_of(model)
    if not isinstance(medium, Clips):
        raise ValueError(
            f"public sets are of videos and pictures; of {medium.what}, `stlatent inspect` "
            f"measures what prefixes give"
        )
    return read_yardstick(root, name, medium.still)


def usual_model(suffixes: Iterable[str]) -> str:
    """The shipped model for files with these suffixes."""
    found = {suffix.lower() for suffix in suffixes}
    return next((kind for kind in media() if found & {*kind.kinds}), media()[0]).shipped
