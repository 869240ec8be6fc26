"""What a model has decoded of a shape, as a field and as a mesh."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import trimesh
from torch import Tensor

from ...checkpoint import Model
from ...geometry.cube import Placement
from ...geometry.decoded import mesh_from_planes
from ...geometry.extract import Values as Function
from ...geometry.extract import mesh_from_field, mesh_from_function
from ...geometry.field import Field, FieldSettings, Route
from ...geometry.preview import write_turntable
from ...geometry.texture import bake_texture
from ...geometry.values import Values
from ...geometry.write import write_mesh
from ...model.config import ModelConfig, parse
from ...triplane.autoencoder import as_volume
from ..output import Output

TURNING = "webp"  # the format of pictures that turn
RESOLUTION = 64  # voxels per edge, for models that read any and were trained on none

log = logging.getLogger(__name__)


def shape_fields(model: ModelConfig, **given: object) -> FieldSettings:
    """What meshes are turned into for a model: what it was trained on, but for what is `given`.

    Raises:
        ValueError: it reads another one than is given, or a setting is out of range.
    """
    own = model.field.resolution if model.field else RESOLUTION
    trained = model.cube.model_dump() if model.cube else {"resolution": own}
    settings = parse(FieldSettings, trained | given, "shapes")
    if model.field and settings.resolution != own:
        raise ValueError(
            f"resolution is {settings.resolution}; this model reads fields of {own} voxels per "
            f"edge: leave it out (decoding takes any)"
        )
    return settings


def shape_size(model: ModelConfig, resolution: int) -> tuple[int, ...]:
    """The size at which a model decodes shapes of `resolution` voxels per edge, along the axes of
    its domain: `(N, N, N)`, or that of its planes `(3, n, n)`."""
    if model.field is None:
        return (resolution,) * 3
    side = model.field.resolution // model.field.lift.stride[1]
    return 3, side, side


@dataclass(frozen=True)
class DecodedShape:
    """What a model has decoded of a shape, and where that lies.

    Attributes:
        decoded: `[1, C, X, Y, Z]`, or planes `[1, P, 3, n, n]`.
        band_voxels, placement, route: of the field, see `Field`; by default the model's band, and
            the cube's own coordinates.
    """

    model: Model
    decoded: Tensor
    band_voxels: float | None = None
    placement: Placement | None = None
    route: Route | None = None

    def field(self) -> Field:
        """On the model's own grid of voxels."""
        values = as_volume(self.model, self.decoded)[0]
        band_voxels = self.band_voxels or shape_fields(self.model.config).band_voxels
        shown = Values.of(self.model.config)
        return shown.to_field(values, band_voxels, self.placement, self.route)

    def colours(self) -> Function:
        """From points of the cube `[n, 3]` to colours `[n, 3]` in [-1, 1]."""
        return self.field().colour_at

    def mesh(self, resolution: int | None = None) -> trimesh.Trimesh:
        """The surface in the asset's own coordinates, taken at `resolution` voxels per edge of the
        cube (None: the model's own): there planes are asked for their field, and between voxels
        values are interpolated."""
        if own := self.model.config.field:
            n = resolution or own.resolution
            return mesh_from_planes(self.model.likelihood.decoder, self.decoded, n, self.placement)
        field = self.field()
        if resolution is None:
            return mesh_from_field(field)
        colour_at = field.colour_at if field.known.any() else None
        return mesh_from_function(field.distance_at, resolution, field.placement, colour_at)


def write_shapes(
    shapes: Iterable[tuple[DecodedShape, Path]],
    how: Output = Output(),  # noqa: B008
) -> list[Path]:
    """Write the surfaces of shapes as mesh files, or as pictures that turn (`.webp`), at another
    resolution, or with their colours in a picture, if asked; those made."""
    made = []
    for shape, path in shapes:
        mesh = shape.mesh(how.resolution)
        if how.texture and mesh.visual.kind == "vertex":
            mesh = bake_texture(mesh, shape.colours(), shape.placement or Placement())
        if len(mesh.faces):
            path.parent.mkdir(parents=True, exist_ok=True)
            (write_turntable if path.suffix == f".{TURNING}" else write_mesh)(mesh, path)
            made.append(path)
        else:
            log.warning("left out %s: nothing of it is inside", path.name)
    return made
