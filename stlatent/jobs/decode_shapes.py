"""A data set of multi-level latents -> meshes, from any prefix of the levels."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from tqdm import tqdm

from ..checkpoint import Model
from ..geometry.write import WRITABLE, write_mesh
from ..model import choose as choosing
from ..model.choose import Choose
from ..store.reader import LatentStore
from .decode import planned
from .device import autocast
from .shapes import DecodedShape, decode_shape

MESH_FORMATS = tuple(suffix.removeprefix(".") for suffix in WRITABLE)

log = logging.getLogger(__name__)


def decode_meshes(
    model: Model,
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
            make it smoother, between the same voxels; a model of triplanes has a field to tell of
            at any resolution.

    Returns:
        The files made, in the order of the items.

    Raises:
        ValueError: the latents come from another model, there are not so many levels, or an output
            file exists and `replace` is not given.
    """
    kept, targets = planned(model, store, out, levels, lambda _: mesh_suffix(format), replace)
    device = next(model.parameters()).device

    def shapes() -> Iterator[tuple[DecodedShape, Path]]:
        for item, path in targets:
            yield decode_shape(model, store, item, kept, draw), path

    with torch.inference_mode(), autocast(device, precision):
        return write_shapes(tqdm(shapes(), total=len(targets), disable=None), resolution)


def write_shapes(
    shapes: Iterable[tuple[DecodedShape, Path]], resolution: int | None = None
) -> list[Path]:
    """Write the surfaces of shapes as mesh files, at another resolution if asked; those made."""
    made = []
    for shape, path in shapes:
        mesh = shape.mesh(resolution)
        if len(mesh.faces):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_mesh(mesh, path)
            made.append(path)
        else:
            log.warning("left out %s: nothing of it is inside", path.name)
    return made


def mesh_suffix(format: str) -> str:
    """What the name of a mesh ends in; ValueError where there is no such format."""
    if format not in MESH_FORMATS:
        raise ValueError(f"format is '{format}'; meshes can be {', '.join(MESH_FORMATS)}")
    return f".{format}"
