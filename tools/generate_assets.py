"""Draw assets from a ladder's own prior, as meshes with previews, and measure them.

    DIR/0000.glb, ...    the assets
    DIR/sheet.png        a view of each
    DIR/figures.json     validity: closed, and one main component (at least 95 % of the volume)
                         diversity: 1 - volume IoU of two assets, mean over all pairs

A ladder for it, trained on volumes:
stlatent train configs/shape/generate.yaml data.root=VOLUMES out=runs/chairs
python tools/generate_assets.py runs/chairs -n 16 --size 32 --resolution 64 --out generated
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import stlatent
from stlatent.checkpoint import replace_text
from stlatent.codec.decode_shapes import write_shapes
from stlatent.codec.sample import draw_samples
from stlatent.codec.shapes import DecodedShape, shape_fields
from stlatent.codec.video_writer import check_outputs
from stlatent.geometry import contact_sheet, shape_picture, volume_iou
from stlatent.geometry.extras import needed
from stlatent.triplane import shape_size

MAIN_SHARE = 0.95  # of the volume, for a component to be the main one
COLUMNS = 8


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("-n", type=int, default=16, dest="count", help="how many (16)")
    help = "voxels per edge it was trained on (64, or those of its field)"
    parser.add_argument("--size", type=int, help=help)
    parser.add_argument("--resolution", type=int, help="voxels per edge of the meshes (as --size)")
    parser.add_argument("--temperature", type=float, default=1.0, help="of the priors (1)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--replace", action="store_true", help="replace files that are there")
    options = parser.parse_args(arguments)
    try:
        figures = generate(options)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(figures, indent=1))
    return 0


@torch.inference_mode()
def generate(options: argparse.Namespace) -> dict[str, float]:
    """Draw, write and measure."""
    model = stlatent.load(options.model)
    given = {} if options.size is None else {"resolution": options.size}
    settings = shape_fields(model.config, **given)
    paths = [options.out / f"{i:04d}.glb" for i in range(options.count)]
    sheet = options.out / "sheet.png"
    check_outputs([sheet, *paths], options.replace)
    size = shape_size(model, settings.resolution)
    draws = draw_samples(model, size, options.count, {}, options.temperature, options.seed)
    shapes = [DecodedShape(model, x[None], settings.band_voxels) for x in draws]
    write_shapes(zip(shapes, paths, strict=True), options.resolution)
    views = np.stack([shape_picture(shape.field()) for shape in shapes])
    Image.fromarray(contact_sheet(views, min(COLUMNS, len(views)))).save(sheet)
    figures = measure(shapes)
    replace_text(options.out / "figures.json", json.dumps(figures, indent=1) + "\n")
    return figures


def measure(shapes: Sequence[DecodedShape]) -> dict[str, float]:
    """Shares of assets that are valid, and how much they differ."""
    closed = [bool(shape.mesh().is_watertight) for shape in shapes]
    fields = [shape.field() for shape in shapes]
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
