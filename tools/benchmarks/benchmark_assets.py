"""What every prefix of a model of shapes holds of meshes that it never saw, and of thin sheets:

    python tools/benchmarks/benchmark_assets.py MODEL ASSETS --names ASSETS/validation.txt
    python tools/benchmarks/benchmark_assets.py MODEL --sheets --resolutions 64 96 128

The F-score at 1 % of the longest edge is of points against the mesh itself, as in
`benchmark_bands.py`; the colour PSNR of voxels within one of the surface; the IoU of voxels inside,
where all of a mesh is closed. Meshes in folders of their own are also averaged folder by folder. A
sheet is a plate of some voxels' thickness, turned so that it lies along no axis.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import trimesh
from benchmark_bands import Row, scores, shown
from torch import Tensor

import stlatent
from stlatent.checkpoint import Model
from stlatent.cli.outcome import command
from stlatent.files import replace_text
from stlatent.geometry import (
    Field,
    FieldSettings,
    Surface,
    band_from_surface,
    field_from_surface,
    mesh_from_band,
    mesh_from_field,
    read_surface,
    surface_of,
)
from stlatent.geometry.metrics import colour_psnr, volume_iou
from stlatent.geometry.values import Values
from stlatent.geometry.whereabouts import Shape
from stlatent.media.registry import medium_of
from stlatent.media.sample import Sample
from stlatent.media.shape.decoded import shape_fields
from stlatent.media.shape.near import block_shape, blocks_of
from stlatent.sparse.blocks import Blocks

FIGURES = ("numbers", "f_1.0%", "f_0.5%", "volume_iou", "colour_psnr_db")
THICKNESS = (0.5, 1.0, 2.0, 4.0)  # voxels
TILT = trimesh.transformations.euler_matrix(0.3, 0.5, 0.2)


@torch.inference_mode()
def prefixes(model: Model, surface: Surface, settings: FieldSettings) -> Iterator[Row]:
    """Of one shape, a row per prefix; the first, of no levels, of what the model reads."""
    reference = trimesh.Trimesh(surface.vertices, surface.faces, process=False)
    x, own, mesh = read(model, surface, settings)
    where = Shape(placement=own.placement, band_voxels=own.band_voxels, route=own.route)
    sample = Sample("mesh", (settings.resolution,) * 3, shape=where)
    latents = model.encode(x)
    perfect = {"volume_iou": 1.0, "colour_psnr_db": float("inf")}
    yield {"levels": 0, "numbers": x.numel(), **scores(reference, mesh), **perfect}
    for levels in range(1, len(latents.levels) + 1):
        decoded = medium_of(model).take(model, model.decode(latents, levels), sample)
        field = decoded.field()
        yield {
            "levels": levels,
            "numbers": sum(z.numel() for z in latents.levels[:levels]),
            **scores(reference, decoded.mesh()),
            "volume_iou": inside_iou(own, field),
            "colour_psnr_db": colour_psnr(own, field.colour),
        }


def read(
    model: Model, surface: Surface, settings: FieldSettings
) -> tuple[Blocks | Tensor, Field, trimesh.Trimesh]:
    """What a model reads of a surface, near it or in the whole cube: as it reads it, as a field,
    and the mesh that this comes back as."""
    if model.domain.sparse:
        band = band_from_surface(surface, settings)
        return blocks_of(band, *block_shape(model.config)), band.field(), mesh_from_band(band)
    field = field_from_surface(surface, settings)
    return Values.of(model.config).from_field(field)[None], field, mesh_from_field(field)


def inside_iou(reference: Field, decoded: Field) -> float:
    """Of voxels inside; NaN where some of the reference has no inside."""
    if reference.route.sheets:
        return float("nan")
    return volume_iou(reference.distance, decoded.distance)


def of_meshes(model: Model, root: Path, names: Iterable[str]) -> list[Row]:
    """Rows of meshes below a folder."""
    rows, settings = [], shape_fields(model.config)
    for name in names:
        for row in prefixes(model, read_surface(root / name), settings):
            rows.append({"name": name, "pack": name.rpartition("/")[0], **row})
            print(shown(rows[-1]), flush=True)
    return rows


def of_sheets(model: Model, resolutions: Sequence[int]) -> list[Row]:
    """Rows of plates whose longest edge fills the cube but for its margin."""
    rows = []
    for resolution in resolutions:
        settings = shape_fields(model.config, resolution=resolution)
        for voxels in THICKNESS:
            thick = voxels / resolution / (1 - 2 * settings.margin)
            plate = trimesh.creation.box((1, thick, 0.8)).apply_transform(TILT)
            for row in prefixes(model, surface_of(plate), settings):
                rows.append({"resolution": resolution, "voxels": voxels, **row})
                print(shown(rows[-1]), flush=True)
    return rows


def means(rows: Sequence[Row], by: str) -> list[Row]:
    """Averages of the rows that agree in `by` and in their levels; without those that have none."""
    found = []
    for key in dict.fromkeys((row.get(by), row["levels"]) for row in rows):
        some = [row for row in rows if (row.get(by), row["levels"]) == key]
        mean = {name: float(np.nanmean([row[name] for row in some])) for name in FIGURES}
        found.append({by: key[0], "levels": key[1], "count": len(some), **mean})
    return found


@command("benchmark_assets")
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="of shapes: name, file or folder")
    parser.add_argument("meshes", type=Path, nargs="?", help="a folder of meshes")
    parser.add_argument("--names", type=Path, help="a file with the names of some, one a line")
    parser.add_argument("--sheets", action="store_true", help="thin sheets instead of meshes")
    parser.add_argument("--resolutions", type=int, nargs="+", default=[64, 96, 128])
    parser.add_argument("--out", type=Path, help="a .json file for all figures")
    args = parser.parse_args(arguments)
    model = stlatent.load(args.model)
    if args.sheets:
        rows = of_sheets(model, args.resolutions)
    elif args.meshes and args.names:
        rows = of_meshes(model, args.meshes, args.names.read_text().split())
        for row in means(rows, "pack") + means([{**row, "pack": "all"} for row in rows], "pack"):
            print(shown(row))
    else:
        raise ValueError("give a folder of meshes and --names, a file with names; or --sheets")
    if args.out:
        replace_text(args.out, json.dumps(rows, indent=1))


if __name__ == "__main__":
    raise SystemExit(main())
