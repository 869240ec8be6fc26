"""Which kind of data a run trains on."""

from __future__ import annotations

from ..model.config import Cube
from .clips import Clips
from .config import DataConfig, PlaneDataConfig, RunConfig, ShapeDataConfig
from .data import TrainingData
from .planes import Planes, planes_scaling
from .shapes import Shapes

KINDS: dict[type, type[TrainingData]] = {
    DataConfig: Clips,
    ShapeDataConfig: Shapes,
    PlaneDataConfig: Planes,
}


def with_data(config: RunConfig) -> RunConfig:
    """The run with what its model has to know of its data in the model's config."""
    data, model = config.data, config.model
    known = {}
    if isinstance(data, PlaneDataConfig) and not model.scaling:
        known["scaling"] = planes_scaling(config)
    if isinstance(data, ShapeDataConfig):
        known["cube"] = Cube(**{name: getattr(data.fields, name) for name in Cube.model_fields})
    return config.model_copy(update={"model": model.model_copy(update=known)})


def open_data(config: RunConfig) -> TrainingData:
    """Find and check what a run trains on.

    Raises:
        ValueError: a folder is missing or holds nothing readable, or a held-out name is unknown.
    """
    return KINDS[type(config.data)](config)
