"""Meshes as a medium of sparse models: all but fields is as with other shapes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh

from ...checkpoint import Model
from ...geometry.band import BLOCK, Band
from ...geometry.field import Field
from ...geometry.metrics import band_colour_psnr, compare_surfaces
from ...geometry.near import band_from_surface
from ...geometry.offset import mesh_from_band, solid_around
from ...geometry.preview import turntable
from ...geometry.read import MESH_SUFFIXES, read_surface
from ...geometry.whereabouts import Shape
from ...model import choose as choosing
from ...model.choose import Choose
from ...sparse.blocks import Blocks
from ..coder import CoderFor
from ..encoder import Sink
from ..figures import Figure
from ..options import Extent, SourceOptions
from ..output import Output
from ..sample import Sample, Stored
from ..source import Source
from ..training import TrainingSet
from .crumbs import without_crumbs
from .decoded import shape_fields
from .figures import DEFINITIONS, EDGE, FIGURES, POINTS, THRESHOLDS
from .medium import PIXELS, Shapes
from .near import OUTWARDS, DecodedBlocks, block_shape, blocks_of
from .near_child import NearPlan
from .near_data import training_set
from .near_encode import NearEncoder, read_blocks
from .training import ShapeData

NEAR_FIGURES = tuple(
    sorted(
        (one for one in FIGURES if one.key != "volume_iou"),
        key=lambda one: one.key != "f_score_1",
    )
)


class SparseShapes(Shapes):
    """Meshes near their surface, domain `sparse`; a part is one shape.

    Surfaces are compared and not volumes, which open ones do not have.
    """

    kinds = dict.fromkeys(MESH_SUFFIXES, "mesh")
    coded = True
    definitions = {  # noqa: RUF012
        **{name: text for name, text in DEFINITIONS.items() if name != "Volume IoU"},
        "Values": "Of the input: those of the blocks near its surface, and no others.",
        "Marks": (
            "Of every cell one, whether anything finer is there; their bits count with those of "
            "their level. With fewer levels kept they are predicted, as latents are."
        ),
    }

    @classmethod
    def reads(cls, domain: str, field: bool) -> bool:
        return domain == "sparse"

    # sources to latents -------------------------------------------------------------------------

    def asked(self, **words: object) -> dict[str, object]:
        given = {word: value for word, value in words.items() if value is not None}
        return {"fields": shape_fields(self.config, **given)} if given else {}

    def resolve(self, options: SourceOptions) -> dict[str, object]:
        found = super().resolve(options)
        self.check_resolution(found["fields"].resolution)
        return found

    def plan(self, options: SourceOptions, device: torch.device) -> NearPlan:
        return NearPlan(options.fields.model_dump(mode="json"), *block_shape(self.config))

    def encoder(
        self,
        model: Model,
        options: SourceOptions,
        sink: Sink,
        std: bool,
        coder: CoderFor | None,
    ) -> NearEncoder:
        return NearEncoder(model, sink, std, options.refine, options.turned, coder)

    # latents to files ---------------------------------------------------------------------------

    def decode(
        self,
        model: Model,
        latents: Stored,
        sample: Sample,
        draw: Choose = choosing.mean,
        how: Output = Output(),  # noqa: B008
    ) -> Iterator[DecodedBlocks]:
        levels = [z.to(next(model.parameters()).device) for z in latents.whole().levels]
        yield self.take(model, model.decode(model.from_grids(levels), draw=draw), sample)

    def check_output(self, how: Output) -> None:
        super().check_output(how)
        if (how.resolution or BLOCK) % BLOCK:
            raise ValueError(f"resolution is {how.resolution}; give a multiple of {BLOCK}")

    def take(self, model: Model, x: Blocks, sample: Sample) -> DecodedBlocks:
        where = {"band_voxels": self.band_voxels} | dict(sample.shape or {})
        return DecodedBlocks(x, **where)

    @property
    def band_voxels(self) -> float:
        """Distance at which the model's distances are truncated, in voxels."""
        return shape_fields(self.config).band_voxels

    # pictures -----------------------------------------------------------------------------------

    def read_picture(
        self, pieces: Iterable[tuple[Mapping[str, Any], np.ndarray]], start: int
    ) -> np.ndarray | None:
        found = [self.frames(read_blocks(about, values))[0] for about, values in pieces]
        return found[0] if found else None

    def part_picture(self, parts: Iterable[DecodedBlocks], sample: Sample) -> np.ndarray:
        (shape,) = parts
        return self.frames(shape.decoded)[0]

    # samples ------------------------------------------------------------------------------------

    def open(self, path: Path, sample: Sample) -> tuple[Blocks, Sample]:
        band = band_from_surface(read_surface(path), shape_fields(self.config))
        where = Shape(placement=band.placement, band_voxels=band.band_voxels, route=band.route)
        return self._blocks(band), replace(sample, shape=where)

    def beginning_of(self, source: Source, extent: Extent) -> Blocks:
        return self._blocks(band_from_surface(read_surface(source.path), shape_fields(self.config)))

    def _blocks(self, band: Band) -> Blocks:
        return blocks_of(band, *block_shape(self.config))

    # measuring and training ---------------------------------------------------------------------

    @property
    def figures(self) -> tuple[Figure, ...]:
        return NEAR_FIGURES if self.config.channels > 1 else NEAR_FIGURES[:-1]

    def quality(self, x: Blocks, y: Blocks) -> float:
        return self.compare(x, y)[NEAR_FIGURES[0].key]

    def compare(self, x: Blocks, y: Blocks) -> dict[str, float]:
        bands = [DecodedBlocks(one, self.band_voxels).band() for one in (x, y)]
        meshes = mesh_from_band(bands[0]), mesh_from_band(bands[1], OUTWARDS)
        found = dict.fromkeys((figure.key for figure in NEAR_FIGURES), 0.0)
        found["colour_psnr_db"] = band_colour_psnr(*bands)
        if not all(len(mesh.faces) for mesh in meshes):
            return found | {"chamfer_percent": float("nan"), "normal_consistency": float("nan")}
        apart = compare_surfaces(*meshes, [t * EDGE for t in THRESHOLDS], POINTS)
        scores = {f"f_score_{i}": s for i, s in enumerate(apart.f_scores.values())}
        chamfer = {"chamfer_percent": 100 * apart.chamfer / EDGE}
        return found | scores | chamfer | {"normal_consistency": apart.normal_consistency}

    def frames(self, x: Blocks) -> np.ndarray:
        mesh = self.surface(x)
        if not len(mesh.faces):
            return np.full((1, PIXELS, PIXELS, 3), 255, np.uint8)
        return turntable(mesh, 1, PIXELS)

    def tidied(self, x: Blocks) -> Blocks:
        return without_crumbs(x, self.band_voxels)

    def check_solid(self) -> None:
        pass

    def solid(self, x: Blocks) -> Field:
        """With the layer around it at which the surface of what is written is found, see
        `geometry/offset.py`."""
        return solid_around(DecodedBlocks(x, self.band_voxels).band(), OUTWARDS)

    def surface(self, x: Blocks) -> trimesh.Trimesh:
        return DecodedBlocks(x, self.band_voxels).mesh()

    def check_report(self) -> None:
        pass

    def training_set(self, data: ShapeData, seed: int) -> TrainingSet:
        return training_set(self.config, data, seed)

    def check_data(self, data: ShapeData) -> None:
        self.check_resolution(data.fields.resolution)

    def check_resolution(self, resolution: int) -> None:
        """ValueError unless the model reads shapes of so many voxels per edge."""
        unit = self.config.levels[0].stride[0]
        if resolution % unit:
            raise ValueError(
                f"the resolution of fields is {resolution}; this model reads multiples of {unit}, "
                f"the stride of its level 0"
            )

    def objects(self, model: Model, x: Blocks) -> list[trimesh.Trimesh]:
        return [self.surface(x.one(sample)) for sample in range(x.batch)]
