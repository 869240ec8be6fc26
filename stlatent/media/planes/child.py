"""How the child of `jobs/reader.py` reads planes that are data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .data import read_planes


@dataclass(frozen=True)
class PlanePlan:
    """How planes are read: there is one way."""

    module: ClassVar[str] = __name__


def read(request: dict) -> Iterator[tuple[dict, np.ndarray]]:
    """The planes of a file, float32 `[C, 3, n, n]` in their own range."""
    yield {}, read_planes(request["path"]).numpy()
