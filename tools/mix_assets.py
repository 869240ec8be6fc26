"""Mix two assets level by level: the coarse levels of one with the fine levels of the other, and
steps in between. Writes a mesh per mixture and `sheet.png`:

    first row      A, its coarse levels with B's fine ones (fewer and fewer of A's), B
    second row     from A to B, all levels together
    other rows     from A to B, one level alone, coarsest first

python tools/mix_assets.py A.glb B.glb --model voxel --out mixed
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import stlatent
from stlatent import Latents
from stlatent.checkpoint import Model
from stlatent.cli.outcome import command
from stlatent.geometry import (
    Field,
    contact_sheet,
    field_from_surface,
    read_surface,
    shape_picture,
)
from stlatent.geometry.values import Values
from stlatent.media.output import check_outputs
from stlatent.media.shape.decoded import DecodedShape, shape_fields, write_shapes


@command("mix_assets")
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("a", type=Path, metavar="A")
    parser.add_argument("b", type=Path, metavar="B")
    parser.add_argument("--model", default="voxel")
    parser.add_argument("--steps", type=int, default=5, help="of a row, both ends included (5)")
    parser.add_argument(
        "--resolution", type=int, help="voxels per edge of the meshes (the model's)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--replace", action="store_true", help="replace files that are there")
    options = parser.parse_args(arguments)
    print(f"{options.out}: {mix(options)} meshes and sheet.png")


@torch.inference_mode()
def mix(options: argparse.Namespace) -> int:
    """Write the mixtures; how many meshes there are."""
    model = stlatent.load(options.model)
    values, settings = Values.of(model.config), shape_fields(model.config)
    originals = [field_from_surface(read_surface(p), settings) for p in (options.a, options.b)]
    a, b = (model.encode(values.from_field(field)[None]) for field in originals)
    rows = list(mixtures(model, a, b, options.steps))
    names = [f"{name}.glb" for row in rows for name in row]
    sheet = options.out / "sheet.png"
    check_outputs([sheet, *(options.out / name for name in names)], options.replace)
    shapes = [
        DecodedShape(model, model.decode(z), settings.band_voxels, originals[0].placement)
        for row in rows
        for z in row.values()
    ]
    made = write_shapes(
        zip(shapes, (options.out / name for name in names), strict=True), options.resolution
    )
    fields = [shape.field() for shape in shapes]
    Image.fromarray(picture(fields, [len(row) for row in rows])).save(sheet)
    return len(made)


def mixtures(model: Model, a: Latents, b: Latents, steps: int) -> Iterator[dict[str, Latents]]:
    """The rows of the sheet: latents by the name of their file."""
    count = len(model.levels)
    kept = reversed(range(count + 1))
    yield {f"coarse_{k}_of_a": a.with_finer(b, k) for k in kept}
    shares = np.linspace(0, 1, steps)
    moving = {"all": None} | {f"level_{k}": [k] for k in range(count)}
    for name, levels in moving.items():
        yield {f"{name}_{share:.2f}": a.towards(b, float(share), levels) for share in shares}


def picture(fields: Sequence[Field], lengths: Sequence[int]) -> np.ndarray:
    """Rows of `lengths` shapes, uint8 `[H, W, 3]`."""
    views, columns = iter([shape_picture(field) for field in fields]), max(lengths)
    blank = np.full_like(shape_picture(fields[0]), 255)
    rows = [[next(views) if i < n else blank for i in range(columns)] for n in lengths]
    return contact_sheet(np.stack([view for row in rows for view in row]), columns)


if __name__ == "__main__":
    raise SystemExit(main())
