"""Videos from a trained pipeline of latent diffusion, with a sheet of previews:

    python tools/generate_videos.py runs/diffusion-coarse/pipeline --count 8 --out videos/
    python tools/generate_videos.py PIPELINE --classes 0 1 --guidance 3 --windows 6 --out long/

Levels that are not diffused come from the ladder's own prior: its mean, or draws with --draw.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from stlatent import LadderPipeline
from stlatent.cli.outcome import command
from stlatent.media.output import check_outputs
from stlatent.media.video.pixels import to_uint8
from stlatent.media.video.write import frame_writer

SHOWN = 6  # frames of each video on the sheet


def generate(options: argparse.Namespace) -> None:
    paths = [options.out / f"{k:04d}.mp4" for k in range(options.count)]
    sheet = options.out / "preview.png"
    check_outputs([*paths, sheet], options.replace)
    if not (options.pipeline / LadderPipeline.config_name).exists():
        raise ValueError(
            f"{options.pipeline} is no pipeline: it has no {LadderPipeline.config_name}"
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pipeline = LadderPipeline.from_pretrained(options.pipeline).to(device)
    if pipeline.denoiser.domain.name != "video":
        raise ValueError(f"{options.pipeline} makes no videos but {pipeline.denoiser.domain.name}s")
    if options.draw is not None:
        pipeline.vae.enable_prior_sampling(options.draw)
    if options.windows > 1:
        pipeline.vae.enable_tiling()  # decodes piece by piece in time
    rows = []
    for k, path in enumerate(paths):
        generator = torch.Generator().manual_seed(options.seed + k)
        asked = options.classes[k % len(options.classes)] if options.classes else None
        x = pipeline(
            asked,
            size=options.size,
            windows=options.windows,
            num_inference_steps=options.steps,
            guidance_scale=options.guidance,
            generator=generator,
            output_type="pt",
        ).samples
        frames = to_uint8(x[0])
        with frame_writer(path, "mp4", False, frames.shape[:3], options.fps) as writer:
            writer.write(frames)
        shown = np.linspace(0, len(frames) - 1, SHOWN).round().astype(int)
        rows.append(np.concatenate(frames[shown], 1))
    Image.fromarray(np.concatenate(rows)).save(sheet)
    print(f"{options.out}: {options.count} videos of {len(frames)} frames, and {sheet.name}")


@command("generate_videos")
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("pipeline", type=Path, help="a folder that `stlatent train` left as `pipeline`")
    add("--out", type=Path, required=True)
    add("--count", type=int, default=4)
    add("--classes", type=int, nargs="+", help="to ask for, in turn")
    add("--size", type=int, nargs=3, metavar=("FRAMES", "HEIGHT", "WIDTH"), help="as in training")
    add("--windows", type=int, default=1, help="of that length, one after the other")
    add("--steps", type=int, nargs="+", default=[25], help="one number, or one per stage")
    add("--guidance", type=float, default=1.0)
    add("--draw", type=float, metavar="TEMPERATURE", help="draw what is not diffused")
    add("--fps", type=float, default=24.0)
    add("--seed", type=int, default=0, help="of the first; the next ones count on")
    add("--replace", action="store_true", help="videos that are there")
    options = parser.parse_args(arguments)
    options.steps = options.steps[0] if len(options.steps) == 1 else options.steps
    generate(options)


if __name__ == "__main__":
    raise SystemExit(main())
