"""How near the bound of a diffusion model comes to the entropy, by number of steps:

    python tools/studies/diffusion_bound.py --out diffusion_bound.png
    python tools/studies/diffusion_bound.py --steps 50 1000 --pictures 16 --out quick.png

The data are Gaussian pictures with a power spectrum like that of photographs, for which the best
denoiser, the entropy, and the expected bound are known in closed form. What is left between the
last two is the price of the steps; `measured` is what `diffusion_report` finds on a sample.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from stlatent.cli.outcome import command
from stlatent.diffusion import diffusion_report, noise_levels
from stlatent.evaluate import plots
from stlatent.files import writing
from stlatent.model.gaussian import BITS_PER_NAT

STEPS = (30, 100, 300, 1000, 3000)


class GaussianPictures:
    """Pictures `[B, 1, size, size]` of variance 1: every frequency is a variable by itself."""

    def __init__(self, size: int) -> None:
        frequency = torch.fft.fftfreq(size) * size
        power = 1 / (1 + frequency[:, None] ** 2 + frequency**2)
        self.variance = power / power.mean()  # [size, size], of each frequency

    def sample(self, batch: int, generator: torch.Generator | None = None) -> Tensor:
        noise = torch.randn(batch, 1, *self.variance.shape, generator=generator)
        return self.filtered(noise, self.variance.sqrt())

    @property
    def entropy_bits(self) -> float:
        """Differential entropy per value: log2(2 pi e variance) / 2, mean over frequencies."""
        variance = self.variance.double()
        return 0.5 * (2 * math.pi * math.e * variance).log2().mean().item()

    def bits(self, x: Tensor) -> float:
        """-log2 p(x) per value: what the entropy is the mean of."""
        whitened = self.filtered(x, self.variance.rsqrt())
        return self.entropy_bits + 0.5 * BITS_PER_NAT * (whitened.square().mean().item() - 1)

    def denoiser(self, scheduler: Any) -> Callable[..., Tensor]:
        """The best one there is, E[x | z], in the form that the scheduler expects."""
        noise = noise_levels(scheduler)
        level_of = {t: level for level, t in enumerate(noise.timesteps.tolist())}

        def denoise(z: Tensor, timestep: Tensor) -> Tensor:
            level = level_of[timestep[0].item()]
            alpha, sigma = noise.alpha[level].item(), noise.sigma[level].item()
            shrink = alpha * self.variance / (alpha**2 * self.variance + sigma**2)
            guess = self.filtered(z, shrink)
            return (guess - noise.by_noisy[level].item() * z) / noise.by_output[level].item()

        return denoise

    def bound(self, scheduler: Any) -> tuple[float, float]:
        """Expected bits per value with the best denoiser: scheduler's variance, fitted ones."""
        noise, variance = noise_levels(scheduler), self.variance.double().flatten()
        signal, sigma, snr = noise.alpha[0] ** 2 * variance, noise.sigma, noise.snr
        top = 0.5 * (signal + sigma[0] ** 2 - 1).mean() - sigma[0].log()
        error = (1 / (1 / variance[:, None] + snr)).mean(0)  # of the guess from each level
        below = 0.5 * (error[-1] * snr[-1] + (2 * math.pi / snr[-1]).log())
        rise = snr.diff() * error[:-1]
        wider = noise.variance * (sigma[:-1] / sigma[1:]).log()
        own = 0.5 * ((1 + rise) * torch.exp(-2 * wider) - 1) + wider
        fitted = 0.5 * torch.log1p(rise)
        ends = (top + below).item()
        return tuple(BITS_PER_NAT * (ends + nats.sum().item()) for nats in (own, fitted))

    @staticmethod
    def filtered(x: Tensor, gain: Tensor) -> Tensor:
        return torch.fft.ifft2(torch.fft.fft2(x) * gain).real


def linear(steps: int, variance: str = "fixed_small") -> DDPMScheduler:
    """Ho et al. 2020; the same process in time for every number of steps."""
    return DDPMScheduler(steps, 0.1 / steps, 20 / steps, variance_type=variance, clip_sample=False)


def linear_large(steps: int) -> DDPMScheduler:
    """The wider of the two variances of Ho et al. 2020."""
    return linear(steps, "fixed_large")


