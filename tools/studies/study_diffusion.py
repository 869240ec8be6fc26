"""Diffuse all levels, or only the coarsest and leave the rest to the ladder? Clips and chairs.

    python tools/studies/study_diffusion.py clips --out runs/diffusion-clips
    python tools/studies/study_diffusion.py chairs --data chair_32.npz --out runs/diffusion-chairs

Clips are drawn by seed: two kinds of motion, coarse and slow, two of texture, fine. A small ladder
is trained on them, then latent diffusion on its latents: all levels packed, level 0 only with the
ladder's own prior below, and whatever else `--ways` names; beside them the ladder alone. What is
measured: quality by number of network evaluations, and seconds per sample. For clips a classifier
trained on real ones gives Fréchet distances, and says whether samples do what they were asked to,
and what follows a level 0 that is held from a real clip. For chairs: coverage, minimum matching
distance and nearest neighbours against chairs that were held back. The same command goes on where
it stopped.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import diffusion_chairs as chairs
import diffusion_clips as clips
import torch
from diffusion_ways import (
    Encoded,
    diffused,
    drawn,
    encoded,
    ladder_alone,
    ladder_of,
)
from PIL import Image
from torch import Tensor

from stlatent import Ladder
from stlatent.cli.outcome import command
from stlatent.diffusion import latent_spectra
from stlatent.files import replace_text, resumable
from stlatent.media.metrics import psnr
from stlatent.media.video.pixels import to_float, to_uint8
from stlatent.train.fit import Shuffled

SMALL, LARGE = {"width": 128, "depth": 4}, {"width": 256, "depth": 6}
WAYS = {
    "packed": [LARGE | {"levels": 3}],
    "packed, small network": [SMALL | {"levels": 3}],
    "level 0": [SMALL | {"levels": 1}],
    "levels 0-1": [SMALL | {"levels": 2}],
    "cascade": [SMALL | {"levels": 1}] * 3,
}
SHOWN = 8  # samples of each way in the picture
Row = dict[str, Any]


class Report:
    """Rows by name in `report.json`; what is there is not measured again."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "report.json"
        self.rows: dict[str, Row] = json.loads(self.file.read_text()) if self.file.exists() else {}

    def row(self, name: str, measure: Callable[[], Row]) -> None:
        if name not in self.rows:
            self.rows[name] = measure()
            replace_text(self.file, json.dumps(self.rows, indent=1))
            print(name, json.dumps(self.rows[name]), flush=True)


def compare(
    ladder: Ladder,
    latents: Encoded,
    size: tuple[int, ...],
    classes: int,
    judge: Callable[[Tensor, Tensor | None], Row],
    options: argparse.Namespace,
) -> dict[str, Tensor]:
    """Train every way, and measure it at every number of steps; returns some samples of each."""
    report, shown = Report(options.out), {}
    asked = torch.arange(options.samples) % classes if classes else None
    few = None if asked is None else asked[:SHOWN]
    count = min(SHOWN, options.samples)
    for way in options.ways:
        folder = options.out / way.replace(", ", "-").replace(" ", "-")
        pipeline = diffused(WAYS[way], latents, ladder, size, classes, options, folder)
        whole = pipeline.vae.config.levels == len(ladder.levels)
        for steps, sampled in itertools.product(options.steps, (True,) if whole else (True, False)):
            below = "" if whole else ", rest drawn" if sampled else ", rest by mean"

            def measure(pipeline=pipeline, steps: int = steps, sampled: bool = sampled) -> Row:
                made = drawn(pipeline, options.samples, steps, asked, options, sampled)
                return made.row | judge(made.x, asked)

            report.row(f"{way}, {steps} steps{below}", measure)
        shown[way] = drawn(pipeline, count, max(options.steps), few, options, True).x
    return shown


