"""Put a trained run among the shipped models, in half the bytes, with its measured figures.

python tools/ship_model.py runs/video-base video --data VIDEOS
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch

import stlatent
from stlatent import checkpoint
from stlatent.codec.device import autocast
from stlatent.config import dump, load
from stlatent.data import centre_clip
from stlatent.evaluate import prefix_quality
from stlatent.train import RunConfig

MODELS = Path(__file__).parents[1] / "assets" / "models"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a training run")
    parser.add_argument("name", help="what `--model` will call it")
    parser.add_argument("--data", type=Path, required=True, help="holds the run's held-out clips")
    options = parser.parse_args(arguments)

    config = load(RunConfig, options.run / "config.yaml")
    out = MODELS / options.name
    about = checkpoint.about(options.run)
    stlatent.save(stlatent.load(options.run), out / checkpoint.FILE, about, half=True)
    (out / "config.yaml").write_text(dump(anywhere(config, options.name)))
    shipped = stlatent.load(out)
    figures = measure(shipped, config, options.data) | {"steps": about.get("step")}
    with autocast(torch.device("cpu"), "bf16"):
        bf16 = measure(shipped, config, options.data)
    figures["bf16_psnr_db"] = [prefix["psnr_db"] for prefix in bf16["prefixes"]]
    torch.manual_seed(config.seed)
    untrained = measure(stlatent.Ladder(config.model).eval(), config, options.data)
    figures["untrained_psnr_db"] = [prefix["psnr_db"] for prefix in untrained["prefixes"]]
    (out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


def anywhere(config: RunConfig, name: str) -> RunConfig:
    """The same run without the paths of the machine that trained it."""
    places = {
        "root": Path("videos"),
        "photos": config.data.photos and Path("photos"),
        "cache": None,
    }
    start = config.start and Path("runs") / f"{name}-start"
    return config.model_copy(
        update={
            "data": config.data.model_copy(update=places),
            "out": Path("runs") / name,
            "start": start,
        }
    )


@torch.inference_mode()
def measure(model: stlatent.Ladder, config: RunConfig, data: Path) -> dict[str, object]:
    """Figures of the held-out clips, as they are reported: means over clips, per prefix."""
    wanted = config.data.validation
    size = (wanted.frames, wanted.crop, wanted.crop)
    clips = (centre_clip(data / name, size)[0] for name in wanted.names)
    prefixes = prefix_quality(model, clips)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "clips": list(wanted.names),
        "size": list(size),
        "prefixes": [
            {
                "levels": prefix.levels,
                "psnr_db": round(prefix.psnr_db, 2),
                "ssim": round(prefix.ssim, 4),
                "values_per_number": round(prefix.values_per_number, 1),
                "bits_per_value": round(prefix.bits_per_value, 5),
                "psnr_db_per_clip": [round(clip.psnr_db, 2) for clip in prefix.clips],
            }
            for prefix in prefixes
        ],
    }


if __name__ == "__main__":
    main()
