"""The decoder's side of `bitstream.py`: the latents of a clip, chunk by chunk, from its bits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from ..media.tiles import Tiling
from ..model.choose import Site
from ..model.device import as_written
from ..model.fingerprint import priors_fingerprint
from ..model.ladder import Ladder
from ..model.passes import by_level
from ..model.past import Past
from .bitstream import begins_anew, check_mode, chunk_sizes, known_steps, step_unit, steps_bytes
from .coding import Coding, scale_of
from .entropy import MismatchError, StreamReader, exactly, numerics
from .quantise import Reading


def read_clip(
    model: Ladder,
    coding: Coding,
    size: Sequence[int],
    files: Sequence[BinaryIO],
    tile: int | None = None,
    first: int = 0,
    rates: Sequence[float | None] = (),
) -> Iterator[list[Tensor]]:
    """The latents of the first levels of a clip, chunk by chunk: `[1, C, *axes]` per level.

    Args:
        size: of the clip along the axes of the model's domain.
        files: of each level to be read: its steps, and what follows from chunk `first` on.
        first: number of a chunk that begins anew, see `chunks_from_key`.
        rates: λ of each chunk of the clip, where it is chosen.

    Raises:
        ValueError: the coder or the model is not that of the writer; or, from the chunk on where
            it is so, a file is damaged, or this machine computes other priors than the writer's.
    """
    _check_writer(model, coding)
    space = model.domain.of_space(size)
    clip = _Clip(model, coding, space, files, tile, first)
    for chunk, frames in islice(enumerate(chunk_sizes(model, coding, size)), first, None):
        if begins_anew(model, coding, space, chunk):
            clip.begin_anew()
        at = _at_rate(model, rates, chunk) if coding.rate_chosen else model
        try:
            levels = clip.chunk(at, frames)
        except MismatchError as error:
            raise ValueError(_mismatch(chunk, *error.args)) from None
        yield levels


class _Clip:
    """A clip that is read: its files, and what the streams of its tiles remember.

    space: its size along the axes of space; all else as for `read_clip`.
    """

    def __init__(
        self,
        model: Ladder,
        coding: Coding,
        space: Sequence[int],
        files: Sequence[BinaryIO],
        tile: int | None,
        first: int,
    ) -> None:
        self.coding, self.files = coding, files
        self.levels = model.levels[: len(files)]
        self.last_group = [level.groups - 1 + model.domain.sparse for level in self.levels]
        self.tiling = Tiling(space, model.domain.of_space(model.levels[0].stride), tile)
        self.pasts = [Past() for _ in self.tiling.tiles]
        heads = [file.read(steps_bytes(model, k)) for k, file in enumerate(files)]
        self.steps = _steps_of(model, heads)
        self.unchecked = heads if coding.steps_checked and not first else [b""] * len(files)

    def begin_anew(self) -> None:
        """What follows was written by one who remembers nothing."""
        self.pasts = [Past(anew=True) for _ in self.tiling.tiles]

    def chunk(self, model: Ladder, frames: Sequence[int]) -> list[Tensor]:
        """The next chunk, of so many frames where there is time, by the model at its λ.

        Raises:
            MismatchError: of a level, its number.
        """
        told = [exactly(file, 1) if self.coding.target else b"" for file in self.files]
        before = [b + t for b, t in zip(self.unchecked, told, strict=True)]
        self.unchecked = nothing = [b""] * len(self.files)
        unit = step_unit(model, self.coding)
        scales = [scale_of(*byte) if byte else 1.0 for byte in told]
        steps = known_steps(model, self.coding.step) or self.steps
        choose = Reading(steps, self.last_group, remembering=self.coding.priors is not None)
        tiles = []
        for i, one in enumerate(self.tiling.tiles):
            streams = [StreamReader(*pair) for pair in zip(self.files, before, strict=True)]
            choose.start(streams, [s and s * unit for s in scales])
            size, before = (*frames, *one.size), nothing
            tiles.append(_descend(model, choose, size, self.pasts[i], len(self.files)))
            self.pasts[i] = Past(self.pasts[i].state)
        return [
            self.tiling.gather(parts, model.domain.of_space(level.stride), bool(level.codebook))
            for level, parts in zip(self.levels, zip(*tiles, strict=True), strict=True)
        ]


def _check_writer(model: Ladder, coding: Coding) -> None:
    """ValueError unless bits that were written like this can be read here, with this model."""
    check_mode(model)
    if coding.numerics != f"{numerics():08x}":
        raise ValueError(
            f"these bits were written with another entropy coder (numerics {coding.numerics}, here "
            f"{numerics():08x}): another version of constriction, or a machine whose exp or erf "
            f"differs"
        )
    if coding.priors not in (None, known := priors_fingerprint(model)):
        raise ValueError(
            f"these bits were written under priors that remember the past, with fingerprint "
            f"{coding.priors}; those of this model have {known}, though it decodes the same "
            f"latents: give the model that encoded them"
        )


def _descend(
    model: Ladder, choose: Reading, size: Sequence[int], past: Past, levels: int
) -> list[Tensor]:
    """Latents of the first levels of a chunk."""
    grid = model.domain.shape(size, model.levels[0].stride, past.started)
    with torch.no_grad(), as_written(next(model.parameters()).device):
        if model.domain.sparse:
            return model.chosen_grids(choose, size[0], levels)
        steps, _ = model.descend(choose, grid, past, levels=levels)
    return list(by_level(steps, [step.z for step in steps]))


def _at_rate(model: Ladder, rates: Sequence[float | None], chunk: int) -> Ladder:
    """The model at the λ of a chunk."""
    if chunk >= len(rates):
        raise ValueError(f"its record lacks chunk {chunk}")
    return model.at_rate(rates[chunk])


def _steps_of(model: Ladder, heads: Sequence[bytes]) -> dict[Site, Tensor]:
    """Of each group that is not codes, from what a file of each level begins with."""
    found = {}
    for k, (level, head) in enumerate(zip(model.levels, heads, strict=False)):
        bits = np.frombuffer(head.ljust(steps_bytes(model, k), b"\0"), "<i2").astype(np.int16)
        steps = torch.from_numpy(bits).view(torch.bfloat16)
        for group, one in enumerate(steps.split(level.latent) if len(steps) else ()):
            found[Site(k, group)] = one
    return found


def _mismatch(chunk: int, level: int | None = None) -> str:
    where = "a level ends" if level is None else f"the priors of level {level} are not the writer's"
    less = f", or read only what is coarser: levels={level}" if level else ""
    return (
        f"chunk {chunk}: {where}; `stlatent verify` says whether files are damaged: if they are "
        f"not, this machine computes otherwise; read on a device like the writer's{less}"
    )
