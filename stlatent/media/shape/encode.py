"""Meshes and volumes through the network, into the items of a data set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...checkpoint import Model
from ...geometry.field import Field
from ...geometry.values import Values
from ...geometry.whereabouts import Shape
from ...model.choose import Held
from ..codes import stored, whole_codes
from ..encoder import About, Named, Sink, SourceEncoder
from .decoded import shape_size
from .refine import refine


class ShapeEncoder(SourceEncoder):
    """Encodes meshes and volumes, one after the other.

    Args:
        refine: steps of gradient descent by which each one's latents are improved.
    """

    def __init__(self, model: Model, sink: Sink, std: bool = False, refine: int = 0) -> None:
        super().__init__(model, sink, std)
        self.refine, self.values = refine, Values.of(model.config)

    def encode(self, source: Named, about: Mapping[str, Any], values: np.ndarray) -> int:
        field, start = field_of(about, values), about["start"]
        kind = "mesh" if field.route.source == "mesh" else "volume"
        name = f"{source.name}/{start:07d}" if about["count"] > 1 else source.name
        where = Shape(placement=field.placement, band_voxels=field.band_voxels, route=field.route)
        item = self.sink.item(About(name, source.name, start, kind, shape=where))
        x = self.values.from_field(field)[None].to(self.device)
        held = None
        if self.refine:
            better = refine(self.model, x, self.model.encode(x), self.refine)
            held = Held(dict(enumerate(better.levels)), stored)
        codes = whole_codes(self.model, x, self.std, held)
        item.append([code.sample(0) for code in codes])
        item.end(shape_size(self.model.config, len(field.distance)))
        return 1


def field_of(about: Mapping[str, Any], values: np.ndarray) -> Field:
    """What a reader gives, as a field of its own."""
    array = values.copy()
    shape = Shape(**{name: about[name] for name in Shape.model_fields})
    known = (array[1:] != 0).any(0)
    return Field(array[0], array[1:], known, shape.band_voxels, shape.placement, shape.route)
