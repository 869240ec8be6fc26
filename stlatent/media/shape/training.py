"""Training on shapes, by domain `voxel` or through triplanes."""

from __future__ import annotations

from pathlib import Path

from ...geometry.cache import Cache, FieldCache, Made
from ...geometry.cube import Axes
from ...geometry.field import FieldSettings
from ...geometry.read import MESH_SUFFIXES, BadMeshError
from ...geometry.values import Values
from ...losses.elbo import Share
from ...model.config import ModelConfig, Positive
from ...model.domain import Domain
from ...triplane.planes import symmetries
from ..training import DataConfig, TrainingSet
from .data import (
    AS_IT_IS,
    ShapeDataset,
    find_shapes,
    held_out_shapes,
)


class ShapeData(DataConfig):
    """How shapes are varied, of meshes and of volumes (`.npy`, `.npz`, many shapes each).

    Attributes:
        more: a second folder, as `root` is one.
        more_share: part of the batches that come from it.
        volume_axes: the direction in a volume's asset along which each of its axes runs, such as
            `[x, -z, y]` where the last axis points up.
        fields: what a mesh is turned into; volumes are brought to the same resolution.
        variants: shapes made of each mesh, itself and others that are stretched, bent and turned.
        turned: whether each shape is shown in a random turn and reflection of the cube; false where
            all face the same way, and shapes that are drawn should too.
        upright: whether only those turns and reflections are shown that keep y up.
        cache: folder that keeps the fields of meshes; `~` is the user's home.
    """

    more: Path | None = None
    more_share: Share = 0.2
    volume_axes: Axes = ("x", "y", "z")
    fields: FieldSettings = FieldSettings(resolution=64)
    variants: Positive = 8
    turned: bool = True
    upright: bool = False
    cache: Path = Path("~/.cache/stlatent/fields")

    def size(self, domain: Domain) -> tuple[int, ...]:
        """Axes of one sample."""
        return (self.fields.resolution,) * len(domain.axes)


def training_set(model: ModelConfig, data: ShapeData, seed: int) -> TrainingSet:
    """Random variants of the shapes in a folder, held-out ones as they are.

    Raises:
        ValueError: a folder is missing or holds no shapes, or a held-out one cannot be read.
    """
    values, cache = Values.of(model), FieldCache(data.cache.expanduser(), data.fields)

    def dataset(files: dict[str, Path]) -> ShapeDataset:
        turned = symmetries(data.upright) if data.turned else AS_IT_IS
        return ShapeDataset(files, cache, values, data.variants, turned, data.volume_axes, seed)

    files = find_shapes(data.root)
    held, bad = held_out(data, files, cache)
    left = {n: p for n, p in files.items() if n not in held and n not in bad}
    kinds = {"shapes": dataset(left)}
    if data.more is not None:
        kinds["more"] = dataset(find_shapes(data.more))
    return TrainingSet(
        kinds=kinds,
        reads=dict.fromkeys(kinds, data.batch_size),
        share=data.more_share,
        held_out={n: values.from_field(field)[None] for n, field in held.items()},
        bad=bad | {name: why for kind in kinds.values() for name, why in kind.bad.items()},
    )


def held_out(
    data: ShapeData, files: dict[str, Path], cache: Cache[Made]
) -> tuple[dict[str, Made], dict[str, str]]:
    """What is made of the meshes that are held out, and why of others nothing can be."""
    if data.validation.names:
        return held_out_shapes(files, data.validation.names, cache, data.root), {}
    held, bad = {}, {}
    left = [name for name, path in files.items() if path.suffix.lower() in MESH_SUFFIXES]
    while not held and (names := data.validation.chosen(left)):
        for name in names:
            try:
                held[name] = cache.open(files[name])
            except BadMeshError as error:
                bad[name] = error.reason
        left = [name for name in left if name not in bad]
    return held, bad
