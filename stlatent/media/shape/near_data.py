"""Training on shapes near their surface only, domain `sparse`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...geometry.cache import BandCache
from ...geometry.read import MESH_SUFFIXES
from ...model.config import ModelConfig
from ...sparse.blocks import Blocks, joined
from ...triplane.planes import symmetries
from ..training import SampleRead, SampleReads, TrainingSet
from .data import AS_IT_IS, ShapeDataset, find_shapes
from .near import block_shape, blocks_of, turned
from .training import ShapeData, held_out


class BandDataset(ShapeDataset):
    """The same of meshes alone, as `Blocks` of `side` voxels per edge, with or without colours.

    Args:
        files, variants, symmetries, seed: see `ShapeDataset`.
        cache: of the meshes' bands.
    """

    def __init__(
        self,
        files: dict[str, Path],
        cache: BandCache,
        side: int,
        coloured: bool,
        variants: int = 1,
        symmetries: Sequence[tuple[str, ...]] = AS_IT_IS,
        seed: int = 0,
    ) -> None:
        self.side, self.coloured = side, coloured
        super().__init__(files, cache, None, variants, symmetries, seed=seed)

    def _shape(self, source: Path, index: int, rng: np.random.Generator) -> Blocks:
        variant = int(rng.integers(self.variants))
        axes = self.symmetries[rng.integers(len(self.symmetries))]
        band = self.cache.open(source, variant)
        return turned(blocks_of(band, self.side, self.coloured), axes)


def collate(reads: Sequence[SampleRead]) -> SampleReads:
    """Shapes of any number of blocks as a batch."""
    failed = {name: why for one in reads for name, why in one.failed}
    return SampleReads(joined([one.values for one in reads]), failed)


def training_set(model: ModelConfig, data: ShapeData, seed: int) -> TrainingSet:
    """Random variants of the meshes in a folder, held-out ones as they are.

    Raises:
        ValueError: a folder is missing or holds no meshes, or a held-out one cannot be read.
    """
    cache = BandCache(data.cache.expanduser(), data.fields)
    side, coloured = block_shape(model)

    def dataset(files: dict[str, Path]) -> BandDataset:
        shown = symmetries(data.upright) if data.turned else AS_IT_IS
        return BandDataset(files, cache, side, coloured, data.variants, shown, seed)

    files = _meshes(data.root)
    held, bad = held_out(data, files, cache)
    kinds = {"shapes": dataset({n: p for n, p in files.items() if n not in {*held, *bad}})}
    if data.more is not None:
        kinds["more"] = dataset(_meshes(data.more))
    return TrainingSet(
        kinds=kinds,
        reads=dict.fromkeys(kinds, data.batch_size),
        share=data.more_share,
        held_out={name: blocks_of(band, side, coloured) for name, band in held.items()},
        bad=bad,
        collate=collate,
    )


def _meshes(root: Path) -> dict[str, Path]:
    found = find_shapes(root)
    meshes = {name: path for name, path in found.items() if path.suffix.lower() in MESH_SUFFIXES}
    if not meshes:
        raise ValueError(
            f"{root} holds {len(found)} volumes and no mesh; a sparse model is trained on meshes"
        )
    return meshes
