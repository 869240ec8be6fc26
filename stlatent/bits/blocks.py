"""The encoder's side of `bitstream.py` for sparse models: a shape is one chunk."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..media.codes import Code
from ..model.device import as_written
from ..sparse.blocks import Blocks
from ..sparse.ladder import SparseLadder
from .bitstream import check_mode, known_steps
from .coding import Coding
from .encoder import bytes_of
from .quantise import Writing


class BlockEncoder:
    """Entropy-codes one shape: of every level latents cell by cell, and then the marks.

    Args:
        size: of the cube in voxels, which the shape has as well.

    Raises:
        ValueError: the model is in training mode; later, latents are too far from their priors.
    """

    def __init__(self, model: SparseLadder, size: Sequence[int], coding: Coding) -> None:
        check_mode(model)
        self.model, self.coding = model, coding
        self.device = next(model.parameters()).device

    def push(self, x: Blocks) -> list[Code]:
        """Per level, its whole grid `[1, C + 1, n, n, n]` and its stream."""
        known, levels = known_steps(self.model, self.coding.step), range(len(self.model.levels))
        choose = Writing(self.coding.step, known)
        with torch.no_grad(), as_written(self.device):
            latents = self.model.encode(x, choose)
        heads = [b"" if known else bytes_of(choose.steps, level) for level in levels]
        streams = choose.end_chunk(heads if self.coding.steps_checked else None)
        grids = self.model.grids(latents)
        return [
            Code(
                grid.cpu(),
                torch.tensor([stream.bits], dtype=torch.float64),
                stream=head + stream.content,
                tolerance=stream.tolerance,
            )
            for grid, head, stream in zip(grids, heads, streams, strict=True)
        ]
