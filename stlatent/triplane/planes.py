"""Three planes that stand for a solid: which plane runs along which axes.

    planes[:, :, 0]   xy       planes[:, :, 1]   xz       planes[:, :, 2]   yz

      ┌─────► y                  ┌─────► z                  ┌─────► z
      │ [x, y]                   │ [x, z]                   │ [y, z]
      ▼                          ▼                          ▼
      x        lacks z           x        lacks y           y        lacks x

Planes are `[B, C, 3, n, n]`; of its two axes, a plane has the earlier one first. Axes run as those
of a volume `[B, C, X, Y, Z]` do: in the cube [-1, 1]^3, index i is at (2 i + 1) / n - 1. A point
sees each plane at its own two coordinates on it. Turning a solid permutes its planes, and
transposes those whose axes come to stand in another order: `turn_planes`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

PLANES = ((0, 1), (0, 2), (1, 2))  # the axes of each plane
LACKS = (2, 1, 0)  # the axis that each lacks


def fold_volume(volume: Tensor) -> Tensor:
    """Every voxel, seen from three sides: the axis that a plane lacks becomes channels, exactly.

    `[B, C, n, n, n] -> [B, C n, 3, n, n]`, the voxels of one channel side by side.
    """
    planes = [volume.movedim(2 + axis, 2).flatten(1, 2) for axis in LACKS]
    return torch.stack([plane.movedim(1, -1) for plane in planes], 1).movedim(-1, 1)


def sample_planes(planes: Tensor, points: Tensor) -> Tensor:
    """Bilinear values of each plane where points fall on it; the edge is repeated.

    Args:
        planes: `[B, C, 3, n, n]`.
        points: `[B, N, 3]` in the cube [-1, 1]^3.

    Returns:
        `[B, N, 3, C]`.
    """
    images = planes.transpose(1, 2).flatten(0, 1)
    # grid_sample takes the place along the last axis first
    places = torch.stack([points[..., [b, a]] for a, b in PLANES], 1).flatten(0, 1)
    found = F.grid_sample(images, places[:, None], padding_mode="border", align_corners=False)
    return found.squeeze(2).unflatten(0, (-1, 3)).permute(0, 3, 1, 2)


def lacking(points: Tensor) -> Tensor:
    """The coordinate of each point that each plane lacks: `[B, N, 3] -> [B, N, 3 planes]`."""
    return points[..., list(LACKS)]


def sample_volume(volume: Tensor, points: Tensor) -> Tensor:
    """Trilinear values `[B, C, N]` of `[B, C, X, Y, Z]`, of which all edges are equal, at points
    `[B, N, 3]` in the cube; the edge is repeated."""
    places = points.flip(-1)[:, :, None, None]
    found = F.grid_sample(volume, places, padding_mode="border", align_corners=False)
    return found.flatten(2)


def symmetries(upright: bool) -> list[tuple[str, ...]]:
    """The 48 ways to turn and mirror a cube, as axes of `turn_planes`; with `upright`, the 8 that
    leave the y axis alone."""
    signs = list(itertools.product(("", "-"), repeat=3))
    found = [
        tuple(map("".join, zip(own, order, strict=True)))
        for order in itertools.permutations("xyz")
        for own in signs
    ]
    return [axes for axes in found if not upright or axes[1] == "y"]


def turn_volume(volume: Tensor, axes: Sequence[str]) -> Tensor:
    """`[B, C, X, Y, Z]` with its axes exchanged and reversed, see `turn_planes`."""
    order, mirrored = turn(axes)
    volume = volume.permute(0, 1, *(2 + i for i in order))
    return volume.flip([2 + i for i in range(3) if mirrored[i]])


def turn_points(points: Tensor, axes: Sequence[str]) -> Tensor:
    """Where points `[..., 3]` of a solid lie once it is turned, see `turn_planes`."""
    order, mirrored = turn(axes)
    sign = torch.tensor([-1.0 if m else 1.0 for m in mirrored]).to(points)
    return points[..., list(order)] * sign


def turn_planes(planes: Tensor, axes: Sequence[str]) -> Tensor:
    """The planes `[B, C, 3, n, n]` of a solid once it is turned.

    Args:
        axes: the old direction along which each new axis runs, as in `geometry.Placement`: `x z -y`
            brings what was at z = 1 to y = 1.

    A channel that tells places along the lacking axis apart, as a cosine of odd order does, also
    changes its meaning where that axis is reversed.

    Raises:
        ValueError: not each of x, y, z stands once in `axes`.
    """
    order, mirrored = turn(axes)
    turned = []
    for a, b in PLANES:
        old = tuple(sorted((order[a], order[b])))
        plane = planes[:, :, PLANES.index(old)]
        plane = plane if order[a] < order[b] else plane.transpose(2, 3)
        turned.append(plane.flip([2 + i for i, axis in enumerate((a, b)) if mirrored[axis]]))
    return torch.stack(turned, 2)


def turn(axes: Sequence[str]) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """The old axis of each new one, and whether it is reversed."""
    if sorted(axis[-1:] for axis in axes) != ["x", "y", "z"]:
        raise ValueError(f"axes are {' '.join(axes)}; name each of x, y, z once, or its negative")
    return tuple("xyz".index(axis[-1]) for axis in axes), tuple(a[0] == "-" for a in axes)
