"""Do dots two to four pixels wide survive an autoencoder? Two levels against flat ones.

    python tools/studies/fine_lesions.py --minutes 20 --out runs/lesions

Synthetic retinas (`synthetic`), models of equal latents trained for equal time. A
lesion survives if the detector, whose recall on the drawn pictures is reported too, still finds it.
Models that lie in the folder are not trained again.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from synthetic import Retina, lesion_detector, lesions_found, retina
from torch import Tensor

from stlatent import Ladder, Latents, ModelConfig, checkpoint
from stlatent.cli.outcome import command
from stlatent.files import replace_text, resumable
from stlatent.losses.elbo import LossConfig
from stlatent.media.video.pixels import to_uint8
from stlatent.model.config import parse
from stlatent.train.config import OptimiserConfig
from stlatent.train.fit import Shuffled, fit

STEM = {"stride": [4, 4], "width": 48, "blocks": 2}


def level(stride: int, width: int, latent: int) -> dict[str, Any]:
    return {"stride": [stride, stride], "width": width, "latent": latent, "blocks": 2}


MODELS = {  # all of 1,024 numbers at 128 x 128
    "two levels": [level(32, 128, 16), level(8, 128, 3)],
    "flat, stride 8": [level(8, 160, 4)],
    "flat, stride 16": [level(16, 176, 16)],
    "flat, stride 32": [level(32, 192, 64)],
    "flat, one position": [level(128, 256, 1024)],  # the plain VAE
}
LOSS = {
    "rate": {"weight": 0.02, "warmup_steps": 200},
    "prefix": {"share": 0.2, "preview": 0.1},
}


def trained(name: str, images: Tensor, options: argparse.Namespace) -> Ladder:
    folder = options.out / name.replace(", ", "-").replace(" ", "-")
    if (folder / checkpoint.FILE).exists():
        return checkpoint.load(folder)
    values = {"domain": "image", "likelihood": options.likelihood, "stem": STEM}
    torch.manual_seed(options.seed)
    done = fit(
        Ladder(parse(ModelConfig, values | {"levels": MODELS[name]}, name)),
        Shuffled(images, options.batch_size, torch.Generator().manual_seed(options.seed)),
        parse(LossConfig, LOSS, name),
        OptimiserConfig(lr=5e-4, warmup_steps=100, ema=0.995, clip=10),
        seconds=60 * options.minutes,
        seed=options.seed,
        precision=options.precision,
    )
    checkpoint.save(done.model, folder / checkpoint.FILE, {"steps": len(done.losses)})
    return done.model


def counted(pictures: Tensor, retinas: list[Retina]) -> dict[str, float]:
    """Recall and precision of the lesions drawn, in pictures `[n, 3, H, W]` made of them."""
    hits = drawn = seen = 0
    for picture, truth in zip(pictures, retinas, strict=True):
        found = lesion_detector(picture)
        hits += lesions_found(found, truth.positions)
        drawn, seen = drawn + len(truth.positions), seen + len(found)
    return {"recall": hits / max(drawn, 1), "precision": hits / max(seen, 1)}


@torch.no_grad()
def measured(model: Ladder, retinas: list[Retina], seed: int) -> dict[str, Any]:
    """Lesions that survive, from every prefix and with single levels left to their prior's mean;
    and dots per picture in samples."""
    x = torch.stack([r.image for r in retinas])
    latents = model.encode(x)
    decoded = model.decode(latents)
    figures: dict[str, Any] = {
        "latents": latents.numel,
        "parameters": sum(p.numel() for p in model.parameters()),
        "psnr_db": float(-10 * torch.log10(((decoded - x) / 2).square().mean())),
        "survive": counted(decoded, retinas),
        "survive_per_prefix": [
            counted(model.decode(latents, k + 1), retinas)["recall"]
            for k in range(len(model.levels))
        ],
    }
    if len(model.levels) == 2:
        swapped = Latents((latents.levels[0], latents.levels[1].roll(1, 0)), latents.size)
        other = retinas[-1:] + retinas[:-1]
        pictures = model.decode(swapped)
        figures["fine_level_of_another"] = {
            "recall_of_own": counted(pictures, retinas)["recall"],
            "recall_of_the_other": counted(pictures, other)["recall"],
        }
    generator = torch.Generator().manual_seed(seed)
    drawn = model.sample(x.shape[2:], len(x), generator=generator)
    figures["dots_per_sample"] = sum(len(lesion_detector(p)) for p in drawn) / len(drawn)
    return figures


@torch.no_grad()
def picture(models: dict[str, Ladder], x: Tensor, path: Path, seed: int) -> None:
    """Rows: retinas, then one sample of each model. Columns: drawn, then each model."""
    rows = [torch.cat([x, *(m.decode(m.encode(x)) for m in models.values())], 3)]
    generator = torch.Generator().manual_seed(seed)
    blank = torch.ones_like(x[:1])
    drawn = [m.sample(x.shape[2:], 1, generator=generator) for m in models.values()]
    rows.append(torch.cat([blank, *drawn], 3))
    frame = to_uint8(torch.cat([torch.cat(list(row), 1) for row in rows], 1).unsqueeze(1))[0]
    Image.fromarray(frame).save(path)


@command("fine_lesions")
@resumable()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20, help="of training per model")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--retinas", type=int, default=2000, help="to train on")
    parser.add_argument("--test", type=int, default=100, help="to measure on")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--likelihood", default="fitted")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="of training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/lesions"))
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    images = torch.stack([retina(1000 + i, options.size).image for i in range(options.retinas)])
    test = [retina(i, options.size) for i in range(options.test)]
    x = torch.stack([r.image for r in test])
    report: dict[str, Any] = {
        "lesions_per_retina": math.fsum(len(r.positions) for r in test) / len(test),
        "detector": counted(x, test),
    }
    models = {name: trained(name, images, options) for name in MODELS}
    report |= {name: measured(model, test, options.seed) for name, model in models.items()}
    replace_text(options.out / "report.json", json.dumps(report, indent=1))
    picture(models, x[:3], options.out / "lesions.png", options.seed)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    raise SystemExit(main())