def cosine(steps: int) -> DDPMScheduler:
    """Nichol & Dhariwal 2021, with v as output."""
    return DDPMScheduler(
        steps,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        clip_sample=False,
    )


def even(steps: int, least_db: float = -30, most_db: float = 20) -> DDPMScheduler:
    """Signal-to-noise ratio in equal steps of decibels: what VDM starts from."""
    db = torch.linspace(most_db, least_db, steps, dtype=torch.float64)
    kept = torch.sigmoid(db * math.log(10) / 10)
    betas = 1 - kept / torch.cat([torch.ones(1), kept[:-1]])
    return DDPMScheduler(steps, trained_betas=betas.tolist(), clip_sample=False)


SCHEDULES: dict[str, Callable[[int], Any]] = {
    "linear": linear,
    "linear, wide": linear_large,
    "cosine": cosine,
    "even": even,
    "flow": FlowMatchEulerDiscreteScheduler,
}


class Row(NamedTuple):
    """Bits per dimension: with the scheduler's own variance, and with fitted ones."""

    schedule: str
    steps: int
    own: float
    fitted: float
    own_measured: float
    fitted_measured: float


def measure(pictures: GaussianPictures, x: Tensor, name: str, steps: int) -> Row:
    scheduler = SCHEDULES[name](steps)
    report = diffusion_report(pictures.denoiser(scheduler), scheduler, [x], grey_values=None)
    found = report.bits_per_dimension, report.fitted_bits_per_dimension
    return Row(name, steps, *pictures.bound(scheduler), *found)


def line(row: Row, entropy: float) -> str:
    def cell(bound: float, measured: float) -> str:
        return f"{bound:7.4f} {(bound / entropy - 1):8.2%} {measured:9.4f}"

    cells = cell(row.own, row.own_measured), cell(row.fitted, row.fitted_measured)
    return f"{row.schedule:12} {row.steps:6} | {' | '.join(cells)}"


def draw(rows: Sequence[Row], entropy: float, path: Path) -> None:
    """Excess over the entropy by number of steps; lines in closed form, dots as measured."""
    from matplotlib.figure import Figure

    figure = Figure((9, 3.6), dpi=160, layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, way in ((left, "own"), (right, "fitted")):
        for name, colour in zip(SCHEDULES, ("C0", "C9", "C1", "C2", "C3")):
            mine = [row for row in rows if row.schedule == name]
            steps = [row.steps for row in mine]
            exact = [getattr(row, way) - entropy for row in mine]
            measured = [getattr(row, f"{way}_measured") - entropy for row in mine]
            axes.plot(steps, exact, color=colour, label=name)
            axes.plot(steps, measured, "o", color=colour, markersize=4)
        axes.axhline(0.01 * entropy, color="grey", linestyle=":", label="1 % of the entropy")
        axes.set(xscale="log", xlabel="steps")
        axes.spines[["top", "right"]].set_visible(False)
    left.set(yscale="log", ylabel="bound − entropy, bits per dimension")
    left.set_title("variance of the scheduler", fontsize=10)
    right.set_title("one fitted variance per step", fontsize=10)
    right.legend(frameon=False, fontsize=8)
    with writing(path) as partial:
        partial.write_bytes(plots.png(figure))


@command("diffusion_bound")
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS)
    parser.add_argument("--size", type=int, default=32, help="side of the pictures")
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, metavar="PNG")
    options = parser.parse_args(arguments)
    if min(options.steps) < 21:  # the linear schedule removes all signal in one step of 20
        parser.error(f"steps are {options.steps}; give 21 or more")
    if options.out.exists():
        parser.error(f"{options.out} exists; name another file")
    torch.manual_seed(options.seed)
    pictures = GaussianPictures(options.size)
    x, entropy = pictures.sample(options.pictures), pictures.entropy_bits
    print(
        f"bits per dimension: entropy {entropy:.4f}; -log2 p of the sample {pictures.bits(x):.4f}"
    )
    heading = f"{'bound':>7} {'excess':>8} {'measured':>9}"
    print(f"{'schedule':12} {'steps':>6} | {heading} | {heading}  (fitted variance)")
    rows = []
    for name in SCHEDULES:
        for steps in options.steps:
            rows.append(measure(pictures, x, name, steps))
            print(line(rows[-1], entropy), flush=True)
    draw(rows, entropy, options.out)


if __name__ == "__main__":
    raise SystemExit(main())
