"""Which kind of data a run trains on."""

from __future__ import annotations

from .clips import Clips
from .config import DataConfig, PlaneDataConfig, RunConfig, ShapeDataConfig
from .data import TrainingData
from .planes import Planes
from .shapes import Shapes

KINDS: dict[type, type[TrainingData]] = {
    DataConfig: Clips,
    ShapeDataConfig: Shapes,
    PlaneDataConfig: Planes,
}


def open_data(config: RunConfig) -> TrainingData:
    """Find and check what a run trains on.

    Raises:
        ValueError: a folder is missing or holds nothing readable, or a held-out name is unknown.
    """
    return KINDS[type(config.data)](config)
