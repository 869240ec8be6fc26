"""What a sparse ladder costs by resolution, beside a dense one:

    python tools/benchmarks/benchmark_sparse.py MESH --resolutions 64 128 256 512 --out sparse.json
    python tools/benchmarks/benchmark_sparse.py MESH --dense 64 128 --training 256

Seconds of the processor, on one core, and GiB at the peak above what was there before; every row is
a process of its own. Weights are new ones: time and memory do not depend on what they are, and all
levels are decoded in the cells that the input has, which training would have marked. A mesh of
fewer than --faces faces is subdivided first.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import trimesh

from stlatent.checkpoint import build
from stlatent.cli.outcome import command
from stlatent.files import replace_text
from stlatent.geometry import (
    FieldSettings,
    Surface,
    band_from_surface,
    field_from_surface,
    mesh_from_band,
    mesh_from_field,
    read_surface,
    surface_of,
    write_mesh,
)
from stlatent.geometry.values import Values
from stlatent.losses.elbo import LossConfig
from stlatent.media.shape.near import band_of, blocks_of
from stlatent.model.config import load
from stlatent.shipped import locate_config
from stlatent.train.config import RunConfig
from stlatent.train.sparse import sparse_loss
from stlatent.train.task import Moment

Row = dict[str, Any]


class Clock:
    """Seconds of the processor by what they were spent on."""

    def __init__(self) -> None:
        self.seconds: Row = {}

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        start = time.process_time()
        yield
        self.seconds[f"{what}_s"] = round(time.process_time() - start, 2)


def sparse(surface: Surface, resolution: int, clock: Clock) -> Row:
    """There and back through `shape/sparse`."""
    config = load(RunConfig, locate_config("shape/sparse")).model
    model = build(config).eval()
    with clock("field"):
        band = band_from_surface(surface, FieldSettings(resolution=resolution))
        x = blocks_of(band, model.block)
    with clock("encode"):
        latents = model.encode(x)
    with clock("decode"):
        decoded = model.decode(latents)
    with clock("mesh"):
        mesh = mesh_from_band(band_of(decoded, band.band_voxels, band.placement))
        faces = _written(mesh)
    numbers = {"numbers": latents.numel, "cells": [len(z) for z in latents.levels]}
    return {"blocks": len(x.values), "faces": faces, **numbers}


def dense(surface: Surface, resolution: int, clock: Clock) -> Row:
    """There and back through `shape/voxel`."""
    config = load(RunConfig, locate_config("shape/voxel")).model
    model, values = build(config).eval(), Values.of(config)
    with clock("field"):
        field = field_from_surface(surface, FieldSettings(resolution=resolution))
        x = values.from_field(field)[None]
    with clock("encode"):
        latents = model.encode(x)
    with clock("decode"):
        decoded = model.decode(latents)
    with clock("mesh"):
        mesh = mesh_from_field(values.to_field(decoded[0], field.band_voxels, field.placement))
        faces = _written(mesh)
    return {"blocks": (resolution // 8) ** 3, "faces": faces, "numbers": latents.numel}


def training(surface: Surface, resolution: int, clock: Clock) -> Row:
    """A step of `shape/sparse` on one shape, cut to a prefix once more in expectation."""
    run = load(RunConfig, locate_config("shape/sparse"))
    model = build(run.model).train().requires_grad_(True)
    with clock("field"):
        band = band_from_surface(surface, FieldSettings(resolution=resolution))
        x = blocks_of(band, model.block)
    with clock("step"), torch.enable_grad():
        at = Moment(0, 0.0, torch.Generator().manual_seed(0))
        sparse_loss(model, x, LossConfig(), at).total.backward()
    return {"blocks": len(x.values)}


WAYS: dict[str, Callable[[Surface, int, Clock], Row]] = {
    "sparse": sparse,
    "dense": dense,
    "training": training,
}


def _written(mesh: trimesh.Trimesh) -> int:
    """Writes a mesh as people get it; its faces."""
    with TemporaryDirectory() as folder:
        write_mesh(mesh, Path(folder) / "mesh.glb")
    return len(mesh.faces)


def cost(way: str, path: Path, least: int, resolution: int) -> Row:
    """One row, in a process that does nothing else."""
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    surface = read_surface(path)
    while len(surface.faces) < least:
        mesh = trimesh.Trimesh(surface.vertices, surface.faces, process=False)
        surface = surface_of(mesh.subdivide())
    clock, before = Clock(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    row = WAYS[way](surface, resolution, clock)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read = {"faces_read": len(surface.faces), "gib": round((peak - before) / 2**20, 3)}
    return {"way": way, "resolution": resolution, **clock.seconds, **read, **row}


@command("benchmark_sparse")
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("mesh", type=Path)
    parser.add_argument("--faces", type=int, default=100_000, help="that it has at least (100,000)")
    parser.add_argument("--resolutions", type=int, nargs="*", default=[64, 128, 256, 512])
    parser.add_argument("--dense", type=int, nargs="*", default=[64, 128])
    parser.add_argument("--training", type=int, nargs="*", default=[64, 128, 256])
    parser.add_argument("--out", type=Path, help="a .json file for all figures")
    args = parser.parse_args(arguments)
    rows, context = [], multiprocessing.get_context("spawn")
    asked = {"sparse": args.resolutions, "dense": args.dense, "training": args.training}
    for way, resolutions in asked.items():
        for resolution in resolutions:
            with ProcessPoolExecutor(1, context) as pool:
                work = pool.submit(cost, way, args.mesh, args.faces, resolution)
                rows.append(work.result())
            print(" ".join(f"{name}={value}" for name, value in rows[-1].items()), flush=True)
            if args.out:
                replace_text(args.out, json.dumps(rows, indent=1))


if __name__ == "__main__":
    raise SystemExit(main())
