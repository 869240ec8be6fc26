"""Meshes and volumes as a medium."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...checkpoint import Model
from ...geometry.field import Field
from ...geometry.preview import shape_picture
from ...geometry.read import MESH_SUFFIXES, BadMeshError, read_surface
from ...geometry.values import Values
from ...geometry.voxelise import field_from_surface
from ...geometry.whereabouts import Shape
from ...geometry.write import WRITABLE
from ..base import Medium, Sample
from ..encoder import Sink
from ..options import Extent, SourceOptions
from ..output import Output
from ..source import Kind, Source, named_files
from .child import ShapePlan
from .data import BESIDE, KINDS, WHAT
from .decoded import DecodedShape, shape_fields, shape_size, write_shapes
from .encode import ShapeEncoder, field_of

log = logging.getLogger(__name__)


class Shapes(Medium[DecodedShape]):
    """Meshes and volumes, domain `voxel` or through the planes of a field; a part is one shape.

    Each comes back at its asset's own place, scale and axes, with colours of its vertices where the
    model has them.
    """

    what = "shapes"
    parts = "shapes"
    kinds = KINDS
    shipped = "voxel"
    takes = frozenset({"fields", "refine", "volume_axes"})
    formats = tuple(suffix.removeprefix(".") for suffix in WRITABLE)
    shaped = frozenset({"resolution"})

    @classmethod
    def reads(cls, domain: str, field: bool) -> bool:
        return domain == "voxel" or field

    # sources to latents -------------------------------------------------------------------------

    def find(self, root: Path) -> list[Source]:
        return named_files(root, self.kinds, WHAT, BESIDE)

    def asked(self, **words: object) -> dict[str, object]:
        given = {word: words[word] for word in ("resolution", "axes") if words[word] is not None}
        found = {"fields": shape_fields(self.config, **given)} if given else {}
        return found | ({"volume_axes": given["axes"]} if "axes" in given else {})

    def resolve(self, options: SourceOptions) -> dict[str, object]:
        given = options.fields.model_dump() if options.fields else {}
        return super().resolve(options) | {"fields": shape_fields(self.config, **given)}

    def plan(self, options: SourceOptions, device: torch.device) -> ShapePlan:
        return ShapePlan(options.fields.model_dump(mode="json"), options.volume_axes)

    def encoder(
        self,
        model: Model,
        options: SourceOptions,
        sink: Sink,
        std: bool,
        coder: Callable[..., Any] | None,
    ) -> ShapeEncoder:
        return ShapeEncoder(model, sink, std, options.refine)

    # latents to files ---------------------------------------------------------------------------

    def take(self, model: Model, x: Tensor, sample: Sample) -> DecodedShape:
        return DecodedShape(model, x, **dict(sample.shape or {}))

    def write(self, path: Path, parts: Iterable[DecodedShape], sample: Sample, how: Output) -> int:
        return len(write_shapes(((part, path) for part in parts), how.resolution))

    def ending(self, kind: Kind, how: Output) -> str:
        return f".{self.format(how)}"

    # pictures -----------------------------------------------------------------------------------

    def beginning(self, sample: Sample, start: int) -> int:
        return start + 1

    def read_picture(
        self, pieces: Iterable[tuple[Mapping[str, Any], np.ndarray]], start: int
    ) -> np.ndarray | None:
        field: Field | None = None
        for about, values in pieces:
            if about["start"] == start:
                field = field_of(about, values)
        return None if field is None else shape_picture(field)

    def part_picture(self, parts: Iterable[DecodedShape], sample: Sample) -> np.ndarray:
        (shape,) = parts
        return shape_picture(shape.field())

    # samples ------------------------------------------------------------------------------------

    def blank(self, extent: Extent) -> Sample:
        for name in ("frames", "size"):
            if getattr(extent, name):
                raise ValueError(f"--{name} is for videos; shapes have --resolution")
        resolution = shape_fields(self.config).resolution
        return Sample("mesh", shape_size(self.config, resolution))

    def open(self, path: Path, sample: Sample) -> tuple[Tensor, Sample]:
        field = field_from_surface(read_surface(path), shape_fields(self.config))
        where = Shape(placement=field.placement, band_voxels=field.band_voxels, route=field.route)
        return Values.of(self.config).from_field(field)[None], replace(sample, shape=where)

    def samples(self, root: Path, count: int, extent: Extent) -> Iterator[tuple[str, Tensor]]:
        values, settings = Values.of(self.config), shape_fields(self.config)
        meshes = [source for source in self.find(root) if source.kind == "mesh"]
        if not meshes:
            raise ValueError(f"{root} holds volumes, but no mesh ({' '.join(MESH_SUFFIXES)})")
        count = min(count, len(meshes))
        for source in (meshes[i * len(meshes) // count] for i in range(count)):
            try:
                field = field_from_surface(read_surface(source.path), settings)
            except BadMeshError as error:
                log.warning("left out %s: %s", source.name, error.reason)
                continue
            yield source.name, values.from_field(field)[None]
