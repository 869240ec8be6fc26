"""Which layout of the same latents does a denoiser learn best in the same time?

    python tools/studies/layouts.py VIDEOS --out runs/layouts --minutes 8

Clips of real videos are encoded by the shipped video model, and one transformer of a fixed size is
trained on all of its levels, packed on the grid of the coarsest one, on one between and on that of
the finest, for equal minutes of processor time; and once more on latents whose tails are softened,
see `tails.py`. Measured on clips of videos that the model never saw: how far the guess of clean
latents is off at some amounts of noise, per level, in deviations; what it decodes to; and how far
statistics of samples are from real ones. The same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import real_clips
import torch
from diffusion_clips import frechet_distance
from diffusion_ways import Encoded, encoded
from study_diffusion import Report, film, picture
from torch import Tensor

from stlatent import Ladder, Latents, checkpoint
from stlatent.cli.outcome import command
from stlatent.diffusion import DiffusionRun
from stlatent.diffusion.data import LatentData, LatentTensors
from stlatent.diffusion.denoiser import LadderDenoiser
from stlatent.diffusion.training import Diffusion
from stlatent.files import resumable
from stlatent.media.metrics import psnr
from stlatent.media.video.pixels import to_float
from stlatent.model.config import parse
from stlatent.train.fit import fit_task
from stlatent.train.task import Moment
from stlatent.weights import read, write

SIZE, SCALE = (17, 64, 64), (0.2, 0.5)
NETWORK = {"width": 192, "depth": 4, "head": 32}
NOISE, STEPS, SHOWN = (0.3, 0.5, 0.7, 0.9), 16, 8
SOFT = 0.25  # deviations: what is below them stays as it is, what is beyond becomes a logarithm
WAYS = {
    "coarsest": ("coarsest", False),
    "4x16x16": ("4x16x16", False),
    "finest": ("finest", False),
    "4x16x16, softened": ("4x16x16", True),
}


class Softening:
    """Whitened levels `[N, C_l, ...]` -> the same with softened tails, whitened anew, and back."""

    def __init__(self, levels: Sequence[Tensor], on: bool) -> None:
        self.on = on
        self.std = [self._over(torch.asinh(z / SOFT)) for z in levels]

    def _over(self, z: Tensor) -> Tensor:
        return z.std([0, *range(2, z.ndim)], keepdim=True)[0]

    def there(self, levels: Sequence[Tensor]) -> list[Tensor]:
        if not self.on:
            return [*levels]
        return [torch.asinh(z / SOFT) / s for z, s in zip(levels, self.std, strict=True)]

    def back(self, levels: Sequence[Tensor]) -> list[Tensor]:
        if not self.on:
            return [*levels]
        return [SOFT * torch.sinh(z * s) for z, s in zip(levels, self.std, strict=True)]


def trained(
    grid: str, levels: Sequence[Tensor], ladder: Ladder, options: argparse.Namespace
) -> tuple[LadderDenoiser, dict[str, Any]]:
    """A denoiser of these levels, and what its training was."""
    values = {
        "diffusion": {"stages": [NETWORK | {"levels": len(levels), "grid": grid}]},
        "data": {"root": options.out, "batch_size": options.batch_size, "workers": 0},
        "optimiser": {"lr": 1e-3, "warmup_steps": 50, "ema": 0.99},
        "out": options.out,
    }
    run, data = parse(DiffusionRun, values, grid), LatentTensors(levels)
    figures = [[v] * sum(z.shape[1] for z in levels) for v in (0.0, 1.0)]
    task = Diffusion(run, LatentData(data, data, ladder, SIZE, *figures), torch.device("cpu"))
    batches = list(_take(task, 4))
    began = 0.0
    for step, batch in enumerate(batches):  # the first one finds out how to compute
        began = time.process_time() if step == 1 else began
        task.loss(batch, Moment(0, 0, torch.Generator())).total.backward()
    seconds = (time.process_time() - began) / (len(batches) - 1)
    task = Diffusion(run, LatentData(data, data, ladder, SIZE, *figures), torch.device("cpu"))
    steps = max(1, int(60 * options.minutes / seconds))
    print(f"{grid}: {steps} steps of {seconds:.2f} s", flush=True)
    began = time.process_time()
    done = fit_task(task, task.batches(0, 0, 1), run.optimiser, steps=steps)
    spent = (time.process_time() - began) / 60
    shape = list(task.model.latent_shape(0, SIZE))
    return done.model, {"shape": shape, "steps": steps, "minutes": spent}


def _take(task: Diffusion, count: int) -> list[Any]:
    return [batch for batch, _ in zip(task.batches(0, 0, 1), range(count), strict=False)]


@torch.no_grad()
def guessed(denoiser: LadderDenoiser, levels: Sequence[Tensor], noise: float) -> list[Tensor]:
    """What clean levels a denoiser guesses, from levels with noise on its grid."""
    generator, found = torch.Generator().manual_seed(1), []
    for part in zip(*(z.split(16) for z in levels), strict=True):
        x = denoiser.fold(0, part)
        noisy = (1 - noise) * x + noise * torch.randn(x.shape, generator=generator)
        said = denoiser(noisy, torch.full((len(x),), 1000 * noise)).sample
        found.append(denoiser.unfold(0, noisy - noise * said))
    return [torch.cat(z) for z in zip(*found, strict=True)]


@torch.no_grad()
def sampled(denoiser: LadderDenoiser, count: int) -> list[Tensor]:
    """Levels drawn in `STEPS` steps of Euler's method."""
    generator, found = torch.Generator().manual_seed(2), []
    shape = denoiser.latent_shape(0, SIZE)
    for rows in torch.arange(count).split(16):
        z = torch.randn(len(rows), *shape, generator=generator)
        for k in range(STEPS, 0, -1):
            z -= denoiser(z, torch.full((len(rows),), 1000 * k / STEPS)).sample / STEPS
        found.append(denoiser.unfold(0, z))
    return [torch.cat(z) for z in zip(*found, strict=True)]


