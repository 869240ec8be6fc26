"""A data set of multi-level latents -> meshes, from any prefix of the levels."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
import trimesh
from tqdm import tqdm

from .. import choose as choosing
from ..choose import Choose
from ..geometry import Field, mesh_from_field, mesh_from_function, write_mesh
from ..geometry.write import WRITABLE
from ..ladder import Ladder
from .decode import check_model, outputs
from .device import autocast
from .shapes import decode_shape
from .store import LatentStore
from .video_writer import check_outputs

MESH_FORMATS = tuple(suffix.removeprefix(".") for suffix in WRITABLE)

log = logging.getLogger(__name__)


def decode_meshes(
    model: Ladder,
    store: LatentStore,
    out: str | Path,
    levels: int | None = None,
    format: str = "glb",
    resolution: int | None = None,
    draw: Choose = choosing.mean,
    precision: str | None = None,
    replace: bool = False,
) -> list[Path]:
    """Decode every item of a data set from its first `levels` levels (all by default) to a mesh.

    Each comes at its asset's own place, scale and axes, with colours of its vertices where the
    model has them. Names and sub-folders are those of the sources. A shape of which nothing is
    inside is named in the log and left out.

    Args:
        format: `glb`, `obj` or `ply`.
        resolution: voxels per edge at which the surface is taken; None is the model's own. More
            make it smoother, between the same voxels.

    Returns:
        The files made, in the order of the items.

    Raises:
        ValueError: the latents come from another model, there are not so many levels, or an output
            file exists and `replace` is not given.
    """
    check_model(model, store)
    kept = store.check_levels(levels)
    targets = outputs(store, Path(out), lambda _: mesh_suffix(format))
    check_outputs([path for _, path in targets], replace)
    device = next(model.parameters()).device

    def fields() -> Iterator[tuple[Field, Path]]:
        for item, path in targets:
            yield decode_shape(model, store, item, kept, draw), path

    with torch.inference_mode(), autocast(device, precision):
        return write_fields(tqdm(fields(), total=len(targets), disable=None), resolution)


def write_fields(fields: Iterable[tuple[Field, Path]], resolution: int | None = None) -> list[Path]:
    """Write the surfaces of fields as mesh files, at another resolution if asked; those made."""
    made = []
    for field, path in fields:
        mesh = surface_mesh(field, resolution)
        if len(mesh.faces):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_mesh(mesh, path)
            made.append(path)
        else:
            log.warning("left out %s: nothing of it is inside", path.name)
    return made


def surface_mesh(field: Field, resolution: int | None = None) -> trimesh.Trimesh:
    """The surface of a field, taken at `resolution` voxels per edge of the cube (None: its own)."""
    if resolution is None:
        return mesh_from_field(field)
    colour_at = field.colour_at if field.known.any() else None
    return mesh_from_function(field.distance_at, resolution, field.placement, colour_at)


def mesh_suffix(format: str) -> str:
    """What the name of a mesh ends in; ValueError where there is no such format."""
    if format not in MESH_FORMATS:
        raise ValueError(f"format is '{format}'; meshes can be {', '.join(MESH_FORMATS)}")
    return f".{format}"
