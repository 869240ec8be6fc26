"""How close meshes come back from bands, and what bands cost beside whole fields:

    python tools/benchmarks/benchmark_bands.py ASSETS --names ASSETS/validation.txt --out bands.json
    python tools/benchmarks/benchmark_bands.py MESHES --growth cow.obj --resolutions 64 128 256 512

The first is the ceiling of every model that reads bands: the F-score at 1 % of the longest edge, of
points against surfaces, so that the number of points sets no ceiling of its own. The second needs a
process for every row, whose peak memory it is.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import trimesh

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
)
from stlatent.geometry.kernels import Nearest

Row = dict[str, Any]
THRESHOLDS = (0.01, 0.005, 0.002)  # of the longest edge
POINTS = 30_000


def through_band(surface: Surface, resolution: int) -> tuple[trimesh.Trimesh, Row]:
    start = time.process_time()
    band = band_from_surface(surface, FieldSettings(resolution=resolution))
    middle = time.process_time()
    mesh = mesh_from_band(band)
    seconds = {"band_s": middle - start, "mesh_s": time.process_time() - middle}
    return mesh, {"blocks": len(band.blocks), "sheets": band.route.sheets, **seconds}


def through_field(surface: Surface, resolution: int) -> tuple[trimesh.Trimesh, Row]:
    start = time.process_time()
    field = field_from_surface(surface, FieldSettings(resolution=resolution))
    middle = time.process_time()
    mesh = mesh_from_field(field)
    return mesh, {"field_s": middle - start, "mesh_s": time.process_time() - middle}


WAYS: dict[str, Callable[[Surface, int], tuple[trimesh.Trimesh, Row]]] = {
    "band": through_band,
    "field": through_field,
}


def scores(reference: trimesh.Trimesh, other: trimesh.Trimesh) -> Row:
    """F-scores by threshold, as shares of the longest edge of the reference."""
    if not len(other.faces):
        return {f"f_{t:.1%}": 0.0 for t in THRESHOLDS}
    edge = reference.extents.max()
    apart = [_apart(a, b) / edge for a, b in ((reference, other), (other, reference))]
    found = {}
    for t in THRESHOLDS:
        recall, precision = ((distance <= t).mean() for distance in apart)
        found[f"f_{t:.1%}"] = 2 * precision * recall / max(precision + recall, 1e-9)
    return found


def _apart(a: trimesh.Trimesh, b: trimesh.Trimesh) -> np.ndarray:
    points, _ = trimesh.sample.sample_surface(a, POINTS, seed=0)
    return Nearest(np.asarray(b.vertices), np.asarray(b.faces))(points)[0]


def round_trip(path: Path, resolution: int, way: str) -> Row:
    """One mesh there and back."""
    surface = read_surface(path)
    reference = trimesh.Trimesh(surface.vertices, surface.faces, process=False)
    mesh, row = WAYS[way](surface, resolution)
    row |= {"faces": len(mesh.faces), "closed": mesh.is_watertight}
    return {"way": way, "resolution": resolution, **row, **scores(reference, mesh)}


def cost(path: Path, resolution: int, way: str) -> Row:
    """Seconds of the processor and GiB at the peak, above what was there before."""
    surface = read_surface(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    mesh, row = WAYS[way](surface, resolution)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    row |= {"faces_read": len(surface.faces), "faces": len(mesh.faces)}
    return {"way": way, "resolution": resolution, **row, "gib": (peak - before) / 2**20}


def shown(row: Row) -> str:
    return " ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in row.items())


def growth(path: Path, resolutions: Sequence[int], ways: Sequence[str]) -> list[Row]:
    """What each resolution costs, in a new process each."""
    rows = []
    context = multiprocessing.get_context("spawn")
    for way in ways:
        for resolution in resolutions:
            with ProcessPoolExecutor(1, context) as pool:
                rows.append(pool.submit(cost, path, resolution, way).result())
            print(shown(rows[-1]), flush=True)
    return rows


def ceiling(paths: Sequence[Path], resolutions: Sequence[int], ways: Sequence[str]) -> list[Row]:
    """What each mesh loses on the way, and the means."""
    rows = []
    for path in paths:
        for way in ways:
            for resolution in resolutions:
                rows.append({"name": path.stem} | round_trip(path, resolution, way))
                print(shown(rows[-1]), flush=True)
    for way in ways:
        for resolution in resolutions:
            some = [r for r in rows if (r["way"], r["resolution"]) == (way, resolution)]
            mean = {f"f_{t:.1%}": np.mean([r[f"f_{t:.1%}"] for r in some]) for t in THRESHOLDS}
            print(shown({"mean_of": len(some), "way": way, "resolution": resolution, **mean}))
    return rows


@command("benchmark_bands")
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("meshes", type=Path, help="a folder of meshes")
    parser.add_argument("--names", type=Path, help="a file with the names of some, one a line")
    parser.add_argument("--count", type=int, default=24, help="of these, spread over all")
    parser.add_argument("--resolutions", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["band"])
    parser.add_argument("--growth", metavar="NAME", help="time and memory of this mesh instead")
    parser.add_argument("--out", type=Path, help="a .json file for all figures")
    args = parser.parse_args(arguments)
    if args.growth:
        rows = growth(args.meshes / args.growth, args.resolutions, args.ways)
    else:
        if args.names is None:
            raise ValueError("give --names, a file with the names of meshes, or --growth NAME")
        names = args.names.read_text().split("\n")
        paths = [args.meshes / name for name in names if name]
        few = min(args.count, len(paths))
        some = [paths[i * len(paths) // few] for i in range(few)]
        rows = ceiling(some, args.resolutions, args.ways)
    if args.out:
        replace_text(args.out, json.dumps(rows, indent=1))


if __name__ == "__main__":
    raise SystemExit(main())
