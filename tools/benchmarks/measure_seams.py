"""What encoding and decoding in overlapping tiles changes, and where: `stlatent encode --tile`.

python tools/benchmarks/measure_seams.py VIDEO --tile 256

The first frames of a video that is larger than a tile are encoded and decoded, whole and in tiles,
and compared with the source: where tiles overlap, and elsewhere.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

import stlatent
from stlatent.cli.outcome import command
from stlatent.files import replace_text
from stlatent.media.coder import TiledDecoder, TiledEncoder
from stlatent.media.tiles import check_side
from stlatent.media.video.pixels import to_uint8
from stlatent.media.video.readers import VideoReader
from stlatent.model.device import autocast


@torch.inference_mode()
def measure(model: stlatent.Ladder, x: np.ndarray, tile: int) -> dict[str, object]:
    """Figures for frames `x` uint8 `[T, H, W, 3]`."""
    size = x.shape[1:3]
    unit = model.domain.of_space(model.levels[0].stride)
    tiling = TiledEncoder(model, size, tile=check_side(tile, unit)).tiling
    if len(tiling.tiles) == 1:
        raise ValueError(
            f"frames of {size[0]}x{size[1]} are one tile of {tile}; give a smaller one"
        )
    with autocast(next(model.parameters()).device, "fp32"):
        whole, tiled = encoded(model, x, None), encoded(model, x, tile)
        errors = [((a - b).square().mean().sqrt() / a.std()).item() for a, b in zip(whole, tiled)]
        overlaps = np.zeros(size, int)
        for one in tiling.tiles:
            overlaps[one.slices] += 1
        figures = {
            "size": [len(x), *size],
            "tile": tile,
            "tiles": len(tiling.tiles),
            "latent_rms_error_in_std": errors,
        }
        for way, codes, shown in (
            ("whole", whole, None),
            ("encoded_in_tiles", tiled, None),
            ("decoded_in_tiles", whole, tile),
            ("both_in_tiles", tiled, tile),
        ):
            frames = to_uint8(TiledDecoder(model, size, tile=shown).push(codes)[0])[: len(x)]
            error = np.square(frames.astype(float) - x).mean((0, 3))
            figures[way] = {
                "psnr_db": psnr_db(error),
                "psnr_db_in_overlaps": psnr_db(error[overlaps > 1]),
                "psnr_db_elsewhere": psnr_db(error[overlaps == 1]),
            }
    return figures


def encoded(model: stlatent.Ladder, x: np.ndarray, tile: int | None) -> list[torch.Tensor]:
    """Latents per level."""
    encoder, frames = TiledEncoder(model, x.shape[1:3], tile=tile), torch.from_numpy(x)[None]
    frames = frames.movedim(-1, 1)
    parts = [codes for codes in (encoder.push(frames), encoder.end()) if codes]
    return [torch.cat([code.latents for code in pieces], 2) for pieces in zip(*parts)]


def psnr_db(squared_error: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / squared_error.mean()))


@command("measure_seams")
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("--model", default="video", help="shipped, a run folder or a file (video)")
    parser.add_argument("--frames", type=int, default=9)
    parser.add_argument("--tile", type=int, default=256, help="side of a tile in pixels (256)")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args(arguments)
    with VideoReader(options.video) as reader:
        x = reader.read(range(min(options.frames, reader.frames)))
    figures = measure(stlatent.load(options.model), x, options.tile)
    text = json.dumps(figures, indent=1)
    print(text)
    if options.out:
        replace_text(options.out, text)


if __name__ == "__main__":
    raise SystemExit(main())
