"""Draw from a model, with any of the levels taken from something real."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoint import Model
from ..geometry.read import MESH_SUFFIXES, BadMeshError, read_surface
from ..geometry.values import Values
from ..geometry.voxelise import field_from_surface
from ..media.shape.data import find_shapes
from ..media.video.clips import centre_clip
from ..media.video.files import UnreadableError
from .inputs import suitable_sources
from .shapes import shape_fields

log = logging.getLogger(__name__)


def centre_clips(
    model: Model, root: str | Path, size: Sequence[int], count: int
) -> Iterator[tuple[str, Tensor]]:
    """Names and beginnings of `count` files below `root`, spread evenly over all, for `model`.

    Files that cannot be read are left out and named in the log.

    Raises:
        ValueError: nothing that suits the model lies there.
    """
    sources = suitable_sources(model, root)
    count = min(count, len(sources))
    for source in (sources[i * len(sources) // count] for i in range(count)):
        try:
            clip, _ = centre_clip(source.path, size)
        except UnreadableError as error:
            log.warning("left out %s: %s", source.name, error.reason)
            continue
        yield source.name, clip if model.domain.causal is not None else clip[:, :, 0]


def spread_shapes(model: Model, root: str | Path, count: int) -> Iterator[tuple[str, Tensor]]:
    """Names and values `[1, C, X, Y, Z]` of `count` meshes below `root`, spread evenly over all.

    Files that cannot be read are left out and named in the log.

    Raises:
        ValueError: no meshes lie there.
    """
    values, files = Values.of(model.config), find_shapes(root)
    settings = shape_fields(model.config)
    meshes = [(n, p) for n, p in files.items() if p.suffix.lower() in MESH_SUFFIXES]
    if not meshes:
        raise ValueError(f"{root} holds volumes, but no mesh ({' '.join(MESH_SUFFIXES)})")
    count = min(count, len(meshes))
    for name, path in (meshes[i * len(meshes) // count] for i in range(count)):
        try:
            field = field_from_surface(read_surface(path), settings)
        except BadMeshError as error:
            log.warning("left out %s: %s", name, error.reason)
            continue
        yield name, values.from_field(field)[None]


def held_levels(model: Model, x: Tensor, keep: Sequence[int]) -> dict[int, Tensor]:
    """The levels `keep` of the latents of `x` `[1, C, *axes]`.

    Raises:
        ValueError: a level does not exist.
    """
    there = range(len(model.levels))
    if wrong := [k for k in keep if k not in there]:
        raise ValueError(f"level {wrong[0]} does not exist; the model has levels 0 to {there[-1]}")
    levels = model.encode(x.to(next(model.parameters()).device)).levels
    return {k: levels[k] for k in sorted({*keep})}


def draw_samples(
    model: Model,
    size: Sequence[int],
    count: int,
    held: Mapping[int, Tensor],
    temperature: float = 1.0,
    seed: int = 0,
) -> Iterator[Tensor]:
    """`count` draws `[C, *axes]`, one at a time, with the latents of some levels `held`.

    Args:
        size: along the axes of the model's domain.
        temperature: scales the standard deviation of every prior; 0 is its mean.

    Raises:
        ValueError: the temperature is below 0 or no number.
    """
    if not 0 <= temperature < math.inf:
        raise ValueError(f"temperature is {temperature:g}; give 0 (the prior's mean) or more")
    generator = torch.Generator(next(model.parameters()).device).manual_seed(seed)
    for _ in range(count):
        yield model.sample(size, 1, held, temperature, generator)[0]
