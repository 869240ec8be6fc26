"""The picture of the README: one frame of each clip, as it is and as every prefix decodes it.

python tools/make_picture.py assets/clips --model video --out assets/levels.png
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import stlatent
from stlatent.cli.outcome import command
from stlatent.media.video.clips import centre_clip
from stlatent.media.video.files import find_sources
from stlatent.media.video.pixels import to_uint8

GAP = 6  # white pixels between pictures


@command("make_picture")
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=Path)
    parser.add_argument("--model", default="video")
    parser.add_argument("--frames", type=int, default=33)
    parser.add_argument("--size", type=int, default=256, help="side of the central crop")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)

    model = stlatent.load(options.model)
    size = (options.frames, options.size, options.size)
    columns = [column(model, source.path, size) for source in find_sources(options.clips)]
    Image.fromarray(joined(columns, 1)).save(options.out)


@torch.inference_mode()
def column(model: stlatent.Ladder, path: Path, size: tuple[int, int, int]) -> np.ndarray:
    """Original, level 0, levels 0-1, ... of the clip's last frame, one below the other."""
    x, _ = centre_clip(path, size)
    latents = model.encode(x)
    decoded = [model.decode(latents, levels + 1) for levels in range(len(model.levels))]
    return joined([to_uint8(video[0])[-1] for video in (x, *decoded)], 0)


def joined(pictures: Sequence[np.ndarray], axis: int) -> np.ndarray:
    """Pictures side by side (axis 1) or one below the other (axis 0), with white between."""
    gap = np.full([GAP if i == axis else n for i, n in enumerate(pictures[0].shape)], 255, np.uint8)
    spaced = [part for picture in pictures for part in (gap, picture)][1:]
    return np.concatenate(spaced, axis)


if __name__ == "__main__":
    raise SystemExit(main())
