"""What bounds the tails of latents, and what does it cost? Ways to train it, and one without.

    python tools/studies/tails.py VIDEOS --out runs/tails

The shipped video model is trained further, the same steps on the same clips with the same noise:
as it was; with noise on what is decoded, in units of each channel's deviation; with means that a
tanh bounds; with a penalty on values beyond a bound. Then the clips that it never saw are encoded,
and it is measured how heavy the tails are and how well every prefix decodes. The same command goes
on where it stopped.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import real_clips
import torch
from study_diffusion import Report
from torch import Tensor

from stlatent import Ladder, Latents, checkpoint
from stlatent.checkpoint import about, locate
from stlatent.cli.outcome import command
from stlatent.evaluate.diffusable import DiffusableTally
from stlatent.evaluate.latents import LatentFigures
from stlatent.files import resumable
from stlatent.losses.elbo import LossConfig
from stlatent.media.metrics import psnr
from stlatent.media.video.pixels import to_float
from stlatent.model.cells import Cell
from stlatent.model.config import parse
from stlatent.model.gaussian import BITS_PER_NAT, Gaussian, bounded
from stlatent.model.passes import Pass
from stlatent.train.config import OptimiserConfig
from stlatent.train.extras import Extras
from stlatent.train.fit import Shuffled, fit_task
from stlatent.train.loss import LadderTask

NOISE, BOUND, PENALTY, BEYOND = 0.3, 6.0, 0.1, 3.0
SOFT = 0.25  # deviations: what is below them stays as it is, what is beyond becomes a logarithm
SIZE, SIDE, CLIPS = (17, 256, 256), 96, 240
LOSS = {"rate": {"weight": 0.02}, "prefix": {"share": 1.0, "preview": 0.5}}


class Units:
    """Means and deviations of each channel of a level `[C_l, 1, 1, 1]`, as the model says them."""

    def __init__(self, figures: LatentFigures) -> None:
        self.mean = [torch.tensor(v)[:, None, None, None] for v in figures.mean]
        self.std = [torch.tensor(v)[:, None, None, None] for v in figures.std]

    def of(self, level: int, z: Tensor) -> Tensor:
        """Latents in deviations from the mean."""
        return (z - self.mean[level]) / self.std[level]


class Noisy(Cell):
    """Decodes latents with noise on them, as long as it is trained."""

    deviation: Tensor

    def merge(self, h: Tensor, z: Tensor, past: Any) -> Tensor:
        if self.training:
            size = NOISE * torch.rand(len(z), *[1] * (z.ndim - 1))
            z = z + size * self.deviation * torch.randn_like(z)
        return super().merge(h, z, past)


def noisy(ladder: Ladder, units: Units) -> None:
    for cells, std in zip(ladder.cells, units.std, strict=True):
        for cell in cells:
            cell.__class__, cell.deviation = Noisy, std


def bounded_means(ladder: Ladder, units: Units) -> None:
    """Means of posteriors end at `BOUND` deviations."""
    for level, cells in enumerate(ladder.cells):
        for cell in cells:
            place = cell.posterior.place

            def bounding(e: Gaussian, p: Gaussian, place=place, level=level) -> Gaussian:
                found = place(e, p)
                u = bounded(units.of(level, found.mean), BOUND)
                return Gaussian(units.mean[level] + units.std[level] * u, found.log_std)

            cell.posterior.place = bounding


class Penalised(Extras):
    """Values beyond a bound cost the square of what they are beyond it."""

    units: Units

    def penalty(self, out: Pass, x: Tensor, step: int, warm: float) -> Tensor:
        total = super().penalty(out, x, step, warm)
        for done in out.latents.steps:
            beyond = (self.units.of(done.site.level, done.posterior.mean).abs() - BEYOND).relu()
            total = total + PENALTY * beyond.square().mean()
        return total


def unchanged(ladder: Ladder, units: Units) -> None:
    """As it was."""


Way = Callable[[Ladder, Units], None]
WAYS: dict[str, tuple[Way, type[Extras]]] = {
    "as it was": (unchanged, Extras),
    f"noise of up to {NOISE:g} deviations": (noisy, Extras),
    f"means bounded at {BOUND:g}": (bounded_means, Extras),
    f"penalty beyond {BEYOND:g}": (unchanged, Penalised),
}


def trained(name: str, units: Units, clips: Tensor, options: argparse.Namespace) -> Ladder:
    """The shipped model, trained further one way, in evaluation mode."""
    (change, kind), ladder = WAYS[name], checkpoint.load("video")
    change(ladder, units)
    extras = kind(ladder, None, None, None)
    extras.units = units
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    ladder.train().requires_grad_()
    done = fit_task(
        LadderTask(ladder, parse(LossConfig, LOSS, "loss"), extras),
        Shuffled(clips, 1, generator, to_float),
        OptimiserConfig(lr=options.lr, warmup_steps=20, ema=0.98, clip=10),
        steps=options.steps,
        precision=options.precision,
        watch=lambda step, m: step % 20 or print(name, step, f"{m['loss']:.4f}", flush=True),
    )
    model = checkpoint.load("video")  # averaged weights, without copies of what was changed
    model.load_state_dict(done.model.state_dict())
    change(model, units)
    print(name, f"{done.seconds / 60:.1f} minutes", flush=True)
    return model.eval()


@torch.no_grad()
def measured(ladder: Ladder, units: Units, clips: dict[str, Tensor]) -> dict[str, Any]:
    """How every prefix decodes, its rate, and how heavy the tails of each level are: as they are,
    and softened."""
    strides = [level.stride for level in ladder.levels]
    plain, soft = (DiffusableTally(ladder.domain, strides) for _ in range(2))
    db: list[list[float]] = []
    bits: list[list[float]] = []
    for x in clips.values():
        found = ladder.encode(x)
        nothing = [None] * len(strides)
        plain.add(found, nothing)
        levels = (torch.asinh(units.of(k, z) / SOFT) for k, z in enumerate(found.levels))
        soft.add(Latents(tuple(levels), found.size), nothing)
        prefixes = range(1, len(strides) + 1)
        db.append([psnr(ladder.decode(found, k), x).mean().item() for k in prefixes])
        bits.append([BITS_PER_NAT * kl.sum().item() / x.numel() for kl in found.kl])
    return {
        "psnr_db": torch.tensor(db).mean(0).tolist(),
        "bits_per_value": torch.tensor(bits).mean(0).tolist(),
        "tails": tails(plain),
        "softened": tails(soft),
    }


def tails(tally: DiffusableTally) -> list[tuple[float, float]]:
    """Per level, the largest kurtosis and the largest value in deviations of any channel."""
    return [
        (max(c.kurtosis for c in level.channels),
         max(max(-c.least, c.largest) for c in level.channels))
        for level in tally.result()
    ]  # fmt: skip


@command("tails")
@resumable()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--precision", default="bf16", choices=["fp32", "bf16"])
    options = parser.parse_args(arguments)
    known = about(locate("video"))["latents"]
    units = Units(parse(LatentFigures, known, "the shipped model"))
    train, held = real_clips.sides(options.videos)
    options.out.mkdir(parents=True, exist_ok=True)
    clips = real_clips.drawn(train, CLIPS, SIDE, (0.6, 1.0), options.out / "clips.safetensors")
    judged = real_clips.centred(held, SIZE)
    report = Report(options.out)
    report.row("shipped", lambda: measured(checkpoint.load("video"), units, judged))
    for name in WAYS:
        report.row(name, lambda n=name: measured(trained(n, units, clips, options), units, judged))


if __name__ == "__main__":
    main()
