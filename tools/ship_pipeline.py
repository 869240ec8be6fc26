"""Put a trained run of latent diffusion among the shipped models, in half the bytes.

python tools/ship_pipeline.py runs/moving moving --ladder runs/moving-ladder
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from ship_model import MODELS, anywhere

from stlatent import LadderPipeline
from stlatent.cli.outcome import command
from stlatent.diffusion import DiffusionRun
from stlatent.diffusion.training import PIPELINE
from stlatent.model.config import dump, load
from stlatent.train import RunConfig

MOST_BYTES = 12 * 2**20
BESIDE = ("README.md", "figures.json")


@command("ship_pipeline")
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a run of latent diffusion")
    parser.add_argument("name", help="what `stlatent generate` will call it")
    parser.add_argument("--ladder", type=Path, required=True, help="run folder of its ladder")
    options = parser.parse_args(arguments)

    out = MODELS / options.name
    ladder = anywhere(load(RunConfig, options.ladder / "config.yaml"), f"{options.name}-ladder")
    run = load(DiffusionRun, options.run / "config.yaml")
    data = run.data.model_copy(update={"root": Path("latents")})
    run = run.model_copy(update={"data": data, "out": Path("runs") / options.name})
    about = {file: file.read_text() for name in BESIDE if (file := out / name).is_file()}
    LadderPipeline.from_pretrained(options.run / PIPELINE).to(torch.float16).write(out)
    for file in out.rglob("*.json"):
        forget_origin(file)
    for file, text in about.items():  # written by hand, or by the study
        file.write_text(text)
    (out / "ladder.yaml").write_text(dump(ladder))
    (out / "config.yaml").write_text(dump(run))
    size = sum(file.stat().st_size for file in out.rglob("*.safetensors"))
    print(f"{out}: {size / 2**20:.2f} MiB")
    if size > MOST_BYTES:
        raise ValueError(f"{out} has {size} bytes of weights; at most {MOST_BYTES} may ship")


def forget_origin(config: Path) -> None:
    """Take out of a config of diffusers from where on this machine it was loaded."""
    about = json.loads(config.read_text())
    about.pop("_name_or_path", None)
    config.write_text(json.dumps(about, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