def study_clips(options: argparse.Namespace) -> None:
    out, count = options.out, options.samples
    train = clips.clips(0, options.clips, out / "train.safetensors")
    # two sets of held-out clips: one to compare with, one that says how near real ones come
    test = clips.clips(clips.HELD_OUT, 2 * count, out / "test.safetensors")
    source, reference = test[:count], test[count:]
    generator = torch.Generator().manual_seed(0)
    batches = Shuffled(train.frames, options.ladder_batch, generator, to_float)
    loss = clips.LOSS | {"equivariance": options.equivariance}
    ladder = ladder_of(clips.LADDER, loss, batches, options.ladder_minutes, out / "ladder")
    network = clips.classifier(train, options.classifier_minutes, out / "classifier.safetensors")
    judge, report = clips.Judge(network, reference), Report(out)
    real = source.floats()
    report.row("other real clips", lambda: judge(real, source.classes))
    rows = [ladder.encode(x).levels for x in real.split(options.at_a_time)]
    levels = [torch.cat(z) for z in zip(*rows, strict=True)]
    for kept in range(len(levels), 0, -1):
        made = clips.decoded(ladder, levels, kept)
        row = {"psnr_db": float(psnr(made, real).mean())}
        name = f"reconstructed from {kept} levels"
        report.row(name, lambda made=made, row=row: judge(made, source.classes) | row)
    held = ladder_alone(ladder, clips.SIZE, count, options, lambda rows: {0: levels[0][rows]})
    report.row("level 0 held, rest drawn", lambda: judge(held.x, source.classes))
    alone = ladder_alone(ladder, clips.SIZE, count, options)
    report.row("ladder alone", lambda: alone.row | judge(alone.x, None))
    for name, spectrum in latent_spectra(ladder, real.split(options.at_a_time)).items():
        high = {"energy over 1/2": spectrum.shares[-1], "of white noise": spectrum.white[-1]}
        report.row(f"spectrum of {name}", lambda high=high: high)
    whole = (clips.to_float(part) for part in train.frames.split(64))
    found = encoded(ladder, whole, train.classes)
    shown = {"real": real[:SHOWN], "level 0 held": held.x[:SHOWN], "ladder alone": alone.x[:SHOWN]}
    shown |= compare(ladder, found, clips.SIZE, 4, judge, options)
    picture({name: film(x) for name, x in shown.items()}, out / "samples.png")
    finish(out, "frechet")


def study_chairs(options: argparse.Namespace) -> None:
    if options.data is None:
        raise ValueError("name the archive of chairs with --data chair_32.npz")
    out, report = options.out, Report(options.out)
    data = chairs.chairs(options.data, options.held_out, options.seed)
    count = options.samples = len(data.held_out)  # sets are compared that are equally large
    generator = torch.Generator().manual_seed(0)
    varied = partial(chairs.varied, generator=generator)
    batches = Shuffled(data.train, options.ladder_batch, generator, varied)
    loss = chairs.LOSS | {"equivariance": options.equivariance}
    ladder = ladder_of(chairs.LADDER, loss, batches, options.ladder_minutes, out / "ladder")

    def judge(x: Tensor, asked: None = None) -> Row:
        return asdict(chairs.scores(x, data.held_out))

    report.row("chairs trained on", lambda: judge(data.train[:count]))
    again = [ladder.decode(ladder.encode(x)) for x in data.held_out.split(options.at_a_time)]
    again = torch.cat(again)
    iou = {"iou": chairs.iou(again, data.held_out)}
    report.row("held-out chairs, reconstructed", lambda: judge(again) | iou)
    alone = ladder_alone(ladder, chairs.SIZE, count, options)
    report.row("ladder alone", lambda: alone.row | judge(alone.x))
    parts = data.train.split(options.at_a_time)
    generator = torch.Generator().manual_seed(options.seed)
    copies = (chairs.varied(x, generator) for _ in range(options.copies) for x in parts)
    latents = encoded(ladder, copies, None)
    shown = {
        "real": data.held_out[:SHOWN],
        "reconstructed": again[:SHOWN],
        "ladder alone": alone.x[:SHOWN],
    }
    shown |= compare(ladder, latents, chairs.SIZE, 0, judge, options)
    picture({name: _depth(x) for name, x in shown.items()}, out / "samples.png")
    finish(out, "mmd")


def table(rows: dict[str, Row]) -> str:
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, row in rows.items():
        cells = (f"{row[c]:.4g}" if c in row else "" for c in columns)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def finish(out: Path, key: str) -> None:
    rows = Report(out).rows
    text = table(rows) + "\n\n" + verdict(rows, key) + "\n"
    replace_text(out / "report.md", text)
    print(text)


