"""Clips as bits: a ladder's latents, entropy-coded under the ladder's own priors. Here is what both
sides go by; `encoder.py` writes, and `decoder.py` reads.

A chunk is some frames that go through the network together. Each becomes one stream per level (and
tile, where frames are cut into tiles). What a file holds of one level of a clip is

    steps       of rounding, of each channel `[C]`, bfloat16; none of codes, of an exact level, and
                where the model tells them, see `known_steps`
    streams     chunk by chunk, in a chunk tile by tile, see `entropy.py`; where a target was given,
                one byte before those of a chunk: how much wider its steps are, see `coding.py`

Both ways are the model's one top-down pass with another way to choose latents, see `quantise.py`.

Whoever reads must compute the priors that the writer had. So the network runs in float32 without
shortcuts, chunk by chunk as it did in the writer, on any device. What still differs, in the last
digits, is absorbed up to a tolerance, see `entropy.py`. Where a level's priors differ by more,
reading raises an error before anything of that chunk comes out; the coarser levels can still be
read. The prior of level 0 comes from weights alone (of its first group, if it has several) and
leaves the largest tolerance: that level can be read anywhere.

Symbols come back exactly. So do latents on the same machine; on another they carry the noise of the
means that they are counted from, about 1e-7, which does not grow from chunk to chunk.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..model.around import ladder_in
from ..model.choose import Site
from ..model.config import ExactLevel
from ..model.device import as_written
from ..model.fingerprint import priors_fingerprint
from ..model.ladder import Ladder
from ..model.past import Past
from .coding import Coding, Target
from .entropy import numerics
from .quantise import STEP

# Of all frames of a chunk. It does not depend on the device, since chunks belong to the file; so
# many that what every stream costs beside its symbols hardly counts.
CHUNK_PIXELS = 2**21  # 32 frames of 256 x 256
AIMED_PIXELS = 2**19  # 8 such frames, where every chunk is to reach a target
FINEST = 1.6  # how much wider than others the steps of a codec's finest level are


def make_coding(
    model: Ladder,
    step: Sequence[float] = (),
    target: Target | None = None,
    key_every: int | None = None,
) -> Coding:
    """How to code with `model`, rounded to steps of so many deviations of the posterior, one for
    all levels, or one per level, and else the usual ones; with a target, to no narrower ones, and
    at a λ that is chosen where none is. See `Coding`.

    Raises:
        ValueError: there are more or fewer, the extra `entropy` is not installed, or keys are asked
            for where there is no time.
    """
    if key_every and not model.domain.has_time:
        raise ValueError(f"domain '{model.domain.name}' has no time, so it needs no --key-every")
    if key_every and model.config.exact:
        raise ValueError(
            "the finest level is exact and told from all before; leave out --key-every"
        )
    count, step = len(model.levels), step or usual_steps(model)
    if len(step) not in (1, count):
        raise ValueError(
            f"{len(step)} steps are given, but the model has {count} levels; "
            f"give one for all, or {count}"
        )
    steps = tuple(step) * (count // len(step))
    known = f"{numerics():08x}"
    return Coding(
        step=steps,
        chunk_pixels=AIMED_PIXELS if target else CHUNK_PIXELS,
        numerics=known,
        steps_checked=True,
        priors=priors_fingerprint(model),
        target=target,
        rate_chosen=target is not None and ladder_in(model).rate_open,
        key_every=key_every,
    )


def usual_steps(model: Ladder) -> tuple[float, ...]:
    """Per level, in deviations of the posterior: as noisy as that is. Of codecs those of the finest
    level, on which no other depends, are wider: that saves more than a higher λ for all levels."""
    *coarser, finest = [STEP] * len(model.levels)
    rounded = model.config.posterior.kind == "rounded"
    return (*coarser, FINEST * finest if rounded else finest)


def known_steps(model: Ladder, step: Sequence[float]) -> dict[Site, Tensor]:
    """Of each group, of a model whose posteriors leave open what rounding does: these follow from
    λ. Of others none is known without the input."""
    found, past = {}, Past()
    if model.config.posterior.kind != "rounded":
        return found
    with torch.no_grad(), as_written(model.top.device):
        ladder_in(model).tell(past, 1)
        for k, cells in enumerate(model.cells):
            for group, cell in enumerate(cells if not model.levels[k].codebook else ()):
                std = cell.posterior.noise(past, 0)[0].exp()
                found[Site(k, group)] = step[k] * std.float().cpu()
    return found


def step_unit(model: Ladder, coding: Coding) -> float:
    """By how much wider steps are at the λ of `model` than a file says, where λ is chosen and does
    not tell them: it is the price of a distortion, and that goes with the square of a step."""
    if not coding.rate_chosen or model.config.posterior.kind == "rounded":
        return 1.0
    return math.sqrt(model.rate_weight / ladder_in(model).config.rate.middle)


def steps_bytes(model: Ladder, level: int) -> int:
    """That the steps of a level take in a file."""
    one = model.levels[level]
    stepless = one.codebook or isinstance(one, ExactLevel)
    known = model.config.posterior.kind == "rounded"
    return 0 if stepless or known else 2 * one.latent * one.groups


def chunk_sizes(model: Ladder, coding: Coding, size: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """How many frames each has; nothing of an input without time, which is one chunk."""
    if not model.domain.has_time:
        yield ()
        return
    count = chunk_frames(model, coding, model.domain.of_space(size))
    left, full = model.domain.of_time(size), count + 1
    while left > 0:
        yield (min(left, full),)
        left, full = left - full, count


def chunk_frames(model: Ladder, coding: Coding, space: Sequence[int]) -> int:
    """Frames per chunk, of frames of size `space` (height, width): a multiple of the coarsest
    stride in time; the first chunk has one more."""
    return model.domain.of_time(model.levels[0].stride) * chunk_units(model, coding, space)


def chunk_units(model: Ladder, coding: Coding, space: Sequence[int]) -> int:
    """The same in units, which are steps of level 0: a divisor of `coding.key_every`, where that is
    given, so that it is chunks that begin anew."""
    unit = model.domain.of_time(model.levels[0].stride)
    most = max(1, coding.chunk_pixels // (math.prod(space) * unit))
    every = coding.key_every or most
    return next(count for count in range(min(most, every), 0, -1) if every % count == 0)


def begins_anew(model: Ladder, coding: Coding, space: Sequence[int], chunk: int) -> bool:
    """Whether a chunk, of frames of size `space` (height, width), that is not the first one
    remembers nothing."""
    if not coding.key_every or not chunk:
        return False
    units = chunk_units(model, coding, space)
    return chunk * units % coding.key_every == 0


def chunks_from_key(
    model: Ladder, coding: Coding, size: Sequence[int], level: int, start: int, stop: int
) -> tuple[int, int, int]:
    """What has to be read for steps `start` to `stop` of a level of a clip of `size`: from which
    chunk on, which is the first or begins anew, before which chunk it ends, and the first step."""
    axes, strides = model.domain, [one.stride for one in model.levels]
    space = axes.of_space(size)
    units = chunk_units(model, coding, space)
    steps = units * axes.of_time(strides[0]) // axes.of_time(strides[level])  # the first has 1 more
    ends = min(start, stop - 1), stop - 1  # one step at least, which says what none of them is
    chunk, last = (max(0, step - 1) // steps for step in ends)
    while chunk and not begins_anew(model, coding, space, chunk):
        chunk -= 1
    return chunk, last + 1, 1 + chunk * steps if chunk else 0


def check_mode(model: Ladder) -> None:
    """ValueError unless `model` does the same twice."""
    if model.training:
        raise ValueError("the model is in training mode; call model.eval() before coding with it")
