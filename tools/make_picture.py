r"""The moving picture of the README: clips as they are and as every prefix decodes them.

python tools/make_picture.py assets/clips --names coffee_pour.mp4 one_by_one.mp4 wolf.mp4 \
    --model video --out docs/pictures/levels.webp
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

import stlatent
from stlatent.cli.outcome import command
from stlatent.media.video.clips import centre_clip
from stlatent.media.video.files import find_sources
from stlatent.media.video.pixels import to_uint8

GAP, HEADING = 4, 22  # white pixels between pictures, and above them
MOST_BYTES = 3 * 2**20


@command("make_picture")
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=Path, help="a folder, of which those named are shown")
    parser.add_argument("--names", nargs="+", help="files of the folder (all)")
    parser.add_argument("--model", nargs="+", default=["video"], help="one row of a clip for each")
    parser.add_argument("--frames", type=int, default=33)
    parser.add_argument("--size", type=int, default=256, help="side of the central crop")
    parser.add_argument("--shown", type=int, default=208, help="side at which it is shown")
    parser.add_argument("--quality", type=int, default=70, help="of the file, 0 to 100")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)

    models = [stlatent.load(model) for model in options.model]
    if len({len(model.levels) for model in models}) > 1:
        raise ValueError(f"--model {' '.join(options.model)}: give models of as many levels each")
    size = (options.frames, options.size, options.size)
    found = {source.name: source.path for source in find_sources(options.clips)}
    names = options.names or list(found)
    if unknown := [name for name in names if name not in found]:
        raise ValueError(f"{unknown[0]} is not in {options.clips}; it holds {', '.join(found)}")
    rows = [row(model, found[name], size, options.shown) for name in names for model in models]
    pictures = with_headings(joined(rows, 1), headings(models[0]))
    frames = [Image.fromarray(frame) for frame in pictures]
    how = {"duration": 83, "loop": 0, "quality": options.quality, "method": 6}
    frames[0].save(options.out, save_all=True, append_images=frames[1:], **how)
    if (bytes_ := options.out.stat().st_size) > MOST_BYTES:
        raise ValueError(f"{options.out} has {bytes_} bytes; show fewer or smaller clips")


@torch.inference_mode()
def row(model: stlatent.Ladder, path: Path, size: tuple[int, int, int], side: int) -> np.ndarray:
    """Original, level 0, levels 0-1, ... of a clip, side by side, uint8 `[T, side, W, 3]`."""
    x, _ = centre_clip(path, size)
    latents = model.encode(x)
    decoded = [model.decode(latents, levels + 1) for levels in range(len(model.levels))]
    return joined([resized(to_uint8(video[0]), side) for video in (x, *decoded)], 2)


def resized(frames: np.ndarray, side: int) -> np.ndarray:
    pictures = [Image.fromarray(f).resize((side, side), Image.Resampling.LANCZOS) for f in frames]
    return np.stack([np.asarray(picture) for picture in pictures])


def headings(model: stlatent.Ladder) -> list[str]:
    count = len(model.levels)
    between = [f"levels 0-{k}" for k in range(1, count - 1)]
    return ["original", "level 0", *between, "all levels"]


def with_headings(frames: np.ndarray, words: Sequence[str]) -> np.ndarray:
    """A white line of words above uint8 `[T, H, W, 3]`, one above each column."""
    line = Image.new("RGB", (frames.shape[2], HEADING), "white")
    draw, font = ImageDraw.Draw(line), ImageFont.load_default(14)
    for k, word in enumerate(words):
        middle = (k + 0.5) * frames.shape[2] / len(words)
        draw.text((middle, HEADING / 2), word, fill="black", font=font, anchor="mm")
    above = np.broadcast_to(np.asarray(line), (len(frames), *np.asarray(line).shape))
    return np.concatenate([above, frames], 1)


def joined(parts: Sequence[np.ndarray], axis: int) -> np.ndarray:
    """Pictures `[T, H, W, 3]` side by side (axis 2) or one below the other (axis 1), with white
    between; as long as the shortest."""
    length = min(len(part) for part in parts)
    gap = np.full([GAP if i == axis else n for i, n in enumerate(parts[0].shape)], 255, np.uint8)
    spaced = [part[:length] for one in parts for part in (gap, one)][1:]
    return np.concatenate(spaced, axis)


if __name__ == "__main__":
    raise SystemExit(main())
