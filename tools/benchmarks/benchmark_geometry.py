"""How exact, robust and fast meshes become fields and fields meshes:

    python tools/benchmarks/benchmark_geometry.py MESHES --out geometry.json
    python tools/benchmarks/benchmark_geometry.py MESHES --only closed --sheets pictures

For every mesh of a folder: the field it becomes, and how far the surface of that field lies from
the mesh, in voxels. Before that, on a torus of 50,176 faces: time, error of the distance against
a search over all faces, and the sign after faces were deleted or turned.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from PIL import Image

from stlatent.cli.outcome import command
from stlatent.files import replace_text
from stlatent.geometry import (
    MESH_SUFFIXES,
    BadMeshError,
    FieldSettings,
    Surface,
    compare_surfaces,
    contact_sheet,
    field_from_surface,
    mesh_from_field,
    mesh_from_function,
    read_surface,
    surface_of,
    turntable,
    volume_iou,
    voxel_centres,
    voxel_size,
    write_mesh,
)

Row = dict[str, Any]
TORUS = surface_of(trimesh.creation.torus(1.0, 0.4, major_sections=224, minor_sections=112))


def memory(resolution: int) -> Row:
    """Peak memory of a field that is decoded at a high resolution and written as glb."""

    def distance_at(points: np.ndarray) -> np.ndarray:
        return np.hypot(np.hypot(points[:, 0], points[:, 2]) - 0.55, points[:, 1]) - 0.3

    def colour_at(points: np.ndarray) -> np.ndarray:
        return np.sin(9 * points)

    before, start = peak_gib(), time.perf_counter()
    mesh = mesh_from_function(distance_at, resolution, None, colour_at)
    with tempfile.TemporaryDirectory() as folder:
        write_mesh(mesh, Path(folder) / "torus.glb")
    seconds = time.perf_counter() - start
    row = {"resolution": resolution, "faces": len(mesh.faces), "closed": mesh.is_watertight}
    return row | {"seconds": seconds, "gib_before": before, "gib_peak": peak_gib()}


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def speed(repeats: int = 3) -> Row:
    """Seconds for a field of 128 voxels per edge, by the clock and by the processors."""
    wall, cpu = [], []
    for _ in range(repeats):
        start, busy = time.perf_counter(), time.process_time()
        field_from_surface(TORUS, FieldSettings(resolution=128))
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - busy)
    load = os.getloadavg()[0]
    return {"faces": len(TORUS.faces), "seconds": wall, "cpu_seconds": cpu, "load": load}


def distance_error(points: int = 400) -> Row:
    """Largest error in the band, as a share of the cube's edge, against a search over all faces."""
    field = field_from_surface(TORUS, FieldSettings(resolution=128))
    band = np.flatnonzero(np.abs(field.distance) < 1)
    some = np.random.default_rng(0).choice(band, points, replace=False)
    centres = field.placement.to_asset(voxel_centres(field.distance.shape)[some])
    found = np.abs(field.distance.ravel()[some]) * field.band_voxels / 128
    exact = [brute_distance(point, TORUS.triangles) for point in centres]
    error = np.abs(found - np.array(exact) / (2 * field.placement.scale))
    return {"points": points, "largest": error.max(), "mean": error.mean()}


def brute_distance(point: np.ndarray, triangles: np.ndarray) -> float:
    """Distance from one point to the nearest of all triangles."""
    return float(
        np.linalg.norm(
            trimesh.triangles.closest_point(triangles, np.broadcast_to(point, (len(triangles), 3)))
            - point,
            axis=1,
        ).min()
    )


