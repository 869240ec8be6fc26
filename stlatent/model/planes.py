"""The domain of three planes that stand for a solid, which know of each other.

    xy    [x, y]         xz    [x, z]         yz    [y, z]

Each plane is indexed `[first, second]`; `triplane/planes.py` says how they lie in space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .domain import Domain


@dataclass(frozen=True)
class Planes(Domain):
    """Tensors are `[B, C, 3, n, n]`: planes share their axes, so they are square."""

    square, colours = True, False

    def check(self, size: Sequence[int]) -> None:
        """See `Domain.check`; the planes must be square as well."""
        super().check(size)
        sides = self.of_space(size)
        if len(set(sides)) > 1:
            raise ValueError(
                f"the planes of domain '{self.name}' share their axes, so they must be square; "
                f"{sides} was given, the nearest legal size is {(max(sides),) * len(sides)}"
            )

    def exchange(self, x: Tensor) -> Tensor:
        """`[B, C, 3, n, n] -> [B, 2 C, 3, n, n]`: a plane sees, along each of its two axes, the
        mean of the plane that shares this axis (Wang et al. 2023, Rodin, 3D-aware convolution)."""
        xy, xz, yz = x.unbind(2)

        def along_first(plane: Tensor, keep: int) -> Tensor:
            return plane.mean(5 - keep).unsqueeze(3).expand_as(plane)

        def along_second(plane: Tensor, keep: int) -> Tensor:
            return plane.mean(5 - keep).unsqueeze(2).expand_as(plane)

        first = [along_first(xz, 2), along_first(xy, 2), along_first(xy, 3)]
        second = [along_second(yz, 2), along_second(yz, 3), along_second(xz, 3)]
        return torch.cat([torch.stack(first, 2), torch.stack(second, 2)], 1)
