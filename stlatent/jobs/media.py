"""What differs between kinds of sources: how they are found, read, encoded and shown."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Protocol

from ..checkpoint import Model
from ..media.planes.child import PlanePlan
from ..media.shape.child import ShapePlan
from ..media.video.child import ClipPlan
from ..media.video.tiles import check_side
from ..store.records import Failure
from .device import chunk_pixels
from .inputs import Input, find_clips, find_plane_files, find_shape_files
from .job import Job, JobRecord
from .options import EncodeOptions
from .planes import PlaneUnit
from .preview import clip_preview
from .reader import Done, Piece, Reader, ReadPlan
from .shapes import ShapeUnit, shape_fields, shape_preview
from .unit import UnitWriter
from .work import ClipUnit

CLIPS_ONLY = ("short_side", "fps", "clip_frames", "scenes", "tile")


class UnitEncoder(Protocol):
    """Encodes the sources of one unit."""

    def take(self, event: Piece | Done | Failure) -> int:
        """The next thing that the reader says; how many frames or volumes it holds."""

    def finish(self) -> None:
        """Encode what still waits."""


class Medium(ABC):
    """A kind of sources, for `model`.

    Attributes:
        parts: what one source holds one or many of.
    """

    parts: str

    def __init__(self, model: Model) -> None:
        self.model = model

    @abstractmethod
    def resolve(self, options: EncodeOptions) -> EncodeOptions:
        """The options with everything that is left open filled in.

        Raises:
            ValueError: one is not for sources of this kind.
        """

    @abstractmethod
    def find(self, root: str | Path) -> list[Input]:
        """What lies below `root`, a path or a URL, ordered by name.

        Raises:
            ValueError: nothing lies there, or it does not suit the model.
        """

    @abstractmethod
    def plan(self, options: EncodeOptions) -> ReadPlan:
        """How the sources are read."""

    @abstractmethod
    def unit(self, options: EncodeOptions, writer: UnitWriter) -> UnitEncoder:
        """What encodes a unit."""

    @abstractmethod
    def preview(self, job: Job, reader: Reader, folder: Path) -> None:
        """Leave a picture with the data set, if there is one of such sources; copies of inputs may
        lie in `folder` for a while."""


class Clips(Medium):
    """Videos and pictures."""

    parts = "frames"

    def resolve(self, options: EncodeOptions) -> EncodeOptions:
        _not_of_shapes(options, "videos or pictures")
        side = check_side(options.tile, self.model.levels[0].stride[-2:])
        return options.model_copy(update={"tile": side})

    def find(self, root: str | Path) -> list[Input]:
        return find_clips(self.model, root)

    def plan(self, options: EncodeOptions) -> ClipPlan:
        causal = self.model.domain.causal
        return ClipPlan(
            unit=1 if causal is None else self.model.levels[0].stride[causal],
            pixels=chunk_pixels(next(self.model.parameters()).device),
            still=causal is None,
            short_side=options.short_side,
            fps=options.fps,
            clip_frames=options.clip_frames,
            scenes=options.scenes,
        )

    def unit(self, options: EncodeOptions, writer: UnitWriter) -> ClipUnit:
        return ClipUnit(self.model, options, writer)

    def preview(self, job: Job, reader: Reader, folder: Path) -> None:
        clip_preview(self.model, job, reader, folder)


class Shapes(Medium):
    """Meshes and volumes."""

    parts = "shapes"

    def resolve(self, options: EncodeOptions) -> EncodeOptions:
        _not_of_clips(options, "shapes")
        given = options.fields.model_dump() if options.fields else {}
        return options.model_copy(update={"fields": shape_fields(self.model.config, **given)})

    def find(self, root: str | Path) -> list[Input]:
        return find_shape_files(root)

    def plan(self, options: EncodeOptions) -> ShapePlan:
        return ShapePlan(options.fields.model_dump(mode="json"), options.volume_axes)

    def unit(self, options: EncodeOptions, writer: UnitWriter) -> ShapeUnit:
        return ShapeUnit(self.model, writer, options.refine)

    def preview(self, job: Job, reader: Reader, folder: Path) -> None:
        shape_preview(self.model, job, reader, folder)


class Planes(Medium):
    """Planes that are data."""

    parts = "assets"

    def resolve(self, options: EncodeOptions) -> EncodeOptions:
        _not_of_clips(options, "planes")
        _not_of_shapes(options, "planes")
        return options

    def find(self, root: str | Path) -> list[Input]:
        return find_plane_files(root)

    def plan(self, options: EncodeOptions) -> PlanePlan:
        return PlanePlan()

    def unit(self, options: EncodeOptions, writer: UnitWriter) -> PlaneUnit:
        return PlaneUnit(self.model, writer)

    def preview(self, job: Job, reader: Reader, folder: Path) -> None:
        """What planes stand for is not known, so there is no picture of it."""


def _not_of_clips(options: EncodeOptions, what: str) -> None:
    for name in CLIPS_ONLY:
        if getattr(options, name):
            raise ValueError(f"--{name.replace('_', '-')} is for videos, the model for {what}")
    if options.entropy_code:
        raise ValueError(f"--entropy-code is for videos and pictures; {what} take a --dtype")


def _not_of_shapes(options: EncodeOptions, what: str) -> None:
    if options.fields is not None or options.refine:
        raise ValueError(f"--resolution, --axes and --refine are for shapes, the model for {what}")


# by what the model reads
MEDIA: dict[str, type[Medium]] = {"clips": Clips, "shapes": Shapes, "planes": Planes}


def medium_of(record: JobRecord) -> type[Medium]:
    """The kind of sources that a job encodes."""
    if record.options.fields is not None:
        return Shapes
    return Planes if record.header.domain == "triplane" else Clips


def medium(model: Model) -> Medium:
    """The kind of sources that `model` encodes."""
    return MEDIA[model.config.reads](model)
