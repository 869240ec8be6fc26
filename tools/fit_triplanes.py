"""Fit triplanes to a folder of meshes, with one decoder that they share.

    python tools/fit_triplanes.py meshes --out planes

Writes `NAME.npy` `[3, C, n, n]` for each mesh (of `a.obj`: `a.obj.npy`), and `decoder.safetensors`,
which turns such planes into distance and colour at any point. The decoder learns on the first
`--shared` meshes; the planes of all meshes are then fitted to it one at a time, so memory does not
grow with the folder.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from stlatent.checkpoint import load_decoder, save_decoder
from stlatent.cli.outcome import command
from stlatent.geometry import (
    MESH_SUFFIXES,
    BadMeshError,
    Field,
    FieldCache,
    FieldSettings,
    volume_iou,
)
from stlatent.geometry.values import Values
from stlatent.media.planes.data import write_planes
from stlatent.model.config import DecoderConfig
from stlatent.train.fit_planes import PlaneFitter
from stlatent.triplane.fields import on_grid


@command("fit_triplanes")
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("meshes", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--resolution", type=int, default=64, help="voxels per edge of a field")
    parser.add_argument("--stride", type=int, default=1, help="voxels per sample of a plane")
    parser.add_argument("--channels", type=int, default=24, help="of the planes")
    parser.add_argument("--colour", action="store_true", help="planes hold colours as well")
    parser.add_argument("--shared", type=int, default=16, help="meshes that the decoder learns on")
    parser.add_argument("--steps", type=int, default=300, help="of each fit")
    parser.add_argument("--decoder", type=Path, help="fit to this one, and learn none")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    torch.manual_seed(options.seed)
    files = sorted(f for f in options.meshes.rglob("*") if f.suffix.lower() in MESH_SUFFIXES)
    if not files:
        raise ValueError(f"{options.meshes} holds no mesh ({' '.join(MESH_SUFFIXES)})")
    if options.out.exists() and any(options.out.iterdir()):
        raise ValueError(f"{options.out} is not empty; give another folder")
    cache = FieldCache(options.out / ".fields", FieldSettings(resolution=options.resolution))
    config = DecoderConfig(channels=4 if options.colour else 1)
    values = Values(coloured=options.colour, occupancy=False)
    fitter = PlaneFitter(options.channels, config, options.stride)
    if options.decoder:
        fitter.decoder = load_decoder(options.decoder)
    else:
        shared = [values.from_field(field) for _, field in fields(files[: options.shared], cache)]
        fitter.share(torch.stack(shared), options.steps * len(shared) // 2)
        save_decoder(fitter.decoder, options.out / "decoder.safetensors")
    ious = []
    for file, field in fields(files, cache):
        planes = fitter.fit(values.from_field(field)[None], options.steps)
        name = f"{file.relative_to(options.meshes).as_posix()}.npy"
        (options.out / name).parent.mkdir(parents=True, exist_ok=True)
        write_planes(options.out / name, planes[0])
        fitted = on_grid(fitter.decoder, planes, options.resolution)[0, 0].numpy()
        ious.append(volume_iou(field.distance, fitted))
        print(f"{name}: volume IoU {ious[-1]:.4f}", flush=True)
    print(f"{len(ious)} of {len(files)} meshes, mean volume IoU {np.mean(ious):.4f}")


def fields(files: Sequence[Path], cache: FieldCache) -> Iterator[tuple[Path, Field]]:
    """The fields of all meshes that can be read."""
    for file in files:
        try:
            yield file, cache.open(file)
        except BadMeshError as error:
            print(f"skipped {error}")


if __name__ == "__main__":
    raise SystemExit(main())
