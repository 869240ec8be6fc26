"""Mix two samples level by level: the coarse levels of one with the fine levels of the other, and
steps in between. Of meshes:

    DIR/coarse_K_of_a.glb    A's first K levels with B's finer ones
    DIR/all_0.50.glb         between A and B, all levels together
    DIR/level_0_0.50.glb     between A and B, one level alone
    DIR/sheet.png            a picture of each: a row for each of these, levels coarsest first
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from ..checkpoint import Model
from ..files import writing
from ..geometry.preview import contact_sheet
from ..media.options import Extent
from ..media.output import Output, check_outputs
from ..media.registry import medium_of
from ..model.latents import Latents


@torch.inference_mode()
def mix_samples(
    model: Model,
    pair: Sequence[str | Path],
    out: str | Path,
    steps: int = 5,
    extent: Extent | None = None,
    how: Output | None = None,
    replace: bool = False,
) -> list[Path]:
    """Write a file for every mixture of two files that `model` reads, and a sheet; the files made.
    What is no latent, such as the place of a mesh, is the first one's.

    Args:
        steps: of a row, both ends included.
        extent: of videos and pictures, of which the centre of the beginning is taken.

    Raises:
        ValueError: a file cannot be read, or one exists and is not to be replaced.
    """
    medium, how, device = medium_of(model), how or Output(), next(model.parameters()).device
    medium.check_output(how)
    blank = medium.blank(extent or Extent())
    opened = [medium.open(Path(path), blank) for path in pair]
    sample = opened[0][1]
    a, b = (model.encode(x.to(device)) for x, _ in opened)
    rows, ending = list(_mixtures(a, b, steps)), medium.ending(sample.kind, how)
    paths = [Path(out) / f"{name}{ending}" for row in rows for name in row]
    check_outputs([Path(out) / "sheet.png", *paths], replace)
    pictures, latents = [], [z for row in rows for z in row.values()]
    ends = {id(z): medium.take(model, model.decode(z), sample) for z in (a, b)}
    for path, z in zip(paths, tqdm(latents, unit="mixture", disable=None), strict=True):
        part = ends.get(id(z))
        if part is None:
            part = medium.take(model, medium.tidied(model.decode(z)), sample)
        medium.write(path, [part], sample, how)
        pictures.append(medium.part_picture([part], sample))
    with writing(Path(out) / "sheet.png") as partial:
        Image.fromarray(_sheet(pictures, [len(row) for row in rows])).save(partial, "png")
    return [path for path in paths if path.exists()]


def _mixtures(a: Latents, b: Latents, steps: int) -> Iterator[dict[str, Latents]]:
    """The rows of the sheet: latents by the name of their file."""
    count = len(a.levels)
    yield {f"coarse_{k}_of_a": a.with_finer(b, k) for k in reversed(range(count + 1))}
    shares = np.linspace(0, 1, steps)
    moving = {"all": None} | {f"level_{k}": [k] for k in a.movable}
    for name, levels in moving.items():
        yield {f"{name}_{share:.2f}": a.towards(b, float(share), levels) for share in shares}


def _sheet(pictures: Sequence[np.ndarray], lengths: Sequence[int]) -> np.ndarray:
    """Rows of `lengths` pictures, uint8 `[H, W, 3]`."""
    following, columns = iter(pictures), max(lengths)
    blank = np.full_like(pictures[0], 255)
    rows = [[next(following) if i < n else blank for i in range(columns)] for n in lengths]
    return contact_sheet(np.stack([picture for row in rows for picture in row]), columns)
