"""Which medium a model is for."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from ..checkpoint import Model
from ..model.config import ModelConfig
from .base import Medium


@cache
def media() -> tuple[type[Medium], ...]:
    """All media; the first one that knows a file is the one that it is taken for."""
    from .audio.medium import Sounds
    from .planes.medium import Planes
    from .shape.medium import Shapes
    from .video.medium import Clips
    from .volumes.medium import MovingVolumes

    return Clips, Shapes, Sounds, MovingVolumes, Planes


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


def usual_model(suffixes: Iterable[str]) -> str:
    """The shipped model for files with these suffixes."""
    found = {suffix.lower() for suffix in suffixes}
    return next((kind for kind in media() if found & {*kind.kinds}), media()[0]).shipped