def verdict(rows: dict[str, Row], key: str) -> str:
    """Whether level 0 alone is as good as packed for a quarter of the network time."""
    packed = [r for n, r in rows.items() if n.startswith("packed,") and "small" not in n]
    coarse = [r for n, r in rows.items() if n.startswith("level 0,") and "network_ms" in r]
    if not packed or not coarse:
        return ""
    best = min(packed, key=lambda r: r[key])
    as_good = [r for r in coarse if r[key] <= best[key]]
    at_all = min(coarse, key=lambda r: r[key])
    text = (
        f"Packed is best at {best['evaluations']} evaluations: {key} {best[key]:.4g} for "
        f"{best['network_ms']:.3g} ms of network per sample. "
    )
    if not as_good:
        return text + (
            f"Level 0 alone does not reach it: {key} {at_all[key]:.4g} at best, for "
            f"{at_all['network_ms'] / best['network_ms']:.2f} of the time."
        )
    cheapest = min(as_good, key=lambda r: r["network_ms"])
    return text + (
        f"Level 0 alone reaches {key} {cheapest[key]:.4g} for "
        f"{cheapest['network_ms'] / best['network_ms']:.2f} of the time."
    )


def picture(rows: dict[str, Tensor], file: Path) -> None:
    """One row of pictures `[3, H, W]` in [-1, 1] per way, in the order that is printed."""
    sheet = torch.cat([torch.nn.functional.pad(x, (0, 0, 1, 1), value=1) for x in rows.values()], 1)
    frame = to_uint8(sheet[:, None])[0]
    Image.fromarray(frame).resize((frame.shape[1] * 2, frame.shape[0] * 2), 0).save(file)
    print(f"{file}, rows from above: {', '.join(rows)}")


def film(x: Tensor) -> Tensor:
    """Four frames of every clip, side by side `[3, H, W']`."""
    frames = x[:, :, :: max(1, (x.shape[2] - 1) // 3)]
    return torch.cat([torch.cat(list(clip.unbind(1)), 2) for clip in frames], 2)


def _depth(x: Tensor) -> Tensor:
    """Every shape from its front and its side, near voxels bright `[3, H, W']`."""
    views = []
    for shape in x[:, 0] > 0:
        for dim in (1, 0):
            near = torch.linspace(1, 0.2, shape.shape[dim])
            light = shape * near.view([-1 if d == dim else 1 for d in range(3)])
            views.append(light.amax(dim).T.flip(0))
    return torch.cat(views, 1).expand(3, -1, -1) * 2 - 1


@command("study_diffusion")
@resumable()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("what", choices=["clips", "chairs"])
    add("--data", type=Path, help="of chairs: an archive of packed occupancy")
    add("--out", type=Path, required=True)
    add("--ways", nargs="+", choices=list(WAYS), default=["packed", "level 0", "levels 0-1"])
    add("--steps", nargs="+", type=int, default=[1, 2, 4, 8, 16, 32], help="of sampling")
    add("--ladder-minutes", type=float, default=50)
    add("--equivariance", type=float, default=0.0, help="weight of the ladder's scale equivariance")
    add("--classifier-minutes", type=float, default=5)
    add("--minutes", type=float, default=40, help="of training per way")
    add("--clips", type=int, default=20_000, help="to train on")
    add("--samples", type=int, default=1000, help="that are measured, of clips")
    add("--held-out", type=int, default=120, help="chairs that are never trained on")
    add("--copies", type=int, default=16, help="of every chair, varied, to train diffusion on")
    add("--ladder-batch", type=int, default=8)
    add("--batch-size", type=int, default=64, help="of diffusion")
    add("--at-a-time", type=int, default=50)
    add("--save-every", type=int, default=500)
    add("--temperature", type=float, default=1.0, help="of the ladder's prior")
    add("--guidance", type=float, default=1.0)
    add("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    {"clips": study_clips, "chairs": study_chairs}[options.what](options)


if __name__ == "__main__":
    raise SystemExit(main())
