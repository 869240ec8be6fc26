"""Put a trained run of latent diffusion among the shipped models, in half the bytes.

python tools/ship_pipeline.py runs/moving moving --ladder runs/moving-ladder
python tools/ship_pipeline.py runs/drawn assets

The ladder is the one whose latents were diffused, or the same with another decoder
(`only_decoder`), which then goes into the pipeline. Without a ladder, it is the model that ships
under the same name, beside which the pipeline is put.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME
from ship_model import MODELS, anywhere

from stlatent import AutoencoderLadder, Ladder, LadderPipeline, checkpoint, fingerprint
from stlatent.cli.outcome import command
from stlatent.diffusion import DiffusionRun
from stlatent.export.folder import wrap
from stlatent.model.config import dump, load
from stlatent.shipped import FILE, INDEX, PIPELINE
from stlatent.train import RunConfig

MOST_BYTES, MOST_BESIDE = 12 * 2**20, 8 * 2**20  # of weights; beside a ladder that ships
BESIDE = ("README.md", "figures.json")


@command("ship_pipeline")
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a run of latent diffusion")
    parser.add_argument("name", help="what `stlatent generate` will call it")
    parser.add_argument("--ladder", type=Path, help="run folder of its ladder")
    options = parser.parse_args(arguments)

    out = MODELS / options.name
    run = load(DiffusionRun, options.run / "config.yaml")
    labels = run.data.labels and Path(run.data.labels.name)
    data = run.data.model_copy(update={"root": Path("latents"), "labels": labels})
    run = run.model_copy(update={"data": data, "out": Path("runs") / options.name})
    pipeline = LadderPipeline.from_pretrained(options.run / PIPELINE)
    if options.ladder:
        vae = decoding_as(pipeline.vae, checkpoint.load(options.ladder))
        pipeline.register_modules(vae=vae)
        alone(pipeline.to(torch.float16), out)
        ladder = load(RunConfig, options.ladder / "config.yaml")
        (out / "ladder.yaml").write_text(dump(anywhere(ladder, f"{options.name}-ladder")))
        (out / "config.yaml").write_text(dump(run))
    else:
        beside(pipeline.to(torch.float16), out)
        (out / "diffusion.yaml").write_text(dump(run))
    files = (file for file in out.rglob("*.safetensors") if options.ladder or file.parent != out)
    size, most = sum(f.stat().st_size for f in files), MOST_BYTES if options.ladder else MOST_BESIDE
    print(f"{out}: {size / 2**20:.2f} MiB")
    if size > most:
        raise ValueError(f"{out} has {size} bytes of weights; at most {most} may ship")


def decoding_as(vae: AutoencoderLadder, ladder: Ladder) -> AutoencoderLadder:
    """`vae` with the decoder of `ladder`, whose latents must be the same.

    Raises:
        ValueError: they are not.
    """
    found = wrap(ladder, vae.config.levels, vae.config.measured_mean, vae.config.measured_std)
    known, own = (fingerprint(one.ladder) for one in (vae, found))
    if known != own:
        raise ValueError(
            f"the latents of the pipeline have fingerprint {known}, those of --ladder {own}; give "
            "the ladder that the pipeline was trained with"
        )
    return found


def alone(pipeline: LadderPipeline, out: Path) -> None:
    """Write a pipeline in the place of a former one."""
    about = {file: file.read_text() for name in BESIDE if (file := out / name).is_file()}
    pipeline.write(out)
    for file in out.rglob("*.json"):
        forget_origin(file)
    for file, text in about.items():  # written by hand, or by the study
        file.write_text(text)


def beside(pipeline: LadderPipeline, out: Path) -> None:
    """Write a pipeline, but for its ladder, into the folder of that."""
    own, there = pipeline.vae.ladder.state_dict(), checkpoint.load(out / FILE).state_dict()
    if own.keys() != there.keys() or any((own[k] != there[k].half()).any() for k in own):
        raise ValueError(
            f"{out / FILE} is not the ladder of the pipeline; give its run as --ladder"
        )
    pipeline.save_pretrained(out)
    (out / "vae" / SAFETENSORS_WEIGHTS_NAME).unlink()
    for file in (out / INDEX, *out.glob("*/*.json")):
        forget_origin(file)


def forget_origin(config: Path) -> None:
    """Take out of a config of diffusers from where on this machine it was loaded."""
    about = json.loads(config.read_text())
    about.pop("_name_or_path", None)
    config.write_text(json.dumps(about, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
