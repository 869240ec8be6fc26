"""Meshes and volumes as a medium."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from torch import Tensor

from ...checkpoint import Model
from ...geometry.extract import mesh_from_field
from ...geometry.field import Field
from ...geometry.metrics import volume_iou
from ...geometry.preview import shape_picture
from ...geometry.read import MESH_SUFFIXES, read_surface
from ...geometry.values import CHANNELS, Values
from ...geometry.voxelise import field_from_surface
from ...geometry.whereabouts import Shape
from ...geometry.write import WRITABLE
from ...model.config import Cube
from ..base import Medium
from ..coder import CoderFor
from ..encoder import Sink
from ..figures import Bands, Figure
from ..options import Extent, SourceOptions
from ..output import Output
from ..sample import Sample
from ..source import Source, named_files
from ..training import TrainingSet
from .child import ShapePlan
from .data import BESIDE, KINDS, WHAT
from .decoded import TURNING, DecodedShape, shape_fields, shape_size, write_shapes
from .encode import ShapeEncoder, field_of
from .figures import DEFINITIONS, FIGURES, compared
from .options import ShapeOptions
from .training import ShapeData, training_set

PIXELS = 256  # per edge of a view of a shape


class Shapes(Medium[DecodedShape]):
    """Meshes and volumes, domain `voxel` or through the planes of a field; a part is one shape.

    Each comes back at its asset's own place, scale and axes, with colours of its vertices where the
    model has them.
    """

    what = "shapes"
    parts = "shapes"
    kinds = KINDS
    shipped = "voxel"
    options = ShapeOptions
    formats = (*(suffix.removeprefix(".") for suffix in WRITABLE), TURNING)
    shaped = frozenset({"resolution", "texture"})
    data = ShapeData
    noun = "shape"
    definitions = DEFINITIONS
    space_bands = Bands("voxels", (64, 32, 16, 8, 4))

    @classmethod
    def reads(cls, domain: str, field: bool) -> bool:
        return domain == "voxel" or field

    @property
    def values(self) -> Values:
        """What the model reads; ValueError where that is no shape."""
        return Values.of(self.config)

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
        fields = options.fields.model_dump(mode="json")
        return ShapePlan(fields, options.volume_axes, options.max_voxels)

    def encoder(
        self,
        model: Model,
        options: SourceOptions,
        sink: Sink,
        std: bool,
        coder: CoderFor | None,
    ) -> ShapeEncoder:
        return ShapeEncoder(model, sink, std, options.refine, options.turned)

    # latents to files ---------------------------------------------------------------------------

    def take(self, model: Model, x: Tensor, sample: Sample) -> DecodedShape:
        return DecodedShape(model, x, **dict(sample.shape or {}))

    def write(self, path: Path, parts: Iterable[DecodedShape], sample: Sample, how: Output) -> int:
        return len(write_shapes(((part, path) for part in parts), how))

    # pictures -----------------------------------------------------------------------------------

    def beginning(self, sample: Sample, start: int) -> int:
        return 0 if start and sample.kind == "mesh" else start + 1  # turned copies are not read

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
        extent.check(self.what, self.extents)
        resolution = shape_fields(self.config).resolution
        return Sample("mesh", shape_size(self.config, resolution))

    def open(self, path: Path, sample: Sample) -> tuple[Tensor, Sample]:
        field = field_from_surface(read_surface(path), shape_fields(self.config))
        where = Shape(placement=field.placement, band_voxels=field.band_voxels, route=field.route)
        return self.values.from_field(field)[None], replace(sample, shape=where)

    def beginning_sources(self, root: Path) -> list[Source]:
        meshes = [source for source in self.find(root) if source.kind == "mesh"]
        if not meshes:
            raise ValueError(f"{root} holds volumes, but no mesh ({' '.join(MESH_SUFFIXES)})")
        return meshes

    def beginning_of(self, source: Source, extent: Extent) -> Tensor:
        field = field_from_surface(read_surface(source.path), shape_fields(self.config))
        return self.values.from_field(field)[None]

    # measuring and training ---------------------------------------------------------------------

    @property
    def figures(self) -> tuple[Figure, ...]:
        return FIGURES if self.values.coloured else FIGURES[:-1]

    def quality(self, x: Tensor, y: Tensor) -> float:
        return volume_iou(self.field(x).distance, self.field(y).distance)

    def compare(self, x: Tensor, y: Tensor) -> dict[str, float]:
        found = compared(self.field(x), self.field(y))
        return {figure.key: value for figure, value in zip(FIGURES, found, strict=True)}

    def frames(self, x: Tensor) -> np.ndarray:
        return shape_picture(self.field(x), PIXELS)[None]

    def field(self, x: Tensor) -> Field:
        """`[1, C, X, Y, Z]` as a field that fills the cube."""
        return self.values.to_field(x[0], shape_fields(self.config).band_voxels)

    def check_solid(self) -> None:
        Values.of(self.config)

    def solid(self, x: Tensor) -> Field | None:
        return self.field(x) if self.config.read_channels in CHANNELS else None

    def surface(self, x: Tensor) -> trimesh.Trimesh:
        return mesh_from_field(self.field(x))

    def check_report(self) -> None:
        Values.of(self.config)

    def training_set(self, data: ShapeData, seed: int) -> TrainingSet:
        return training_set(self.config, data, seed)

    def check_data(self, data: ShapeData) -> None:
        field = self.config.field
        if field and field.resolution != data.fields.resolution:
            raise ValueError(
                f"data.fields.resolution is {data.fields.resolution}; this model makes planes of "
                f"fields of {field.resolution}, its field.resolution"
            )

    def known(self, data: ShapeData) -> dict[str, object]:
        return {"cube": Cube(**{name: getattr(data.fields, name) for name in Cube.model_fields})}

    @property
    def object_type(self) -> str:
        return "mesh" if self.config.read_channels in CHANNELS else "pt"

    def objects(self, model: Model, x: Tensor) -> list[trimesh.Trimesh]:
        """Surfaces in the cube [-1, 1]^3; without faces where nothing is inside."""
        return [DecodedShape(model, one).mesh() for one in x.split(1)]
