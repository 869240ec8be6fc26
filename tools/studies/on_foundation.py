"""A ladder on the tiny FLUX.2 autoencoder: what prefixes show, what levels own, what an exact level
costs; and a ladder on pixels with as many numbers and as much time.

    python tools/studies/flux2_tiny.py WEIGHTS --out runs/flux2-tiny
    python tools/studies/on_foundation.py train runs/flux2-tiny PHOTOS --out runs/on --minutes 90
    python tools/studies/on_foundation.py train pixels PHOTOS --out runs/pixels --minutes 90
    python tools/studies/on_foundation.py show runs/on HELD_OUT --out runs/shown

`key=value` at the end of `train` changes any setting of the run. `show` writes a level report, and
a picture with a row for each photo: the original, every prefix of learned levels, the foundation
alone; and below it the same prefixes with finer levels drawn at each of `--temperatures`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import flux2_tiny  # noqa: F401  (which registers the foundation)
import numpy as np
import torch
from PIL import Image

from stlatent import checkpoint
from stlatent.cli.outcome import command
from stlatent.evaluate.report import write_report
from stlatent.foundation.autoencoder import FoundationAutoencoder
from stlatent.media.metrics import psnr
from stlatent.media.options import Extent
from stlatent.media.registry import medium_of
from stlatent.media.video.pixels import to_uint8
from stlatent.model.choose import Draw
from stlatent.model.latents import Latents
from stlatent.train import run

CONFIGS = Path(__file__).parents[2] / "configs" / "image"
COMMON = [
    "model.exact=true",
    "model.spread=5",
    "data.crop=128",
    "data.batch=8",
    "data.validation.crop=256",
    "data.validation.every=100",
    "loss.rate.warmup_steps=30",
    "optimiser.warmup_steps=30",
    "save_every=100",
    "tracker=null",
    "steps=5000",
]
PIXELS = [  # as many numbers; the stem is that of a ladder on pixels
    "model.foundation=null",
    "model.stem.stride=[4,4]",
    "model.stem.width=64",
    "loss.pixels=null",
    "loss.prefix.blurred=false",
]


def train(options: argparse.Namespace) -> None:
    """One run, on one core."""
    torch.set_num_threads(1)
    place = [f"model.foundation.path={options.foundation}", "model.foundation.subfolder=null"]
    own = PIXELS if options.foundation == "pixels" else place
    where = [f"data.root={options.photos}", f"out={options.out}", f"minutes={options.minutes}"]
    run(CONFIGS / "on_foundation.yaml", [*COMMON, *own, *where, *options.changes])


@torch.no_grad()
def show(options: argparse.Namespace) -> None:
    """Figures and pictures of a model on photos that it has not seen."""
    model = checkpoint.load(options.run)
    medium = medium_of(model)
    extent = Extent(size=(options.size, options.size))
    photos = list(medium.samples(options.photos, options.count, extent))
    report = write_report(model, photos, options.out / "report", title=str(options.run))
    print(report["summary"])
    print({key: report[key] for key in ("foundation", "exact")})
    learned, generator = len(model.config.levels), torch.Generator()
    warm = {t: np.zeros(learned) for t in options.temperatures}
    furthest, rows = 0.0, []
    for index, (_, x) in enumerate(photos):
        latents = model.encode(x)
        furthest = max(furthest, _inexactness(model, x, latents))
        kept = range(1, learned + 1)
        row = [x, *(model.decode(latents, k) for k in kept), model.decode(latents)]
        below = []
        for temperature, sums in warm.items():
            draw = Draw(temperature, generator.manual_seed(index))
            drawn = [model.decode(latents, k, draw) for k in kept]
            sums += [float(psnr(x, y)) / len(photos) for y in drawn]
            below.append([torch.ones_like(x), *drawn, torch.ones_like(x)])
        if index < options.shown:
            rows += [row, *below]
    print(f"what comes back differs by {furthest:.2g} at most")
    for temperature, sums in warm.items():
        print(f"finer levels drawn at {temperature:g}: PSNR {np.round(sums, 2).tolist()} dB")
    picture = np.concatenate([to_uint8(torch.cat(row, 3)[0][:, None])[0] for row in rows])
    Image.fromarray(picture).save(options.out / "prefixes.png")


def _inexactness(model: checkpoint.Model, x: torch.Tensor, latents: Latents) -> float:
    """The largest difference of what the ladder reads and all levels give, stored as halves."""
    halves = Latents(tuple(z.half().float() for z in latents.levels), latents.size)
    if not isinstance(model, FoundationAutoencoder):
        return float((model.decode(halves) - x).abs().max())
    inputs = model.frozen.encode(model.filled(model.as_input(x)))
    inner = Latents(halves.levels, tuple(inputs.shape[2:]))
    return float((model.ladder.decode(inner) - inputs).abs().max())


@command("on_foundation")
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(required=True)
    one = verbs.add_parser("train")
    one.add_argument("foundation", help="its folder, or `pixels` to do without")
    one.add_argument("photos", type=Path)
    one.add_argument("--out", type=Path, required=True)
    one.add_argument("--minutes", type=float, default=90)
    one.add_argument("changes", nargs="*", metavar="key=value")
    one.set_defaults(do=train)
    one = verbs.add_parser("show")
    one.add_argument("run", type=Path)
    one.add_argument("photos", type=Path)
    one.add_argument("--out", type=Path, required=True)
    one.add_argument("--count", type=int, default=12)
    one.add_argument("--size", type=int, default=256)
    one.add_argument("--shown", type=int, default=3)
    one.add_argument("--temperatures", type=float, nargs="*", default=[0.5, 1.0])
    one.set_defaults(do=show)
    options = parser.parse_args()
    options.do(options)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
