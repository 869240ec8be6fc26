"""Five ways to build five levels of latents, on dynamically binarised MNIST, for equal time.

    python tools/mnist_ladder.py mnist.npz --minutes 15 --out runs/mnist

Flat VAEs of as many latents as the five levels have together (64-32-16-8-4), the naive hierarchy
whose encoder knows nothing of what was decided above, the ladder with its precision-weighted merge,
the residual ladder; all of pointwise layers on one position, the multilayer perceptrons of the
Ladder VAE paper (Sønderby et al. 2016). And `conv`, what this library would use: a residual ladder
of convolutions. The same command goes on with the models that are not there yet.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import mnist_data
import torch
from torch import Tensor

from stlatent import Draw, Ladder, ModelConfig, checkpoint
from stlatent.checkpoint import replace_text
from stlatent.config import parse
from stlatent.evaluate import log_likelihood
from stlatent.losses.elbo import LossConfig, Objective
from stlatent.train.config import OptimiserConfig
from stlatent.train.fit import fit

ACTIVE = 0.01  # Burda et al. 2016: Var_x(E_q[z])
LATENTS, WIDTHS = (4, 8, 16, 32, 64), (64, 96, 128, 256, 384)  # coarsest first
PIXELS = 28 * 28


def perceptron(latents: tuple[int, ...], widths: tuple[int, ...], posterior: str) -> dict[str, Any]:
    """Every level sees the whole picture as one position."""
    levels = [
        {"stride": [28, 28], "width": width, "latent": latent}
        for latent, width in zip(latents, widths, strict=True)
    ]
    stem = {"stride": [28, 28], "width": 384, "blocks": 1}
    return {"levels": levels, "stem": stem, "kernel": 1, "posterior": posterior}


def convolutional() -> dict[str, Any]:
    rows = [(32, 128, 16, 1), (16, 128, 8, 2), (8, 96, 4, 3), (4, 64, 2, 3)]
    levels = [
        {"stride": [s, s], "width": w, "latent": z, "groups": g, "blocks": 1} for s, w, z, g in rows
    ]
    return {"levels": levels, "stem": {"stride": [2, 2], "width": 32, "blocks": 1}, "kernel": 5}


def steps(warmup: int) -> dict[str, Any]:
    prefix = {"share": 0, "preview": 0}
    return {"rate": {"weight": 1.0, "warmup_steps": warmup}, "prefix": prefix}


MODELS = {  # model, steps of warm-up
    "flat": (perceptron((sum(LATENTS),), (384,), "joint"), 0),
    "flat, warm-up": (perceptron((sum(LATENTS),), (384,), "joint"), 4000),
    "naive": (perceptron(LATENTS, WIDTHS, "bottom_up"), 0),
    "naive, warm-up": (perceptron(LATENTS, WIDTHS, "bottom_up"), 4000),
    "ladder": (perceptron(LATENTS, WIDTHS, "precision"), 4000),
    "residual": (perceptron(LATENTS, WIDTHS, "residual"), 4000),
    "conv": (convolutional(), 2000),
}


def trained(name: str, digits: mnist_data.Digits, options: argparse.Namespace) -> dict[str, Any]:
    """Train one model and measure it; what is in `report.json` of it."""
    values, warmup = MODELS[name]
    common = {"domain": "image", "channels": 1, "likelihood": "bernoulli", "expand": 2}
    config = parse(ModelConfig, common | values, name)
    torch.manual_seed(options.seed)
    ladder = Ladder(config)
    batches = mnist_data.BinaryBatches(
        digits, options.batch, torch.Generator().manual_seed(options.seed)
    )

    def tell(step: int, result: Objective) -> None:
        if step % 200 == 0:
            nats = float(result.total.detach()) * PIXELS
            print(f"\r{name}: step {step}, {nats:.2f} nats", end="", file=sys.stderr, flush=True)

    done = fit(
        ladder,
        batches,
        parse(LossConfig, steps(warmup), name),
        OptimiserConfig(lr=options.lr, warmup_steps=200, final=0.01, ema=0.999, clip=10, skip=20),
        seconds=60 * options.minutes,
        seed=options.seed,
        watch=tell,
    )
    print(file=sys.stderr)
    checkpoint.save(done.model, options.out / name.replace(", ", "-") / checkpoint.FILE)
    return {
        "parameters": sum(p.numel() for p in ladder.parameters()),
        "steps": len(done.losses),
        "skipped": done.skipped,
        "minutes": done.seconds / 60,
    }


@torch.no_grad()
def measured(model: Ladder, x: Tensor, options: argparse.Namespace) -> dict[str, Any]:
    """Bound, importance-weighted log-likelihood, KL and active units of the test set `x`."""
    generator = torch.Generator().manual_seed(options.seed)
    elbo, weighted, nats, means = [], [], [], []
    for part in x.split(100):
        found = log_likelihood(model, part, options.draws, generator, options.at_a_time)
        elbo.append(found.elbo)
        weighted.append(found.weighted)
        out = model(part, Draw(generator=generator))
        nats.append(torch.stack([kl.sum(1) for kl in out.kl], 1))
        means.append([z.flatten(1) for z in model.encode(part).levels])
    active = [int((torch.cat(z).var(0) > ACTIVE).sum()) for z in zip(*means, strict=True)]
    return {
        "elbo_nats": float(torch.cat(elbo).mean()),
        "log_likelihood_nats": float(torch.cat(weighted).mean()),
        "draws": options.draws,
        "digits": len(x),
        "kl_nats": torch.cat(nats).mean(0).tolist(),
        "active_units": active,
        "units": [z.shape[1] for z in means[0]],
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
        model = checkpoint.load(options.out / name.replace(", ", "-"))
        drawn = model.sample((28, 28), 10, generator=torch.Generator().manual_seed(options.seed))
        axis.imshow(torch.cat(list(drawn[:, 0]), 1), cmap="gray", vmin=-1, vmax=1)
        axis.set_ylabel(name, rotation=0, ha="right", va="center")
        axis.set(xticks=[], yticks=[])
    figure.tight_layout()
    figure.savefig(options.out / "samples.png", dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="mnist.npz")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--minutes", type=float, default=15, help="of training per model")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--draws", type=int, default=1000, help="of the importance-weighted bound")
    parser.add_argument("--at-a-time", type=int, default=20, help="draws in one batch")
    parser.add_argument("--digits", type=int, default=10_000, help="of the test set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/mnist"))
    options = parser.parse_args()
    train, test = mnist_data.load(options.data)
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "report.json"
    report = json.loads(file.read_text()) if file.exists() else {}
    x = test.binary(torch.Generator().manual_seed(options.seed))[: options.digits]
    for name in options.models:
        if name not in report:
            row = trained(name, train, options)
            model = checkpoint.load(options.out / name.replace(", ", "-"))
            report[name] = row | measured(model, x, options)
            replace_text(file, json.dumps(report, indent=1))
    picture(options, list(report))
    print(table(report))


if __name__ == "__main__":
    main()
