"""Five ways to build five levels of latents, on dynamically binarised MNIST, for equal time.

    python tools/studies/mnist_ladder.py mnist.npz --minutes 15 --out runs/mnist

Flat VAEs of as many latents as the five levels have together (64-32-16-8-4), the naive hierarchy
whose encoder knows nothing of what was decided above, the ladder with its precision-weighted merge,
the residual ladder; all of pointwise layers on one position, the multilayer perceptrons of the
Ladder VAE paper (Sønderby et al. 2016). And `conv`, what this library would use: a residual ladder
of convolutions. The same command goes on with the models that are not there yet.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import mnist_data
import torch
from torch import Tensor

from stlatent import Draw, Ladder, ModelConfig, checkpoint
from stlatent.cli.outcome import command
from stlatent.evaluate import log_likelihood
from stlatent.files import replace_text, resumable
from stlatent.losses.elbo import LossConfig
from stlatent.model.config import parse
from stlatent.train.config import OptimiserConfig
from stlatent.train.fit import fit

ACTIVE = 0.01  # Burda et al. 2016: Var_x(E_q[z])
LATENTS, WIDTHS = (4, 8, 16, 32, 64), (64, 64, 96, 128, 256)  # coarsest first
PIXELS = 28 * 28


def perceptron(latents: tuple[int, ...], widths: tuple[int, ...], posterior: str) -> dict[str, Any]:
    """Every level sees the whole picture as one position."""
    levels = [
        {"stride": [28, 28], "width": width, "latent": latent}
        for latent, width in zip(latents, widths, strict=True)
    ]
    stem = {"stride": [28, 28], "width": 256, "blocks": 1}
    return {"levels": levels, "stem": stem, "cell": {"kernel": 1}, "posterior": posterior}


def convolutional() -> dict[str, Any]:
    """Two levels see the whole picture, three a grid of 7 x 7 positions."""
    rows = [(28, 256, 16, 1), (28, 256, 8, 1), (4, 128, 4, 2), (4, 128, 4, 2), (4, 128, 2, 2)]
    levels = [
        {"stride": [s, s], "width": w, "latent": z, "groups": g, "blocks": 1} for s, w, z, g in rows
    ]
    stem = {"stride": [4, 4], "width": 128, "blocks": 1}
    return {"levels": levels, "stem": stem, "cell": "vdvae", "posterior": {"log_noise": 0.0}}


def steps(warmup: int) -> dict[str, Any]:
    prefix = {"share": 0, "preview": 0}
    return {"rate": {"weight": 1.0, "warmup_steps": warmup}, "prefix": prefix}


MODELS = {  # model, steps of warm-up
    "flat": (perceptron((sum(LATENTS),), (256,), "joint"), 0),
    "flat, BN, warm-up": (
        perceptron((sum(LATENTS),), (192,), "joint") | {"cell": "nvae"},  # batch norm and swish
        1500,
    ),
    "naive": (perceptron(LATENTS, WIDTHS, "bottom_up"), 0),
    "naive, warm-up": (perceptron(LATENTS, WIDTHS, "bottom_up"), 1500),
    "ladder": (perceptron(LATENTS, WIDTHS, "precision"), 1500),
    "residual": (perceptron(LATENTS, WIDTHS, "residual"), 1500),
    "conv": (convolutional(), 1000),
}


def folder(name: str) -> str:
    return name.replace(", ", "-").replace(" ", "-")


def trained(name: str, digits: mnist_data.Digits, options: argparse.Namespace) -> dict[str, Any]:
    """Train one model and measure it; what is in `report.json` of it."""
    values, warmup = MODELS[name]
    common = {"domain": "image", "channels": 1, "likelihood": "bernoulli"}
    config = parse(ModelConfig, common | values, name)
    torch.manual_seed(options.seed)
    ladder = Ladder(config)
    batches = mnist_data.BinaryBatches(
        digits, options.batch_size, torch.Generator().manual_seed(options.seed)
    )

    def tell(step: int, metrics: dict[str, Any]) -> None:
        if step % 200 == 0:
            nats = metrics["loss"] * PIXELS
            print(f"\r{name}: step {step}, {nats:.2f} nats", end="", file=sys.stderr, flush=True)

    done = fit(
        ladder,
        batches,
        parse(LossConfig, steps(warmup), name),
        OptimiserConfig(lr=options.lr, warmup_steps=200, final=0.01, ema=0.999, clip=10, skip=20),
        seconds=60 * options.minutes,
        seed=options.seed,
        precision=options.precision,
        watch=tell,
    )
    print(file=sys.stderr)
    checkpoint.save(done.model, options.out / folder(name) / checkpoint.FILE)
    return {
        "parameters": sum(p.numel() for p in ladder.parameters()),
        "steps": len(done.losses),
        "skipped": done.skipped,
        "minutes": done.seconds / 60,
    }


@torch.no_grad()
def measured(model: Ladder, x: Tensor, options: argparse.Namespace) -> dict[str, Any]:
    """Bound, importance-weighted log-likelihood, KL and active units of the test set `x`.

    Few draws see every digit, many draws some digits: what many add differs little between digits,
    so the sum is an unbiased estimate of many draws on every digit, at a tenth of the time.
    """
    generator = torch.Generator().manual_seed(options.seed)

    def bounds(part: Tensor, draws: int) -> tuple[Tensor, Tensor]:
        found = log_likelihood(model, part, draws, generator, options.at_a_time)
        return found.elbo, found.weighted

    parts = x.split(100)
    elbo, few = (torch.cat(row) for row in zip(*(bounds(p, options.few) for p in parts)))
    some = x[: options.digits].split(100)
    gain = torch.cat([bounds(p, options.draws)[1] for p in some]) - few[: options.digits]
    nats = [model(p, Draw(generator=generator)).latents.kl for p in parts]
    means = zip(*(model.encode(p).levels for p in parts), strict=True)
    return {
        "elbo_nats": float(elbo.mean()),
        "log_likelihood_nats": float(few.mean() + gain.mean()),
        "standard_error_nats": float((few.var() / len(few) + gain.var() / len(gain)).sqrt()),
        "few_draws": {"draws": options.few, "digits": len(x), "nats": float(few.mean())},
        "many_draws": {"draws": options.draws, "digits": len(gain), "add": float(gain.mean())},
        "kl_nats": [float(torch.cat(level).sum(1).mean()) for level in zip(*nats, strict=True)],
        "active_units": [
            int((torch.cat(level).flatten(1).var(0) > ACTIVE).sum()) for level in means
        ],
        "units": [math.prod(shape) for shape in model.latent_shape(x.shape[2:])],
    }


def table(report: dict[str, Any]) -> str:
    lines = [
        "| model | parameters | steps | −ELBO | −log p | active units, level 0 first | KL, nats |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in report.items():
        active = ", ".join(
            f"{a}/{n}" for a, n in zip(row["active_units"], row["units"], strict=True)
        )
        kl = ", ".join(f"{nats:.1f}" for nats in row["kl_nats"])
        lines.append(
            f"| {name} | {row['parameters'] / 1e6:.2f} M | {row['steps']} | "
            f"{-row['elbo_nats']:.2f} | {-row['log_likelihood_nats']:.2f} | {active} | {kl} |"
        )
    return "\n".join(lines)


def picture(options: argparse.Namespace, names: list[str]) -> None:
    """Ten draws of every model, as probabilities."""
    figure, axes = plt.subplots(len(names), 1, figsize=(8, 0.95 * len(names)))
    for axis, name in zip([axes] if len(names) == 1 else axes, names, strict=True):
        model = checkpoint.load(options.out / folder(name))
        drawn = model.sample((28, 28), 10, generator=torch.Generator().manual_seed(options.seed))
        axis.imshow(torch.cat(list(drawn[:, 0]), 1), cmap="gray", vmin=-1, vmax=1)
        axis.set_ylabel(name, rotation=0, ha="right", va="center")
        axis.set(xticks=[], yticks=[])
    figure.tight_layout()
    figure.savefig(options.out / "samples.png", dpi=120)


@command("mnist_ladder")
@resumable()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="mnist.npz")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--minutes", type=float, default=15, help="of training per model")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="of training")
    parser.add_argument("--few", type=int, default=50, help="draws of the bound for every digit")
    parser.add_argument("--draws", type=int, default=1000, help="for some digits")
    parser.add_argument("--digits", type=int, default=1000, help="so many")
    parser.add_argument("--at-a-time", type=int, default=20, help="draws in one batch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/mnist"))
    options = parser.parse_args(arguments)
    train, test = mnist_data.load(options.data)
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "report.json"
    report = json.loads(file.read_text()) if file.exists() else {}
    x = test.binary(torch.Generator().manual_seed(options.seed))
    for name in options.models:
        if name not in report:
            row = trained(name, train, options)
            model = checkpoint.load(options.out / folder(name))
            report[name] = row | measured(model, x, options)
            replace_text(file, json.dumps(report, indent=1))
    picture(options, list(report))
    print(table(report))


if __name__ == "__main__":
    raise SystemExit(main())
