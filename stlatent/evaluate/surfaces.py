"""Surfaces on the page of a report, to be turned: `tools/viewer/viewer.js` shows them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from torch import Tensor
from trimesh import Trimesh

from ..media.base import Medium

VIEWER = "viewer.min.js"  # bundled with three.js by tools/viewer/build.sh
STEPS = 2**16 - 1  # of a coordinate: 1/500 of a voxel of 128
MOST_FACES = 60_000  # of one surface
FINEST = 256  # cells per edge of the cube whose vertices become one, where there are more


@dataclass(frozen=True)
class Surfaces:
    """Surfaces side by side.

    Attributes:
        labels: of each.
        content: what the viewer reads: JSON, a list of `vertices` (uint16, -1 to 1), `faces`
            (uint32) and `colours` of vertices (uint8) or null, little-endian and as base64.
    """

    labels: tuple[str, ...]
    content: str


def viewer() -> str:
    """The program of the page."""
    return (files(__package__) / VIEWER).read_text(encoding="utf-8")


def surfaces_of(medium: Medium, samples: Mapping[str, Tensor]) -> Surfaces | None:
    """Of samples `[1, C, *axes]` by label those that nothing was redrawn of, if they are shapes."""
    kept = {label: y for label, y in samples.items() if not label.endswith("redrawn")}
    meshes = {label: medium.surface(y) for label, y in kept.items()}
    return None if None in meshes.values() else surfaces(meshes)


def surfaces(meshes: Mapping[str, Trimesh]) -> Surfaces:
    """Surfaces by label, as they lie in the cube."""
    packed = [_packed(lighter(mesh)) for mesh in meshes.values()]
    return Surfaces(tuple(meshes), json.dumps(packed, separators=(",", ":")))


def lighter(mesh: Trimesh, most_faces: int = MOST_FACES) -> Trimesh:
    """A surface of the cube with at most so many faces: where it has more, all vertices in a cell
    of a grid become one, if they look the same way (the sides of a sheet stay two)."""
    side = FINEST
    while len(mesh.faces) > most_faces:
        cell = np.floor((mesh.vertices + 1) / 2 * side)
        key = np.concatenate([cell, mesh.vertex_normals > 0], 1)
        _, row = np.unique(key, axis=0, return_inverse=True)
        row = row.reshape(-1)
        coloured = mesh.visual.kind == "vertex"
        values = np.asarray(mesh.visual.vertex_colors) if coloured else key[:, :0]
        values = np.concatenate([mesh.vertices, values], 1)
        sums = [np.bincount(row, column) for column in values.T]
        values = (np.stack(sums) / np.bincount(row)).T
        _, once = np.unique(np.sort(row[mesh.faces], 1), axis=0, return_index=True)
        faces = row[mesh.faces[once]]
        faces = faces[(faces != np.roll(faces, 1, 1)).all(1)]
        colours = np.round(values[:, 3:]).astype(np.uint8) if coloured else None
        mesh = Trimesh(values[:, :3], faces, vertex_colors=colours, process=False)
        side //= 2
    return mesh


def _packed(mesh: Trimesh) -> dict[str, str | None]:
    places = np.clip((mesh.vertices + 1) / 2, 0, 1) * STEPS
    colours = None
    if mesh.visual.kind == "vertex":
        colours = _text(np.asarray(mesh.visual.vertex_colors)[:, :3].astype("u1"))
    vertices, faces = np.round(places).astype("<u2"), np.asarray(mesh.faces, "<u4")
    return {"vertices": _text(vertices), "faces": _text(faces), "colours": colours}


def _text(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