def damaged(surface: Surface, how: str) -> Surface:
    """The surface with 5 % of its faces deleted, or with 30 % of them turned."""
    chance = np.random.default_rng(0).random(len(surface.faces))
    if how == "holes":
        names = ("faces", "corners", "uv", "texture", "coloured")
        return replace(surface, **{name: getattr(surface, name)[chance > 0.05] for name in names})
    faces = np.where(chance[:, None] < 0.3, surface.faces[:, ::-1], surface.faces)
    if how == "soup":  # no face is joined to another one
        vertices = surface.vertices[faces].reshape(-1, 3)
        return replace(surface, vertices=vertices, faces=np.arange(len(vertices)).reshape(-1, 3))
    return replace(surface, faces=faces)


def sign_agreement(surface: Surface, resolution: int) -> Row:
    """Share of voxels whose sign damage does not change, and the IoU of what is inside."""
    settings = FieldSettings(resolution=resolution)
    clean = field_from_surface(surface, settings)
    agree = {}
    for how in ("holes", "flipped", "soup"):
        field = field_from_surface(damaged(surface, how), settings)
        agree[how] = float((field.inside == clean.inside).mean())
        agree[f"{how}_iou"] = volume_iou(field.distance, clean.distance)
    return agree


def round_trip(path: Path, resolution: int, signs: bool, sheets: Path | None) -> Row:
    """One mesh to a field and back."""
    row: Row = {"name": path.name}
    try:
        surface = read_surface(path)
    except BadMeshError as error:
        return row | {"refused": error.reason}
    busy = time.process_time()
    field = field_from_surface(surface, FieldSettings(resolution=resolution))
    row |= {"cpu_seconds": time.process_time() - busy} | field.route.model_dump()
    reference = trimesh.Trimesh(surface.vertices, surface.faces, process=False)
    back = mesh_from_field(field)
    voxel = voxel_size(field.distance.shape) * field.placement.scale
    distance = compare_surfaces(reference, back, [voxel])
    row |= {
        "faces": len(surface.faces),
        "closed": reference.is_watertight,
        "coloured": bool(field.known.any()),
        "chamfer_voxels": distance.chamfer / voxel,
        "f_score_1_voxel": distance.f_scores[voxel],
        "normal_consistency": distance.normal_consistency,
        "back_closed": back.is_watertight,
    }
    if signs and row["closed"]:
        row |= sign_agreement(surface, resolution // 2)
    if sheets:
        sheets.mkdir(parents=True, exist_ok=True)
        pictures = np.concatenate([turntable(shape, 6, 220) for shape in (surface, back)])
        Image.fromarray(contact_sheet(pictures, 6)).save(sheets / f"{path.stem}.png")
    return row


@command("benchmark_geometry")
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("meshes", type=Path, help="a folder of meshes")
    parser.add_argument("--resolution", type=int, default=128)
    parser.add_argument("--only", default="", help="meshes with this in their name")
    parser.add_argument("--signs", action="store_true", help="signs of damaged closed meshes too")
    parser.add_argument(
        "--sheets", type=Path, help="folder for pictures of each mesh and its field"
    )
    parser.add_argument("--out", type=Path, help="a .json file for all figures")
    args = parser.parse_args(arguments)

    report: Row = {"memory": memory(256), "speed": speed(), "distance_error": distance_error()}
    report["sign_agreement"] = sign_agreement(TORUS, 128)
    for name, figures in report.items():
        print(f"{name}: {figures}", flush=True)
    report["meshes"] = []
    for path in sorted(args.meshes.iterdir()):
        if path.suffix.lower() in MESH_SUFFIXES and args.only in path.name:
            row = round_trip(path, args.resolution, args.signs, args.sheets)
            report["meshes"].append(row)
            print(
                " ".join(f"{k}={v:.3g}" if isinstance(v, float) else f"{v}" for k, v in row.items())
            )
    closed = [row["chamfer_voxels"] for row in report["meshes"] if row.get("closed")]
    if closed:
        print(f"{len(closed)} closed meshes: chamfer up to {max(closed):.3f} voxels")
    if args.out:
        replace_text(args.out, json.dumps(report, indent=1))


if __name__ == "__main__":
    raise SystemExit(main())
