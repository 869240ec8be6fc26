"""A ladder on the tiny FLUX.2 autoencoder: what prefixes show, what levels own, what an exact level
costs; and a ladder on pixels with as many numbers and as much time.

    python tools/studies/flux2_tiny.py WEIGHTS --out runs/flux2-tiny
    python tools/studies/on_foundation.py train runs/flux2-tiny PHOTOS --out runs/on --minutes 90
    python tools/studies/on_foundation.py train pixels PHOTOS --out runs/pixels --minutes 90
    python tools/studies/on_foundation.py show runs/on runs/pixels --data HELD_OUT --out runs/shown

`train … --set key=value` changes any setting of the run. `show` writes a level report of each run,
and a picture: of each photo a row per run, the original, every prefix of learned levels and all
levels; of the first run also rows with the finer levels drawn at each of `--temperatures`.
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
from stlatent.model import choose as choosing
from stlatent.model.choose import Choose, Draw
from stlatent.model.latents import Latents
from stlatent.train import run

CONFIGS = Path(__file__).parents[2] / "configs" / "image"
COMMON = [
    "model.exact=true",
    "model.spread=5",
    "data.crop=128",
    "data.batch_size=8",
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
    """Figures and pictures of models on photos that they have not seen."""
    rows: list[list[np.ndarray]] = [[] for _ in range(options.shown)]
    for number, place in enumerate(options.runs):
        model = checkpoint.load(place)
        extent = Extent(size=(options.size, options.size))
        photos = list(medium_of(model).samples(options.data, options.count, extent))
        report = write_report(model, photos, options.out / f"report{number}", title=str(place))
        print(report["summary"])
        print({key: report[key] for key in ("foundation", "exact")})
        furthest = 0.0
        for index, (_, x) in enumerate(photos):
            latents = model.encode(x)
            furthest = max(furthest, _inexactness(model, x, latents))
            if index < options.shown:
                all_levels = model.decode(latents)
                rows[index].append(_row([x, *_prefixes(model, latents), all_levels]))
        print(f"what comes back differs by {furthest:.2g} at most")
        for temperature in () if number else options.temperatures:
            for row, picture in zip(rows, _drawn(model, photos, temperature), strict=False):
                row.append(picture)
    picture = np.concatenate([line for photo in rows for line in photo])
    Image.fromarray(picture).save(options.out / "prefixes.png")


def _drawn(
    model: checkpoint.Model, photos: list[tuple[str, torch.Tensor]], temperature: float
) -> list[np.ndarray]:
    """Rows of prefixes whose finer levels are drawn; says what they lose."""
    generator, quality, rows = torch.Generator().manual_seed(0), [], []
    for _, x in photos:
        drawn = _prefixes(model, model.encode(x), Draw(temperature, generator))
        quality.append([float(psnr(x, y)) for y in drawn])
        blank = torch.ones_like(x)
        rows.append(_row([blank, *drawn, blank]))
    means = np.round(np.mean(quality, 0), 2).tolist()
    print(f"finer levels drawn at {temperature:g}: PSNR {means} dB")
    return rows


def _prefixes(
    model: checkpoint.Model, latents: Latents, draw: Choose = choosing.mean
) -> list[torch.Tensor]:
    return [model.decode(latents, k, draw) for k in range(1, 1 + len(model.config.levels))]


def _row(pictures: list[torch.Tensor]) -> np.ndarray:
    return to_uint8(torch.cat(pictures, 3)[0][:, None])[0]


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
    one.add_argument("--set", dest="changes", nargs="*", default=[], metavar="key=value")
    one.set_defaults(do=train)
    one = verbs.add_parser("show")
    one.add_argument("runs", type=Path, nargs="+")
    one.add_argument("--data", type=Path, required=True)
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
