"""Shapes through the network, into the items of a unit and out of them."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image
from torch import Tensor

from ..checkpoint import Model
from ..geometry.cube import Placement
from ..geometry.decoded import mesh_from_planes
from ..geometry.extract import mesh_from_field, mesh_from_function
from ..geometry.field import Field, FieldSettings, Route
from ..geometry.preview import contact_sheet, shape_picture
from ..geometry.values import Values
from ..media.video.coder import whole_codes
from ..model import choose as choosing
from ..model.choose import Choose, Held
from ..model.config import ModelConfig, parse
from ..store.manifest import read_units
from ..store.reader import LatentReader
from ..store.records import Failure, Item, Shape
from ..triplane.autoencoder import as_volume, shape_size
from .inputs import Input, fetch
from .job import PREVIEW, Job
from .reader import Done, Piece, Reader
from .refine import refine
from .unit import About, UnitWriter

RESOLUTION = 64  # voxels per edge, for models that read any and were trained on none
SHOWN = 4  # shapes of a preview

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


class ShapeUnit:
    """Encodes the meshes and volumes of one unit, one after the other.

    refine: steps of gradient descent by which each one's latents are improved.
    """

    def __init__(self, model: Model, unit: UnitWriter, refine: int = 0) -> None:
        self.model, self.unit, self.refine = model, unit, refine
        self.values = Values.of(model.config)
        self._lost: set[str] = set()

    def take(self, event: Piece | Done | Failure) -> int:
        """The next thing that the reader says; how many shapes it holds."""
        name = event.name if isinstance(event, Failure) else event.source.name
        if name in self._lost:
            return 0
        if isinstance(event, Failure):
            self._fail(name, event.stage, event.reason)
        elif isinstance(event, Piece):
            try:
                self._encode(event.source, shape_field(event))
                return 1
            except ValueError as error:
                self._fail(name, "encode", str(error))
        return 0

    def finish(self) -> None:
        """Nothing waits."""

    def _encode(self, source: Input, piece: tuple[Field, int, int]) -> None:
        field, start, count = piece
        many, kind = count > 1, "mesh" if field.route.source == "mesh" else "volume"
        name = f"{source.name}/{start:07d}" if many else source.name
        where = Shape(placement=field.placement, band_voxels=field.band_voxels, route=field.route)
        item = self.unit.item(About(name, source.name, start, kind, shape=where))
        x = self.values.from_field(field)[None].to(next(self.model.parameters()).device)
        held = None
        if self.refine:
            better = refine(self.model, x, self.model.encode(x), self.refine)
            held = Held(dict(enumerate(better.levels)))
        codes = whole_codes(self.model, x, self.unit.header.std, held)
        item.append([code.sample(0) for code in codes])
        item.end(shape_size(self.model, len(field.distance)))

    def _fail(self, name: str, stage: str, reason: str) -> None:
        log.warning("left out %s: %s", name, reason)
        self._lost.add(name)
        self.unit.fail(name, stage, reason)


def shape_field(piece: Piece) -> tuple[Field, int, int]:
    """What a reader gives: a field, the number of its volume, and the number of volumes."""
    about, array = piece.about, piece.values.copy()
    shape = Shape(**{name: about[name] for name in Shape.model_fields})
    known = (array[1:] != 0).any(0)
    field = Field(array[0], array[1:], known, shape.band_voxels, shape.placement, shape.route)
    return field, about["start"], about["count"]


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
        about = band_voxels, self.placement, self.route
        return Values.of(self.model.config).to_field(values, *about)

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


def decode_shape(
    model: Model, store: LatentReader, item: Item, levels: int, draw: Choose = choosing.mean
) -> DecodedShape:
    """An item from its first `levels` levels."""
    device = next(model.parameters()).device
    latents = store.read(item.name, levels).to(device)
    return DecodedShape(model, model.decode(latents, draw=draw), **dict(item.shape))


def shape_preview(model: Model, job: Job, reader: Reader, folder: Path) -> None:
    """Write `preview.png`: a row per shape, the source beside what level 0, levels 0-1, ... give.

    Sources that can no longer be read are left out; if none can, there is no picture.
    """
    done = job.done()
    units = sorted({done[i * len(done) // SHOWN] for i in range(SHOWN)})
    header = job.record.header
    records = zip(units, read_units(job.place, header, units), strict=True)
    store = LatentReader(job.place, header, records)
    items = list(store.items.values())
    inputs = {one.name: one for unit in job.units for one in unit}
    pictures = []
    for item in items[:: -(-len(items) // SHOWN)]:
        events = list(_pieces(reader, inputs[item.source], folder, item.start))
        if events:
            prefixes = [decode_shape(model, store, item, k + 1) for k in range(len(model.levels))]
            fields = [events[-1], *(shape.field() for shape in prefixes)]
            pictures += [shape_picture(field) for field in fields]
    if pictures:
        sheet = contact_sheet(np.stack(pictures), 1 + len(model.levels))
        buffer = io.BytesIO()
        Image.fromarray(sheet).save(buffer, "png")
        job.place.put(PREVIEW, [buffer.getvalue()])


def _pieces(reader: Reader, source: Input, folder: Path, number: int):
    """The field of volume `number` of a source, if it can be read."""
    for event in reader.read(fetch([source], folder), first=number + 1):
        if isinstance(event, Piece) and event.about["start"] == number:
            yield shape_field(event)[0]
