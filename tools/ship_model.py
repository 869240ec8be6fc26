"""Put a trained run among the shipped models, in half the bytes, with its measured figures.

python tools/ship_model.py runs/video-base video --data VIDEOS
python tools/ship_model.py runs/voxel voxel --data MESHES --refine 40
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

import stlatent
from stlatent import checkpoint
from stlatent.cli.outcome import command
from stlatent.evaluate.diagnostics import decode_prefixes, gather, sample_quality
from stlatent.evaluate.latents import ABOUT, measure_latents
from stlatent.evaluate.report import jsonable
from stlatent.media.registry import medium_of
from stlatent.media.shape.refine import refine, refine_blocks
from stlatent.model.config import dump, load
from stlatent.model.device import autocast
from stlatent.sparse.blocks import Blocks
from stlatent.train import RunConfig
from stlatent.train.data import open_data

MODELS = Path(__file__).parents[1] / "assets" / "models"


@command("ship_model")
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a training run")
    parser.add_argument("name", help="what `--model` will call it")
    parser.add_argument("--data", type=Path, required=True, help="holds the run's held-out files")
    help = "of shapes: also measure latents improved by so many steps of `encode --refine`"
    parser.add_argument("--refine", type=int, default=0, metavar="N", help=help)
    options = parser.parse_args(arguments)

    config = load(RunConfig, options.run / "config.yaml")
    out = MODELS / options.name
    data = config.data.model_copy(update={"root": options.data})
    samples = open_data(config.model_copy(update={"data": data})).held_out
    if not samples:
        raise ValueError(f"{options.run} held nothing out that lies in {options.data}")
    model, about = stlatent.load(options.run), checkpoint.about(options.run)
    if isinstance(model, stlatent.Ladder) and not model.domain.sparse and ABOUT not in about:
        about[ABOUT] = measure_latents(model, samples.values()).model_dump()
    stlatent.save(model, out / checkpoint.FILE, about, half=True)
    (out / "config.yaml").write_text(dump(anywhere(config, options.name)))
    shipped, main = stlatent.load(out), medium_of(config.model).figures[0].key
    figures = measure(shipped, samples) | {"steps": about.get("step")}
    with autocast(torch.device("cpu"), "bf16"):
        bf16 = measure(shipped, samples)
    figures[f"bf16_{main}"] = [prefix[main] for prefix in bf16["prefixes"]]
    if options.refine:
        better = measure(shipped, samples, options.refine)
        found = [prefix[main] for prefix in better["prefixes"]]
        figures["refined"] = {"steps": options.refine, main: found}
    torch.manual_seed(config.seed)
    untrained = measure(checkpoint.build(config.model).eval(), samples)
    figures[f"untrained_{main}"] = [prefix[main] for prefix in untrained["prefixes"]]
    text = json.dumps(jsonable(figures), indent=1, allow_nan=False)
    (out / "figures.json").write_text(text + "\n")
    print(text)


def anywhere(config: RunConfig, name: str) -> RunConfig:
    """The same run without the paths of the machine that trained it."""
    defaults = type(config.data)(root=Path("data"))
    folders = [key for key, value in config.data if isinstance(value, Path)]
    places = {key: Path(key) if key != "cache" else defaults.cache for key in folders}
    start = config.start and Path("runs") / f"{name}-start"
    data = config.data.model_copy(update=places | {"root": Path("data")})
    return config.model_copy(update={"data": data, "out": Path("runs") / name, "start": start})


@torch.inference_mode()
def measure(
    model: checkpoint.Model, samples: Mapping[str, torch.Tensor | Blocks], refined: int = 0
) -> dict[str, object]:
    """Figures of the held-out samples, as they are reported: means over them, per prefix.

    refined: steps of gradient descent that improve the latents; the rate is that from before."""
    medium, rows = medium_of(model), []
    better = refine_blocks if model.domain.sparse else refine
    for x in samples.values():
        encoded = model.encode(x)
        latents = better(model, x, encoded, refined) if refined else encoded
        prefixes = decode_prefixes(model, latents)
        rows.append(sample_quality(medium, x, latents, encoded.kl, prefixes))
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "samples": list(samples),
        "size": list(x.shape[2:]),
        "prefixes": [
            {
                "levels": prefix.levels,
                "numbers": round(prefix.numbers),
                **{f.key: round(prefix.mean(f.key), 4) for f in medium.figures},
                "values_per_number": round(prefix.values_per_number, 1),
                "bits_per_value": round(prefix.bits_per_value, 5),
                "per_sample": [round(c.figures[medium.figures[0].key], 4) for c in prefix.clips],
            }
            for prefix in gather(rows)
        ],
    }


if __name__ == "__main__":
    raise SystemExit(main())
