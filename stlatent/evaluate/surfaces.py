"""Surfaces on the page of a report, to be turned: `tools/viewer/viewer.js` shows them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files

import numpy as np
from torch import Tensor

from ..geometry.cube import Placement
from ..geometry.extract import mesh_from_field
from ..geometry.field import Field
from ..media.base import Medium

VIEWER = "viewer.min.js"  # bundled with three.js by tools/viewer/build.sh
STEPS = 2**16 - 1  # of a coordinate: 1/500 of a voxel of 128
MOST_FACES = 200_000  # of one surface; one with more is not shown


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
    fields = {label: medium.field(y) for label, y in kept.items()}
    return None if None in fields.values() else surfaces(fields)


def surfaces(fields: Mapping[str, Field]) -> Surfaces:
    """The surfaces of fields by label, as they lie in the cube."""
    packed = [_packed(replace(field, placement=Placement())) for field in fields.values()]
    return Surfaces(tuple(fields), json.dumps(packed, separators=(",", ":")))


def _packed(field: Field) -> dict[str, str | None]:
    mesh = mesh_from_field(field)
    if len(mesh.faces) > MOST_FACES:
        mesh.update_faces(np.zeros(len(mesh.faces), bool))
    places = np.clip((mesh.vertices + 1) / 2, 0, 1) * STEPS
    colours = None
    if field.known.any() and len(mesh.faces):
        colours = _text(np.asarray(mesh.visual.vertex_colors)[:, :3].astype("u1"))
    vertices, faces = np.round(places).astype("<u2"), np.asarray(mesh.faces, "<u4")
    return {"vertices": _text(vertices), "faces": _text(faces), "colours": colours}


def _text(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
