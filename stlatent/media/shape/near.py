"""Shapes near their surface only, as a sparse model reads and gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import trimesh

from ...geometry import offset
from ...geometry.band import BLOCK, Band
from ...geometry.cube import Placement
from ...geometry.extract import Values
from ...geometry.field import Field, Route
from ...geometry.offset import mesh_from_band
from ...geometry.values import by_surface
from ...model.config import ModelConfig
from ...sparse.blocks import Blocks
from ...triplane.planes import turn

OUTWARDS = 1.75  # voxels: sheets come back blunter than they are, see `geometry/offset.py`


def block_shape(model: ModelConfig) -> tuple[int, bool]:
    """Of the blocks that a model reads: voxels per edge, and whether they have colours."""
    return model.levels[-1].stride[0], model.channels > 1


def blocks_of(band: Band, side: int, coloured: bool = False) -> Blocks:
    """A band in blocks of `side` voxels per edge, see `Band.in_blocks`."""
    return as_blocks(*band.in_blocks(side, coloured), band.resolution)


def as_blocks(index: np.ndarray, values: np.ndarray, resolution: int) -> Blocks:
    """One shape, of blocks at `index` `[K, 3]`."""
    index = torch.from_numpy(np.insert(index.astype(np.int64), 0, 0, axis=1))
    return Blocks(index, torch.from_numpy(values), resolution)


def band_of(
    blocks: Blocks,
    band_voxels: float,
    placement: Placement | None = None,
    route: Route | None = None,
) -> Band:
    """The band that one shape's blocks are: colours are known near the surface, unless `route`
    says that the shape has none."""
    route = route or Route()
    factor, channels = blocks.side // BLOCK, blocks.channels
    values = blocks.values.detach().float().cpu().numpy()
    values = values.reshape(-1, channels, *(n for _ in range(3) for n in (factor, BLOCK)))
    values = values.transpose(0, 2, 4, 6, 3, 5, 7, 1).reshape(-1, *[BLOCK] * 3, channels)
    inside = np.indices((factor,) * 3).reshape(3, -1).T
    index = (blocks.index[:, None, 1:].cpu().numpy() * factor + inside).reshape(-1, 3)
    grid = (blocks.resolution // BLOCK,) * 3
    order = np.argsort(np.ravel_multi_index(index.T, grid))
    distance, pixels = np.ascontiguousarray(values[order, ..., 0]), values[order, ..., 1:]
    known = by_surface(distance, band_voxels) & (pixels != 0).any(-1) & route.coloured
    colour = np.zeros((*distance.shape, 3), np.uint8)
    if known.any():
        colour[known] = np.round((pixels[known] + 1) * 127.5)
    placement = placement or Placement()
    return Band(
        blocks.resolution, index[order], distance, colour, known, band_voxels, placement, route
    )


def turned(blocks: Blocks, axes: Sequence[str]) -> Blocks:
    """Shapes turned and mirrored as `turn_volume` does it with whole volumes."""
    order, mirrored = turn(axes)
    index, values = blocks.index[:, [0, *(1 + i for i in order)]], blocks.values
    values = values.permute(0, 1, *(2 + i for i in order))
    values = values.flip([2 + i for i in range(3) if mirrored[i]])
    last = blocks.resolution // blocks.side - 1
    for axis in range(3):
        if mirrored[axis]:
            index[:, 1 + axis] = last - index[:, 1 + axis]
    return Blocks.ordered(index, values.contiguous(), blocks.resolution, blocks.batch)


@dataclass(frozen=True)
class DecodedBlocks:
    """What a model has decoded of one shape, and where that lies.

    Attributes:
        decoded: its blocks.
        band_voxels, placement, route: of the band, see `Band`.
    """

    decoded: Blocks
    band_voxels: float
    placement: Placement | None = None
    route: Route | None = None

    def colours(self) -> Values:
        """See `DecodedShape.colours`."""
        return self.band().colour_at

    def band(self) -> Band:
        """On blocks near the surface."""
        return band_of(self.decoded, self.band_voxels, self.placement, self.route)

    def field(self) -> Field:
        """On the whole grid of voxels."""
        return self.band().field()

    def mesh(self, resolution: int | None = None) -> trimesh.Trimesh:
        """The surface in the asset's own coordinates, taken at `resolution` voxels per edge of the
        cube, a multiple of 4 (None: the shape's own), between which values are interpolated."""
        own = self.band()
        band = own if resolution is None else own.at(resolution)
        finer = band.resolution / own.resolution
        return mesh_from_band(band, max(offset.OUTWARDS, OUTWARDS * finer))
