"""Which stabiliser keeps a very deep ladder alive? 45 groups of latents on crops of photographs.

    python tools/studies/deep_stack.py PHOTOS --steps 2000 --out runs/deep

A NVAE-like ladder at its published settings, and the same with one stabiliser off at a time. A run
diverges when its loss is not finite, or far above where it began, for good. Variants that are in
the report are not run again.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from stlatent import Ladder, ModelConfig
from stlatent.cli.outcome import command
from stlatent.files import replace_text, resumable
from stlatent.losses.elbo import LossConfig
from stlatent.media.video.check import check_sources
from stlatent.media.video.clips import ClipDataset
from stlatent.media.video.files import find_sources
from stlatent.media.video.pixels import to_float
from stlatent.model.config import parse
from stlatent.train.config import OptimiserConfig
from stlatent.train.fit import Shuffled, fit

GROUPS = (9, 15, 21)  # coarsest first: 45
MODEL = {
    "domain": "image",
    "cell": "nvae",
    "posterior": {"kind": "residual", "log_std_limit": 5.0},
    "likelihood": "logistic_mixture",
    "stem": {"stride": [4, 4], "width": 32, "blocks": 1},
    "levels": [
        {"stride": [s, s], "width": 32, "latent": 4, "groups": g, "blocks": 1}
        for s, g in zip((32, 16, 8), GROUPS, strict=True)
    ],
}
LOSS = {
    "rate": {"weight": 1.0, "warmup_steps": 600, "balance": "nvae"},
    "prefix": {"share": 0, "preview": 0},
    "spectral": {"weight": 1e-2},
}
OPTIMISER = {"lr": 1e-2, "warmup_steps": 100, "weight_decay": 3e-4, "clip": 200.0, "skip": 10.0}
OFF = 1e12  # a limit that is never met
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "all on": ({}, {}, {}),
    "no spectral penalty": ({}, {"spectral": None}, {}),
    "no warm-up": ({}, {"rate": {"weight": 1.0}}, {}),
    "no balancing": ({}, {"rate": {"weight": 1.0, "warmup_steps": 600}}, {}),
    "no residual posterior": ({"posterior": {"kind": "joint", "log_std_limit": 5.0}}, {}, {}),
    "no bound on deviations": ({"posterior": {"kind": "residual", "log_std_limit": None}}, {}, {}),
    "no skipped steps": ({}, {}, {"skip": OFF}),
    "no clipping": ({}, {}, {"clip": OFF}),
    "nothing": (
        {"posterior": {"kind": "joint", "log_std_limit": None}},
        {"rate": {"weight": 1.0}, "spectral": None},
        {"skip": OFF, "clip": OFF},
    ),
}


def crops(root: Path, count: int, size: int, seed: int) -> Tensor:
    """Random crops of all pictures `[count, 3, size, size]`, uint8."""
    good, _ = check_sources(find_sources(root, frame_folders=False))
    data = ClipDataset(good, 1, size, (1, 1), (0.2, 0.6), seed=seed, crops_per_read=32)
    reads = [data[i].clips for i in range(math.ceil(count / 32))]
    return torch.cat(reads)[:count]


def entered(clips: Tensor) -> Tensor:
    """uint8 `[n, 1, H, W, 3]` as the model reads them."""
    return to_float(clips).squeeze(2)


def run(name: str, clips: Tensor, options: argparse.Namespace) -> dict[str, Any]:
    model, loss, optimiser = VARIANTS[name]
    torch.manual_seed(options.seed)
    done = fit(
        Ladder(parse(ModelConfig, MODEL | model, name)),
        Shuffled(clips, options.batch_size, torch.Generator().manual_seed(options.seed), entered),
        parse(LossConfig, LOSS | loss, name),
        parse(OptimiserConfig, OPTIMISER | optimiser, name),
        steps=options.steps,
        seed=options.seed,
    )
    losses = [value if math.isfinite(value) else None for value in done.losses]
    return {
        "diverges_at": diverges_at(losses),
        "not_finite": sum(value is None for value in losses),
        "skipped": done.skipped,
        "last_loss": mean(losses[-100:]),
        "losses": losses,
    }


def diverges_at(losses: list[float | None]) -> int | None:
    """First step from which on, for a hundred steps at least and to the end, nine in ten losses are
    not finite or more than twice as far above zero as the first."""
    limit = 2 * abs(losses[0] or 1.0)
    bad = [value is None or value > limit for value in losses]
    left = sum(bad)
    for step, is_bad in enumerate(bad[:-99]):
        if is_bad and left >= 0.9 * (len(bad) - step):
            return step
        left -= is_bad
    return None


def mean(values: list[float | None]) -> float | None:
    finite = [value for value in values if value is not None]
    return sum(finite) / len(finite) if finite else None


def worst(losses: list[float | None]) -> float | None:
    """The highest mean of a hundred steps after the first hundred."""
    means = (mean(losses[i : i + 100]) for i in range(100, len(losses), 100))
    return max((value for value in means if value is not None), default=None)


def cell(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def picture(report: dict[str, Any], path: Path) -> None:
    figure, axis = plt.subplots(figsize=(9, 5))
    for name, row in report.items():
        values = torch.tensor([math.nan if v is None else v for v in row["losses"]])
        smooth = values.unfold(0, min(50, len(values)), 1).nanmean(1)
        axis.plot(smooth, label=name)
    axis.set(xlabel="step", ylabel="loss: nats per value, and penalty", yscale="log", ylim=(2, 500))
    axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


@command("deep_stack")
@resumable()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--crops", type=int, default=2048)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/deep"))
    options = parser.parse_args(arguments)
    clips = crops(options.photos, options.crops, options.size, options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "report.json"
    report = json.loads(file.read_text()) if file.exists() else {}
    print("| variant | diverges at step | not finite | skipped | at its worst | loss at the end |")
    print("|---|---|---|---|---|---|")
    for name in options.variants:
        if name not in report:
            report[name] = run(name, clips, options)
            replace_text(file, json.dumps(report))
        row = report[name]
        last, most = cell(row["last_loss"], ".3f"), cell(worst(row["losses"]), ".4g")
        at, lost = cell(row["diverges_at"], "d"), row["not_finite"]
        print(f"| {name} | {at} | {lost} | {row['skipped']} | {most} | {last} |", flush=True)
    picture(report, options.out / "losses.png")


if __name__ == "__main__":
    raise SystemExit(main())
