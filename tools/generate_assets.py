"""Assets from a ladder's prior, or from a pipeline of latent diffusion, with previews, measured.

    DIR/0000.glb, ...    the assets
    DIR/sheet.png        a view of each
    DIR/figures.json     validity: closed, and one main component (at least 95 % of the volume)
                         diversity: 1 - volume IoU of two assets, mean over all pairs
                         with --beside-data, the same of shapes that the run was trained on

A ladder for it, trained on volumes, and diffusion on its latents:
stlatent train configs/shape/generate.yaml data.root=VOLUMES out=runs/chairs
python tools/generate_assets.py runs/chairs -n 16 --resolution 64 --beside-data --out generated
python tools/generate_assets.py runs/diffusion/pipeline -n 16 --resolution 64 --out diffused
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from PIL import Image

import stlatent
from stlatent import LadderPipeline
from stlatent.checkpoint import replace_text
from stlatent.cli.outcome import command
from stlatent.geometry import (
    Field,
    contact_sheet,
    mesh_from_field,
    shape_picture,
    volume_iou,
)
from stlatent.geometry.extras import needed
from stlatent.jobs.sample import draw_samples
from stlatent.media.output import check_outputs
from stlatent.media.shape.decoded import (
    DecodedShape,
    shape_fields,
    shape_size,
    write_shapes,
)
from stlatent.model.config import load
from stlatent.train import RunConfig
from stlatent.train.kinds import open_data

MAIN_SHARE = 0.95  # of the volume, for a component to be the main one
COLUMNS = 8


@command("generate_assets")
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="a shape model, or the folder of a pipeline")
    parser.add_argument("-n", type=int, default=16, dest="count", help="how many (16)")
    help = "voxels per edge (what it was trained on)"
    parser.add_argument("--size", type=int, help=help)
    parser.add_argument("--resolution", type=int, help="voxels per edge of the meshes (as --size)")
    parser.add_argument("--temperature", type=float, default=1.0, help="of the priors (1)")
    help = "of diffusion: one number, or one per stage (25)"
    parser.add_argument("--steps", type=int, nargs="+", default=[25], help=help)
    parser.add_argument("--classes", type=int, nargs="+", help="to ask a pipeline for, in turn")
    parser.add_argument("--guidance", type=float, default=1.0, help="towards these classes (1)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--replace", action="store_true", help="replace files that are there")
    help = "also measure as many shapes that MODEL, a run folder, was trained on"
    parser.add_argument("--beside-data", action="store_true", help=help)
    options = parser.parse_args(arguments)
    print(json.dumps(generate(options), indent=1))


@torch.inference_mode()
def generate(options: argparse.Namespace) -> dict[str, Any]:
    """Draw, write and measure."""
    data = trained_on(options.model, options.count) if options.beside_data else None
    paths = [options.out / f"{i:04d}.glb" for i in range(options.count)]
    sheet = options.out / "sheet.png"
    check_outputs([sheet, *paths], options.replace)
    diffuses = (Path(options.model) / DiffusionPipeline.config_name).exists()
    shapes = diffused(options) if diffuses else drawn(options)
    write_shapes(zip(shapes, paths, strict=True), options.resolution)
    fields = [shape.field() for shape in shapes]
    views = np.stack([shape_picture(field) for field in fields])
    Image.fromarray(contact_sheet(views, min(COLUMNS, len(views)))).save(sheet)
    figures = measure(fields) | ({"data": measure(data)} if data else {})
    replace_text(options.out / "figures.json", json.dumps(figures, indent=1) + "\n")
    return figures


def drawn(options: argparse.Namespace) -> list[DecodedShape]:
    """From the model's own prior."""
    model = stlatent.load(options.model)
    given = {} if options.size is None else {"resolution": options.size}
    size = shape_size(model.config, shape_fields(model.config, **given).resolution)
    draws = draw_samples(model, size, options.count, {}, options.temperature, options.seed)
    return [DecodedShape(model, x[None]) for x in draws]


def diffused(options: argparse.Namespace) -> list[DecodedShape]:
    """From a pipeline; levels that it does not make are drawn from the prior."""
    if options.size is not None:
        raise ValueError("--size is for models; a pipeline makes shapes as it was trained to")
    pipeline = LadderPipeline.from_pretrained(options.model)
    pipeline.to("cuda" if torch.cuda.is_available() else "cpu")
    pipeline.set_progress_bar_config(disable=True)
    vae = pipeline.vae
    if vae.ladder.config.reads != "shapes":
        raise ValueError(f"{options.model} makes no shapes but {vae.ladder.config.reads}")
    if vae.config.levels < len(vae.ladder.levels):
        vae.enable_prior_sampling(options.temperature)
    shapes = []
    for k in range(options.count):
        made = pipeline(
            options.classes[k % len(options.classes)] if options.classes else None,
            num_inference_steps=options.steps if len(options.steps) > 1 else options.steps[0],
            guidance_scale=options.guidance,
            generator=torch.Generator().manual_seed(options.seed + k),
            output_type="pt",
        )
        shapes.append(DecodedShape(vae.ladder, made.samples))
    return shapes


def trained_on(run: str, count: int) -> list[Field]:
    """The first shapes of a run's training, turned and varied as there."""
    config = load(RunConfig, Path(run) / "config.yaml")
    if config.model.reads != "shapes":
        raise ValueError(f"{run} makes no shapes but {config.model.reads}")
    data = open_data(config)
    shapes = (data.mixture["shapes", i].values for i in range(count))
    return [data.values.to_field(x, config.data.fields.band_voxels) for x in shapes]


def measure(fields: Sequence[Field]) -> dict[str, float]:
    """Shares of shapes that are valid, and how much they differ."""
    closed = [bool(mesh_from_field(field).is_watertight) for field in fields]
    shares = [main_share(field.inside) for field in fields]
    one = [share >= MAIN_SHARE for share in shares]
    pairs = itertools.combinations(fields, 2)
    apart = [1 - volume_iou(a.distance, b.distance) for a, b in pairs]
    return {
        "assets": len(fields),
        "closed": float(np.mean(closed)),
        "one_main_component": float(np.mean(one)),
        "valid": float(np.mean([a and b for a, b in zip(closed, one, strict=True)])),
        "main_component_share": float(np.mean(shares)),
        "diversity": float(np.mean(apart)) if apart else 0.0,
    }


def main_share(inside: np.ndarray) -> float:
    """Share of the voxels inside that the largest connected component has; 0 of nothing."""
    labels, count = needed("scipy.ndimage").label(inside)
    return float(np.bincount(labels[inside]).max() / inside.sum()) if count else 0.0


if __name__ == "__main__":
    raise SystemExit(main())
