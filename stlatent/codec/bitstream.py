"""Videos and pictures as bits: a ladder's latents, entropy-coded under the ladder's own priors.

    summary = write_bitstream(model, frames, "clip.stl", fps=25)
    for frames in read_bitstream(model, "clip.stl", levels=2):
        ...

Both are the model's one top-down pass with another way to choose latents, see `quantise.py`.

Whoever reads must compute the priors that the writer had. So the network runs in float32 without
shortcuts, chunk by chunk as it did in the writer, on any device. What still differs, in the last
digits, is absorbed up to a tolerance that is written in the file, see `entropy.py`. Where a level's
priors differ by more, reading raises an error before anything of it comes out; the coarser levels
can still be read. The prior of level 0 comes from weights alone (of its first group, if it has
several) and leaves the largest tolerance: that level can be read anywhere.

Symbols come back exactly. So do latents on the same machine; on another they carry the noise of the
means that they are counted from, about 1e-7, which does not grow from chunk to chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from .. import choose as choosing
from ..checkpoint import fingerprint
from ..choose import Choose, Site
from ..domain import Past
from ..ladder import Ladder
from ..latents import Latents
from .bitstream_file import BitstreamFile, BitstreamHeader
from .bitstream_writer import BitstreamSummary, BitstreamWriter, check_mode, exact
from .entropy import MismatchError, StreamReader, numerics
from .quantise import STEP, Reading

T = TypeVar("T")
Run = Callable[[Choose, tuple[int, ...], Past], T]  # the pass over one chunk of a size


def write_bitstream(
    model: Ladder,
    frames: Tensor | Iterable[Tensor],
    path: str | Path,
    step: float | Sequence[float] = STEP,
    fps: float | None = None,
    chunk_frames: int | None = None,
    replace: bool = False,
) -> BitstreamSummary:
    """Write one input `[1, C, *axes]` in [-1, 1], or a video as pieces `[1, C, t, H, W]` of it.

    Arguments and errors are those of `BitstreamWriter`.
    """
    with BitstreamWriter(model, path, step, fps, chunk_frames, replace) as writer:
        for piece in [frames] if isinstance(frames, Tensor) else frames:
            writer.append(piece)
    return writer.summary


def read_bitstream(
    model: Ladder, path: str | Path, levels: int | None = None, draw: Choose = choosing.mean
) -> Iterator[Tensor]:
    """The decoded frames `[1, C, t, H, W]`, chunk by chunk; without a time axis, one input.

    Args:
        levels: how many to read; None reads all that the file holds.
        draw: how the finer levels are chosen.

    Raises:
        ValueError: the file is damaged, cut off within a level, or of another model; or, from the
            chunk on where it is so, this machine computes other priors than the writer's.
    """

    def run(choose: Choose, size: tuple[int, ...], past: Past) -> Tensor:
        return model.generate(choose, size, past=past)

    return _read(model, BitstreamFile(path, levels), draw, run)


def read_latents(model: Ladder, path: str | Path, levels: int | None = None) -> Iterator[Latents]:
    """The latents of the levels that are read, chunk by chunk, and not decoded.

    Arguments and errors are those of `read_bitstream`.
    """
    file = BitstreamFile(path, levels)

    def run(choose: Choose, size: tuple[int, ...], past: Past) -> Latents:
        grid = model.domain.shape(size, model.levels[0].stride, past.started)
        steps, _ = model.descend(choose, grid, past, whole=False)
        groups = [[s.z for s in steps if s.site.level == level] for level in range(file.levels)]
        return Latents(tuple(torch.cat(z, 1) for z in groups), size)

    return _read(model, file, choosing.mean, run)


def _read(model: Ladder, file: BitstreamFile, rest: Choose, run: Run[T]) -> Iterator[T]:
    """Errors of the file are raised at once, and not when the first chunk is asked for."""
    check_mode(model)
    _check_model(model, file)
    file.check()
    return _chunks(model, file, rest, run)


def _chunks(model: Ladder, file: BitstreamFile, rest: Choose, run: Run[T]) -> Iterator[T]:
    choose = Reading(_steps(model, file.header), [lv.groups - 1 for lv in model.levels], rest)
    device, state = next(model.parameters()).device, None
    with ExitStack() as opened:
        streams = [opened.enter_context(file.open(level)) for level in range(file.levels)]
        for chunk, size in enumerate(_sizes(model, file.header)):
            choose.start([StreamReader(stream) for stream in streams])
            past = Past(state)
            try:
                with exact(device):
                    result = run(choose, size, past)
            except MismatchError as error:
                raise ValueError(_mismatch(file, chunk, *error.args)) from None
            state = past.state
            yield result


def _sizes(model: Ladder, header: BitstreamHeader) -> Iterator[tuple[int, ...]]:
    """Of each chunk along the axes."""
    if model.domain.causal is None:
        yield header.size
        return
    left, *others = header.size
    count = header.chunk_frames + 1
    while left:
        yield min(left, count), *others
        left, count = left - min(left, count), header.chunk_frames


def _steps(model: Ladder, header: BitstreamHeader) -> dict[Site, Tensor]:
    """Of each group that is not codes."""
    return {
        Site(k, group): steps
        for k, (level, entry) in enumerate(zip(model.levels, header.levels, strict=True))
        if not level.codebook
        for group, steps in enumerate(entry.steps.split(level.latent))
    }


def _check_model(model: Ladder, file: BitstreamFile) -> None:
    """ValueError unless this model wrote the file, with a coder like the one at hand."""
    if file.header.fingerprint != fingerprint(model):
        raise ValueError(
            f"{file.path} comes from a model with fingerprint {file.header.fingerprint}, but the "
            f"given one has {fingerprint(model)}; give the model that wrote it"
        )
    if file.header.numerics != numerics():
        raise ValueError(
            f"{file.path} was written with another entropy coder (numerics "
            f"{file.header.numerics:08x}, here {numerics():08x}): another version of constriction, "
            f"or a machine whose exp or erf differs"
        )


def _mismatch(file: BitstreamFile, chunk: int, level: int) -> str:
    tolerance = file.header.levels[level].tolerance
    less = f", or only what is coarser: levels={level}" if level else ""
    return (
        f"{file.path}: the priors of level {level} at chunk {chunk} are not those of the machine "
        f"that wrote it; they differ by more than {tolerance:.1e} nats, so its bits mean nothing "
        f"here; read it on a device like the writer's{less}"
    )
