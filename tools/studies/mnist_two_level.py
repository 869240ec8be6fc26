"""What the two levels of a ladder on MNIST each decide, beside a flat VAE of as many latents.

    python tools/studies/mnist_two_level.py mnist.npz --minutes 15 --out runs/mnist-two

Level 0 is one position of 16 numbers, level 1 a grid of 7 x 7 positions. Pictures: the top held
and the bottom redrawn, and the reverse. Figures: how often the digit's class stays, as a small
classifier trained for it sees it, and how sharp samples are: the mean over pixels of |2 p - 1|,
where p is the decoded probability of ink; 1 is black and white, a blurred edge lies lower.
Models that lie in the folder are not trained again.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import mnist_data
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stlatent import Ladder, ModelConfig, checkpoint
from stlatent.cli.outcome import command
from stlatent.evaluate import log_likelihood, redraw
from stlatent.files import replace_text, resumable
from stlatent.losses.elbo import LossConfig
from stlatent.model.config import parse
from stlatent.train.config import OptimiserConfig
from stlatent.train.fit import fit

TOP, BOTTOM = 16, 2  # channels
TOP_LEVEL = {"stride": [28, 28], "width": 192, "latent": TOP, "blocks": 2}
BOTTOM_LEVEL = {"stride": [4, 4], "width": 64, "latent": BOTTOM, "blocks": 2}
FLAT_LEVEL = {"stride": [28, 28], "width": 320, "latent": TOP + BOTTOM * 49, "blocks": 2}
STEM = {"stride": [2, 2], "width": 32, "blocks": 1}
MODELS = {"two levels": [TOP_LEVEL, BOTTOM_LEVEL], "flat": [FLAT_LEVEL]}


def trained(levels: list[dict[str, Any]], train: mnist_data.Digits, options: Any) -> Ladder:
    values = {"domain": "image", "channels": 1, "likelihood": "bernoulli"}
    config = parse(ModelConfig, values | {"levels": levels, "stem": STEM}, "model")
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    loss = {
        "rate": {"weight": 1.0, "warmup_steps": 1000},
        "prefix": {"share": 0.5, "preview": 0},  # so that the top alone is a digit
    }
    done = fit(
        Ladder(config),
        mnist_data.BinaryBatches(train, 128, generator),
        parse(LossConfig, loss, "loss"),
        OptimiserConfig(lr=1e-3, warmup_steps=200, final=0.01, ema=0.999, clip=10, skip=20),
        seconds=60 * options.minutes,
        seed=options.seed,
        precision=options.precision,
    )
    return done.model


def classifier(train: mnist_data.Digits, seed: int) -> nn.Module:
    """A small network that names binarised digits."""
    torch.manual_seed(seed)
    layers = [nn.Conv2d(1, 24, 5, 2), nn.ReLU(), nn.Conv2d(24, 48, 5, 2), nn.ReLU(), nn.Flatten()]
    net = nn.Sequential(*layers, nn.Linear(48 * 16, 64), nn.ReLU(), nn.Linear(64, 10))
    adam = torch.optim.AdamW(net.parameters(), 2e-3)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(3):
        for rows in torch.randperm(len(train.images), generator=generator).split(128):
            x = mnist_data.binarised(train.images[rows], generator)
            loss = F.cross_entropy(net(x), train.classes[rows])
            adam.zero_grad()
            loss.backward()
            adam.step()
    return net.eval()


@torch.no_grad()
def named(net: nn.Module, decoded: Tensor, generator: torch.Generator) -> Tensor:
    """Classes of decoded digits, drawn in black and white as the classifier knows them."""
    return net(mnist_data.binarised((decoded + 1) / 2, generator)).argmax(1)


@torch.no_grad()
def held_and_redrawn(
    model: Ladder, net: nn.Module, x: Tensor, classes: Tensor, seed: int
) -> dict[str, float]:
    """Share of redraws that keep a digit's class, of digits whose reconstruction does."""
    generator = torch.Generator().manual_seed(seed)
    latents = model.encode(x)
    base = named(net, model.decode(latents), generator)
    right = base == classes
    figures = {"reconstructions_named_right": float(right.float().mean())}
    for name, level in (("top_held_keeps_class", 1), ("top_redrawn_keeps_class", 0)):
        kept = [
            named(net, redraw(model, latents, [level], generator), generator) == base
            for _ in range(10)
        ]
        figures[name] = float(torch.stack(kept)[:, right].float().mean())
    return figures


@torch.no_grad()
def sharpness(decoded: Tensor) -> float:
    return float(decoded.abs().mean())


@torch.no_grad()
def grids(model: Ladder, x: Tensor, path: Path, seed: int) -> None:
    """Rows: digits. Columns: original, decoded, then redraws of the one level or the other."""
    generator, latents = torch.Generator().manual_seed(seed), model.encode(x)
    figure, axes = plt.subplots(1, 2, figsize=(11, 0.55 * len(x)))
    titles = ("top held, bottom redrawn", "bottom held, top redrawn")
    for axis, level, title in zip(axes, (1, 0), titles, strict=True):
        columns = [x, model.decode(latents)]
        columns += [redraw(model, latents, [level], generator) for _ in range(8)]
        rows = torch.cat([torch.cat(list(column[:, 0]), 0) for column in columns], 1)
        axis.imshow(rows, cmap="gray", vmin=-1, vmax=1)
        axis.set(title=title, xticks=[14, 42, 168], yticks=[])
        axis.set_xticklabels(["digit", "decoded", "redrawn"])
    figure.tight_layout()
    figure.savefig(path, dpi=110)


@command("mnist_two_level")
@resumable()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="mnist.npz")
    parser.add_argument("--minutes", type=float, default=15, help="of training per model")
    parser.add_argument("--digits", type=int, default=1000, help="of the test set")
    parser.add_argument("--draws", type=int, default=100, help="of the log-likelihood")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="of training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/mnist-two"))
    options = parser.parse_args(arguments)
    train, test = mnist_data.load(options.data)
    options.out.mkdir(parents=True, exist_ok=True)
    x = test.binary(torch.Generator().manual_seed(options.seed))[: options.digits]
    net = classifier(train, options.seed)
    classes = test.classes[: len(x)]
    right = float((net(x).argmax(1) == classes).float().mean())
    report: dict[str, Any] = {"classifier_right": right, "ink_sharpness": sharpness(x)}
    for name, levels in MODELS.items():
        folder = options.out / name.replace(" ", "-")
        if not (folder / checkpoint.FILE).exists():
            checkpoint.save(trained(levels, train, options), folder / checkpoint.FILE)
        model = checkpoint.load(folder)
        generator = torch.Generator().manual_seed(options.seed)
        found = [log_likelihood(model, part, options.draws, generator) for part in x.split(50)]
        report[name] = {
            "latents": sum(math.prod(shape) for shape in model.latent_shape((28, 28))),
            "parameters": sum(p.numel() for p in model.parameters()),
            "log_likelihood_nats": float(torch.cat([f.weighted for f in found]).mean()),
            "sample_sharpness": sharpness(model.sample((28, 28), 500, generator=generator)),
            "reconstruction_sharpness": sharpness(model.decode(model.encode(x))),
        }
        if len(levels) == 2:
            report[name] |= held_and_redrawn(model, net, x, classes, options.seed)
            grids(model, x[:10], options.out / "held_and_redrawn.png", options.seed)
    replace_text(options.out / "report.json", json.dumps(report, indent=1))
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    raise SystemExit(main())