def statistics(levels: Sequence[Tensor]) -> Tensor:
    """Of every clip and channel: mean, deviation, and how much neighbours along space and steps in
    time differ `[N, 4 * channels]`."""
    found = []
    for z in levels:
        parts = (z, z.diff(dim=-1), z.diff(dim=2))
        spreads = [p.square().mean([2, 3, 4]).sqrt() for p in parts]
        found += [z.mean([2, 3, 4]), *spreads]
    return torch.cat(found, 1)


class Judge:
    """Compares guesses with clips of videos that were held out, whose whitened levels these are,
    and samples with the clips that were trained on.

    Attributes:
        others: further clips of these, of which samples should be no further from the first.
    """

    def __init__(self, ladder: Ladder, latents: Encoded, held: Sequence[Tensor]) -> None:
        self.ladder, self.latents, self.held = ladder, latents, held
        half = len(latents.levels[0]) // 2  # clips of the same videos, at other times
        self.real = statistics([z[:half] for z in latents.levels])
        self.others = [z[half:] for z in latents.levels]

    def decoded(self, levels: Sequence[Tensor], count: int) -> Tensor:
        """The first ones in pixels."""
        figures = zip(levels, self.latents.mean, self.latents.std, strict=True)
        one = [-1, 1, 1, 1]
        whole = [z[:count] * s.view(one) + m.view(one) for z, m, s in figures]
        strides = [level.stride[0] for level in self.ladder.levels]
        # the first step covers one frame, of which finer levels have copies
        parts = [z[:, :, strides[0] // stride - 1 :] for z, stride in zip(whole, strides)]
        with torch.no_grad():
            return self.ladder.decode(Latents(tuple(parts), SIZE))

    def distance(self, levels: Sequence[Tensor]) -> float:
        return frechet_distance(statistics(levels), self.real)

    def guesses(self, denoiser: LadderDenoiser, soft: Softening) -> dict[str, Any]:
        """Errors by amount of noise: per level in deviations, and of pixels in dB."""
        given, true, rows = soft.there(self.held), self.decoded(self.held, SHOWN * 4), {}
        for noise in NOISE:
            levels = soft.back(guessed(denoiser, given, noise))
            errors = [(a - b).square().mean().sqrt().item() for a, b in zip(levels, self.held)]
            db = psnr(self.decoded(levels, len(true)).clamp(-1, 1), true).mean().item()
            rows[f"{noise:g}"] = {"errors": errors, "psnr_db": db}
        return rows


@command("layouts")
@resumable()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=8, help="of a processor, per layout")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--clips", type=int, default=3200)
    parser.add_argument("--samples", type=int, default=200)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    ladder, (train, held) = checkpoint.load("video"), real_clips.sides(options.videos)
    clips = {
        name: real_clips.drawn(sources, n, 64, SCALE, options.out / f"{name}.safetensors", 8)
        for name, sources, n in (("train", train, options.clips), ("held", held, options.samples))
    }
    latents = encoded(ladder, map(to_float, clips["train"].split(32)), None)
    unseen = _whitened(ladder, clips["held"], latents)
    judge, report = Judge(ladder, latents, unseen), Report(options.out)
    some = [z[torch.randperm(len(z))[: options.samples]] for z in judge.others]
    report.row("real clips", lambda: {"distance": judge.distance(some)})
    noise = [torch.randn_like(z) for z in unseen]
    report.row("noise", lambda: {"distance": judge.distance(noise)})
    shown = {"real": judge.decoded(unseen, SHOWN)}
    for name, (grid, softened) in WAYS.items():
        soft, samples = Softening(latents.levels, softened), options.out / f"{name}.safetensors"

        def measured(grid: str = grid, soft: Softening = soft, file: Path = samples) -> dict:
            denoiser, about = trained(grid, soft.there(latents.levels), ladder, options)
            about["noise"] = judge.guesses(denoiser, soft)
            began = time.process_time()
            drawn = soft.back(sampled(denoiser, options.samples))
            about["ms"] = 1000 * (time.process_time() - began) / options.samples
            write(file, {f"{k}": z.contiguous() for k, z in enumerate(drawn)}, {})
            return about | {"distance": judge.distance(drawn)}

        report.row(name, measured)
        drawn = read(samples)[0]
        shown[name] = judge.decoded([drawn[key] for key in sorted(drawn)], SHOWN)
    picture({name: film(x.clamp(-1, 1)) for name, x in shown.items()}, options.out / "samples.png")


def _whitened(ladder: Ladder, clips: Tensor, latents: Encoded) -> list[Tensor]:
    """Levels of other clips by the same figures, with whole groups at every step of time."""
    from diffusion_ways import packing_of

    packing = packing_of(ladder, latents.mean, latents.std)
    with torch.no_grad():
        rows = [ladder.encode(to_float(x)).levels for x in clips.split(32)]
    levels = [torch.cat(z) for z in zip(*rows, strict=True)]
    return [*packing.unfold(packing.pack(levels), started=True)]


if __name__ == "__main__":
    raise SystemExit(main())
