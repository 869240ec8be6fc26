"""Meshes of decoded planes, at any resolution."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import trimesh
from torch import Tensor

from .cube import Placement
from .extract import mesh_from_function


def mesh_from_planes(
    field: Callable[[Tensor, Tensor], Tensor],
    planes: Tensor,
    resolution: int,
    placement: Placement | None = None,
) -> trimesh.Trimesh:
    """The surface of the field that planes stand for, see `mesh_from_function`.

    Args:
        field: `TriplaneAutoencoder.field` or a `FieldDecoder`.
        planes: `[1, P, 3, n, n]`.
        resolution: voxels per edge of the cube, whatever the planes' own.
        placement: where the cube lies in the asset's coordinates.
    """

    @torch.no_grad()
    def values(points: np.ndarray) -> np.ndarray:
        at = torch.from_numpy(points).float().to(planes.device)[None]
        return field(planes, at)[0].cpu().numpy()

    coloured = values(np.zeros((1, 3))).shape[1] > 1
    return mesh_from_function(
        lambda points: values(points)[:, 0],
        resolution,
        placement,
        (lambda points: values(points)[:, 1:]) if coloured else None,
    )
