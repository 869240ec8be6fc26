"""What prefixes of a ladder keep of a scan, beside the same count of numbers from a smaller scan.

    python tools/studies/study_scans.py mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz --out DIR

Trains `configs/volumes/scan.yaml` on the left half of a head (of the first axis) and measures on
the right half, which it never saw; heads are about symmetric, so this says how well it codes such
tissue, not how well it does for other people. The file above is the T1 template that the package
`nilearn` ships (ICBM 152, 197 x 233 x 189 at 1 mm).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

import stlatent
from stlatent.cli.outcome import command
from stlatent.files import replace_text
from stlatent.jobs.decode import decode_store
from stlatent.jobs.encode import encode_folder
from stlatent.media.metrics import psnr
from stlatent.media.volumes.child import open_volumes
from stlatent.media.volumes.scans import write_nifti
from stlatent.shipped import shipped_configs
from stlatent.store.reader import LatentStore
from stlatent.train import run

HELD = "right.nii.gz"


@command("study_scans")
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scan", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("settings", nargs="*", help="key=value, of the run")
    parser.add_argument("--minutes", type=float, default=10.0, help="of training")
    options = parser.parse_args(arguments)
    halves, out = options.out / "halves", options.out
    size = cut(options.scan, halves)
    settings = [f"data.root={halves}", f"out={out / 'run'}", f"minutes={options.minutes}"]
    settings += [f"data.validation={{names: [{HELD}], frames: 1, crop: 64, every: 500}}"]
    run(shipped_configs()["volumes/scan"], [*settings, "tracker=null", *options.settings])
    figures = measure(stlatent.load(out / "run"), halves, out) | {"size": size}
    replace_text(out / "figures.json", json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


def cut(path: Path, halves: Path) -> list[int]:
    """Write both halves of a scan; its size."""
    scan = open_volumes(path)
    middle = scan.shape[1] // 2
    for name, x in (("left.nii.gz", slice(0, middle)), (HELD, slice(middle, None))):
        values = scan.read(0, 1, (x, slice(None), slice(None)))
        write_nifti(halves / name, [values], values.shape[:4], scan.affine, None)
    return list(scan.shape[1:4])


@torch.no_grad()
def measure(model: stlatent.Ladder, halves: Path, out: Path) -> dict[str, object]:
    """PSNR in dB over the range of the held-out half, of every prefix and of smaller scans."""
    began = time.monotonic()
    encode_folder(model, halves, out / "latents", str(out / "run"), replace=True)
    seconds = time.monotonic() - began
    store = LatentStore(out / "latents", model)
    values = open_volumes(halves / HELD).read(0, 1)[0, ..., 0]
    low, high = values.min(), values.max()
    x = unit(values, low, high)
    rows, pictures, numbers = [], [x], 0
    for level, grid in enumerate(store.items[HELD].grids):
        numbers += store.header.levels[level].channels * int(np.prod(grid))
        decoded = out / f"levels_{level + 1}"
        decode_store(model, store, decoded, levels=level + 1, replace=True)
        y = unit(open_volumes(decoded / HELD).read(0, 1)[0, ..., 0], low, high)
        small = smaller(x, numbers)
        bits = float(store.items[HELD].bits[level])
        rows.append(
            {
                "levels": level + 1,
                "numbers": numbers,
                "voxels_per_number": x.numel() / numbers,
                "level_bits_per_voxel": bits / x.numel(),
                "psnr_db": float(psnr(x, y)),
                "smaller_scan_psnr_db": float(psnr(x, small)),
            }
        )
        pictures.append(y)
    middle = [p[0, 0, 0, :, :, p.shape[-1] // 2].T.flip(0) for p in pictures]
    pixels = ((torch.cat(middle, 1) + 1) * 127.5).round().clamp(0, 255).byte().numpy()
    Image.fromarray(pixels).save(out / "slices.png")
    return {"rows": rows, "encode_seconds_both_halves": seconds}


def unit(values: np.ndarray, low: float, high: float) -> Tensor:
    """`[X, Y, Z]` -> `[1, 1, 1, X, Y, Z]` in [-1, 1] by a range."""
    x = torch.from_numpy(values)[None, None, None]
    return (2 * (x - low) / (high - low) - 1).clamp(-1, 1)


def smaller(x: Tensor, numbers: int) -> Tensor:
    """`[1, 1, 1, X, Y, Z]` averaged to about so many voxels, and interpolated linearly again."""
    volume, share = x[0], (numbers / x.numel()) ** (1 / 3)
    size = [max(1, round(n * share)) for n in volume.shape[2:]]
    small = F.interpolate(volume, size, mode="area")
    return F.interpolate(small, volume.shape[2:], mode="trilinear", align_corners=False)[None]


if __name__ == "__main__":
    raise SystemExit(main())
