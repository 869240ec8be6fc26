r"""The moving picture of a class-conditional model: a sample of every class, motion by object.

python tools/make_class_picture.py moving --out docs/pictures/moving.webp
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from make_picture import joined, resized, with_headings
from PIL import Image, ImageDraw, ImageFont

from stlatent import LadderPipeline
from stlatent.cli.outcome import command
from stlatent.media.video.pixels import to_uint8

MARGIN = 44  # white pixels, for the words of a row


@command("make_class_picture")
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pipeline", help="a folder, or one that ships, with classes MOTION-OBJECT")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shown", type=int, default=96, help="side at which it is shown")
    parser.add_argument("--fps", type=float, default=12.0)
    parser.add_argument("--quality", type=int, default=70, help="of the file, 0 to 100")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)

    pipeline = LadderPipeline.from_pretrained(options.pipeline)
    names = pipeline.denoiser.condition.names
    if not names or any("-" not in name for name in names):
        raise ValueError(f"{options.pipeline} has no classes called MOTION-OBJECT")
    made = pipeline(
        list(names),
        num_inference_steps=options.steps,
        guidance_scale=options.guidance,
        generator=[torch.Generator().manual_seed(options.seed + k) for k in range(len(names))],
        output_type="pt",
    ).frames
    clips = dict(zip(names, (resized(to_uint8(x), options.shown) for x in made), strict=True))
    motions, objects = (
        list(dict.fromkeys(part)) for part in zip(*(n.split("-", 1) for n in names))
    )
    rows = [
        beside(motion, joined([clips[f"{motion}-{thing}"] for thing in objects], 2))
        for motion in motions
    ]
    frames = joined(rows, 1)
    words = with_headings(frames[:, :, MARGIN:], objects)
    left = np.full((*words.shape[:2], MARGIN, 3), 255, np.uint8)
    left[:, -frames.shape[1] :] = frames[:, :, :MARGIN]
    pictures = [Image.fromarray(f) for f in np.concatenate([left, words], 2)]
    how = {"duration": round(1000 / options.fps), "loop": 0, "quality": options.quality}
    pictures[0].save(options.out, save_all=True, append_images=pictures[1:], method=6, **how)


def beside(word: str, frames: np.ndarray) -> np.ndarray:
    """A white margin with a word to the left of uint8 `[T, H, W, 3]`."""
    margin = Image.new("RGB", (MARGIN, frames.shape[1]), "white")
    place, font = (MARGIN / 2, frames.shape[1] / 2), ImageFont.load_default(14)
    ImageDraw.Draw(margin).text(place, word, fill="black", font=font, anchor="mm")
    left = np.broadcast_to(np.asarray(margin), (len(frames), *np.asarray(margin).shape))
    return np.concatenate([left, frames], 2)


if __name__ == "__main__":
    raise SystemExit(main())
