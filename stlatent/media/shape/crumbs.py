"""Draws without what hangs in the air beside them."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from torch import Tensor

from ...geometry.extras import needed
from ...sparse.blocks import Blocks
from ...sparse.cells import Cells
from .near import OUTWARDS

CRUMB = 0.1  # of the surface of the largest part
AROUND = (3, 3, 3)  # voxels, in the order of `Cells.neighbours`
FACES = [  # those around one that share a face with it: a step along one axis
    k for k, step in enumerate(product((-1, 0, 1), repeat=3)) if np.abs(step).sum() == 1
]


def without_crumbs(blocks: Blocks, band_voxels: float) -> Blocks:
    """Shapes without the parts whose surface is smaller than `CRUMB` of that of the largest part.

    A part is what hangs together at the distance at which the surfaces of decoded shapes are looked
    for, `near.OUTWARDS`. Time and memory grow with the shape, not with the cube.

    Args:
        band_voxels: distance at which the distances of `blocks` are truncated, in voxels.
    """
    inside = (blocks.values[:, 0] < OUTWARDS / band_voxels).nonzero()
    if not len(inside):
        return blocks
    block, places = blocks.index[inside[:, 0]], inside[:, 1:]
    index = torch.cat([block[:, :1], block[:, 1:] * blocks.side + places], 1)
    part, surface = _parts(Cells(index, blocks.resolution))
    sample = torch.empty_like(surface).scatter_(0, part, index[:, 0])
    largest = surface.new_zeros(blocks.batch).scatter_reduce_(0, sample, surface, "amax")
    crumb = (surface < CRUMB * largest[sample])[part]
    values = blocks.values.clone()
    values[(inside[crumb, 0], 0, *places[crumb].T)] = 1
    return Blocks(blocks.index, values, blocks.resolution, blocks.batch)


def _parts(voxels: Cells) -> tuple[Tensor, Tensor]:
    """The part that each of `N` voxels belongs to `[N]`, and how many of its faces are bare, of
    each part."""
    count, around = len(voxels), voxels.neighbours(AROUND)
    there = around < count
    own = torch.arange(count, device=around.device)[:, None].expand_as(around)
    pairs = own[there].cpu().numpy(), around[there].cpu().numpy()
    graph = needed("scipy.sparse").coo_array((there[there].cpu().numpy(), pairs), (count, count))
    parts, part = needed("scipy.sparse.csgraph").connected_components(graph, directed=False)
    part = torch.from_numpy(part).to(around)
    bare = (~there[:, FACES]).sum(1)
    return part, bare.new_zeros(parts).index_add_(0, part, bare)
