"""What keeps deep ladders from diverging: the largest stretch of every layer, made a cost.

NVAE (Vahdat & Kautz 2020, section 3.3) adds to its loss, with one weight,

    sum over convolutions of the largest singular value  +  sum over norms of the largest |scale|

A convolution's weight counts as a matrix [out, in * kernel]; a grouped one as so many matrices.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ..model.blocks import BatchNorm
from ..model.config import Positive, Strict
from ..model.layers import Conv, Norm

Above = Annotated[float, Field(gt=0)]
EPSILON = 1e-3  # of the normalisation, NVAE's


class SpectralConfig(Strict):
    """Spectral regularisation.

    Attributes:
        weight: of the penalty, once the rate's warm-up is over.
        start: its weight at the beginning of the warm-up; in between log-linear. None: no change.
        iterations: of the power method, per step.
        first_iterations: of the power method, at the first step.
    """

    weight: Above = 1e-2
    start: Above | None = None
    iterations: Positive = 4
    first_iterations: Positive = 40

    def weight_at(self, warm: float) -> float:
        """`warm` is the progress of the rate's warm-up, 0 to 1."""
        start = self.start or self.weight
        return math.exp((1 - warm) * math.log(start) + warm * math.log(self.weight))


class SpectralPenalty(nn.Module):
    """Singular values of the convolutions below `model`, by the power method.

    Layers of one shape are iterated together. The left vectors are buffers, so that a resumed
    run goes on with them; `model` itself is looked at, not owned.
    """

    def __init__(self, model: nn.Module, config: SpectralConfig) -> None:
        super().__init__()
        self.config = config
        kinds = (Conv, nn.Conv1d, nn.Conv2d, nn.Conv3d)
        shapes: dict[tuple[int, ...], list[nn.Module]] = defaultdict(list)
        for module in model.modules():
            if isinstance(module, kinds):
                shapes[tuple(_matrices(module).shape)].append(module)
        self._convs = list(shapes.values())
        self._norms = [m for m in model.modules() if isinstance(m, Norm | BatchNorm)]
        device = next(model.parameters()).device
        for i, ((groups, rows, _), convs) in enumerate(shapes.items()):
            left = torch.randn(len(convs), groups, rows, device=device)
            self.register_buffer(f"left_{i}", F.normalize(left, dim=-1, eps=EPSILON))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64, device=device))

    def forward(self) -> Tensor:
        """The penalty, without its weight; scalar."""
        total = sum(values.sum() for values in self.singular_values())
        return total + sum(_gain(norm).abs().amax() for norm in self._norms)

    def singular_values(self) -> list[Tensor]:
        """The largest one of every layer, `[layers]` per shape of layers."""
        count = self.config.first_iterations if self.steps == 0 else self.config.iterations
        self.steps += 1
        values = []
        for i, convs in enumerate(self._convs):
            matrices = torch.stack([_matrices(conv) for conv in convs]).float()
            left = getattr(self, f"left_{i}")
            with torch.no_grad():
                for _ in range(count):
                    right = F.normalize(_times(left, matrices), dim=-1, eps=EPSILON)
                    new = F.normalize(_times(right, matrices.mT), dim=-1, eps=EPSILON)
                    left.copy_(new)
            stretched = _times(left, matrices)
            values.append((stretched * right).sum(-1).amax(-1))
        return values


def _times(vectors: Tensor, matrices: Tensor) -> Tensor:
    """`[..., n] x [..., n, m] -> [..., m]`"""
    return (vectors.unsqueeze(-2) @ matrices).squeeze(-2)


def _matrices(conv: nn.Module) -> Tensor:
    """`[groups, out / groups, in / groups * kernel]`"""
    return conv.weight.flatten(1).unflatten(0, (conv.groups, -1))


def _gain(norm: nn.Module) -> Tensor:
    return norm.gain if isinstance(norm, Norm) else norm.weight
