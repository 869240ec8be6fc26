"""Meshes and volumes through the network, into the items of a data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from ...checkpoint import Model
from ...geometry.cube import Axes
from ...geometry.field import Field
from ...geometry.values import Values
from ...geometry.whereabouts import Shape
from ...model.choose import Held
from ...triplane.planes import symmetries, turn_volume
from ..codes import stored, whole_codes
from ..encoder import About, Named, Sink, SourceEncoder
from .data import AS_IT_IS
from .decoded import shape_size
from .refine import refine


class ShapeEncoder(SourceEncoder):
    """Encodes meshes and volumes, one after the other.

    Args:
        refine: steps of gradient descent by which each one's latents are improved.
        turned: whether meshes are also encoded turned and mirrored.
    """

    def __init__(
        self, model: Model, sink: Sink, std: bool = False, refine: int = 0, turned: bool = False
    ) -> None:
        super().__init__(model, sink, std)
        self.refine, self.turned, self.values = refine, turned, Values.of(model.config)

    def encode(self, source: Named, about: Mapping[str, Any], values: np.ndarray) -> int:
        field, start = field_of(about, values), about["start"]
        kind = "mesh" if field.route.source == "mesh" else "volume"
        name = numbered(source.name, start) if about["count"] > 1 else source.name
        where = Shape(placement=field.placement, band_voxels=field.band_voxels, route=field.route)
        x = self.values.from_field(field)[None].to(self.device)
        shown = copies(About(name, source.name, start, kind, shape=where), self.turned)
        for one, axes in shown:
            self._add(one, turn_volume(x, axes).contiguous())
        return len(shown)

    def _add(self, about: About, x: Tensor) -> None:
        item, held = self.sink.item(about), None
        if self.refine:
            better = refine(self.model, x, self.model.encode(x), self.refine)
            held = Held(dict(enumerate(better.levels)), stored)
        codes = whole_codes(self.model, x, self.std, held)
        item.append([code.sample(0) for code in codes])
        item.end(shape_size(self.model.config, x.shape[2]))


def copies(about: About, turned: bool) -> list[tuple[About, Axes]]:
    """A shape as it is and, of a mesh that is to be `turned`, in all ways that leave the vertical
    alone: what each copy is, and the axes of `turn_volume`. Decoded, all lie as the asset does."""
    if not turned or about.kind != "mesh":
        return [(about, *AS_IT_IS)]
    found = []
    for number, axes in enumerate(symmetries(upright=True)):
        where = about.shape.model_copy(update={"placement": about.shape.placement.turned(axes)})
        name = numbered(about.name, number)
        found.append((replace(about, name=name, start=number, shape=where), axes))
    return found


def numbered(source: str, number: int) -> str:
    """The name of one of several items of a source."""
    return f"{source}/{number:07d}"


def field_of(about: Mapping[str, Any], values: np.ndarray) -> Field:
    """What a reader gives, as a field of its own."""
    array = values.copy()
    shape = Shape(**{name: about[name] for name in Shape.model_fields})
    known = (array[1:] != 0).any(0)
    return Field(array[0], array[1:], known, shape.band_voxels, shape.placement, shape.route)
