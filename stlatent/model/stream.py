"""Videos of any length in constant memory: chunk in, what became complete out, state as a value.

    frames   0 | 1 ... 8 | 9 ... 16 | ...     the unit is one latent of the coarsest level
             └ chunks of any size ┘           what does not fill a unit waits in the state

The pieces put together equal the whole encoded or decoded at once, since convolutions look only at
the past and every norm at one position.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from . import choose as choosing
from .choose import Choose, Held
from .inputs import as_level, as_samples, check_levels
from .ladder import Ladder
from .passes import Encoded
from .past import Past


@dataclass(frozen=True)
class State:
    """Between two chunks: what waits to fill a unit, and what the convolutions remember.

    Attributes:
        waiting: frames `[B, C, t, H, W]`, or latents of each level.
        past: of the convolutions, by name; None until the first unit has been through.
    """

    waiting: tuple[Tensor, ...]
    past: Mapping[str, Tensor] | None = None


def encode_chunk(
    model: Ladder, frames: Tensor, state: State | None = None, choose: Choose = choosing.mean
) -> tuple[Encoded, State]:
    """Encode some more frames `[B, C, t, H, W]` in [-1, 1], or of uint8, t >= 1.

    Returns:
        Latents that became complete, per level `[B, C_l, t_l, H_l, W_l]` (t_l may be 0), and the
        state for the next chunk.

    Raises:
        ValueError: the domain has no time, or the frames do not fit the model or those before.
    """
    unit, axis = _unit(model)
    frames = as_samples(frames, model.config, model.top)
    if state is not None:
        frames = _joined(state.waiting[0], frames, axis)
    past = state.past if state else None
    count = frames.shape[axis]
    ready = count // unit * unit if past is not None else 1 + (count - 1) // unit * unit
    if ready <= 0:
        return _nothing(model, frames), State((frames,), past)
    memory = Past(past)
    encoded = model.encode(frames.narrow(axis, 0, ready), choose, memory)
    waiting = frames.narrow(axis, ready, count - ready).clone()
    return encoded, State((waiting,), memory.state)


def encode_end(
    model: Ladder, state: State, choose: Choose = choosing.mean
) -> tuple[Encoded, State]:
    """Encode what waits, its last frame repeated to fill the unit, as `Ladder.encode` does."""
    unit, axis = _unit(model)
    (frames,) = state.waiting
    missing = -frames.shape[axis] % unit
    if frames.shape[axis] == 0:
        return _nothing(model, frames), state
    last = frames.narrow(axis, frames.shape[axis] - 1, 1)
    return encode_chunk(model, last.repeat_interleave(missing, axis), state, choose)


def decode_chunk(
    model: Ladder,
    levels: Sequence[Tensor],
    size: Sequence[int],
    state: State | None = None,
    draw: Choose = choosing.mean,
) -> tuple[Tensor, State]:
    """Decode some more latents of the first `len(levels)` levels.

    Args:
        levels: `[B, C_l, t_l, H_l, W_l]` per level; any t_l, levels need not end together.
        size: of the space axes to come out, such as height and width.
        draw: how the finer levels are chosen.

    Returns:
        Frames that became complete `[B, C, t, *size]`, those that fill the last unit included, and
        the state for the next chunk.

    Raises:
        ValueError: the domain has no time, the model has fewer levels, or the latents do not fit
            the size or those before.
    """
    unit, axis = _unit(model)
    levels = _checked(model, levels, size, axis)
    if state is not None:
        if len(levels) != len(state.waiting):
            given, begun = len(levels), len(state.waiting)
            raise ValueError(f"{given} levels are given, but the stream has begun with {begun}")
        pairs = zip(state.waiting, levels, strict=True)
        levels = [_joined(before, z, axis) for before, z in pairs]
    past = state.past if state else None
    first = 0 if past is not None else 1
    per_unit = [unit // level.stride[axis - 2] for level in model.levels[: len(levels)]]
    units = min((z.shape[axis] - first) // n for z, n in zip(levels, per_unit, strict=True))
    if units + first <= 0:
        shape = model.domain.size(0, size)
        frames = levels[0].new_zeros(len(levels[0]), model.config.channels, *shape)
        return frames, State(tuple(levels), past)
    ready = [first + units * n for n in per_unit]
    memory = Past(past)
    held = Held(
        {i: z.narrow(axis, 0, n) for i, (z, n) in enumerate(zip(levels, ready, strict=True))}, draw
    )
    time = first + units * unit
    frames = model.generate(held, model.domain.size(time, size), len(levels[0]), memory)
    waiting = tuple(
        z.narrow(axis, n, z.shape[axis] - n).clone() for z, n in zip(levels, ready, strict=True)
    )
    return frames, State(waiting, memory.state)


def _checked(
    model: Ladder, levels: Sequence[Tensor], size: Sequence[int], axis: int
) -> list[Tensor]:
    """Latents of the first levels as they are decoded; any number of steps along `axis`."""
    check_levels(len(levels), len(levels), len(model.levels))
    shapes = model.latent_shape(model.domain.size(1, size))
    batch = len(levels[0])
    return [
        as_level(z, f"level {k}", (batch, *_with(shape, axis - 1, None)), model.top)
        for k, (z, shape) in enumerate(zip(levels, shapes, strict=False))
    ]


def _joined(before: Tensor, more: Tensor, axis: int) -> Tensor:
    """What waits and what comes, one after the other along `axis`."""
    kinds = [(_with(x.shape, axis, None), x.dtype) for x in (before, more)]
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"a chunk is {list(more.shape)} of {more.dtype}, but the stream so far has "
            f"{list(before.shape)} of {before.dtype}: only the number of steps may change"
        )
    return torch.cat([before, more], axis)


def _unit(model: Ladder) -> tuple[int, int]:
    """Frames per unit, and the dimension of time in a tensor."""
    causal = model.domain.causal
    if causal is None:
        raise ValueError(f"domain '{model.domain.name}' has no time axis, so it cannot be streamed")
    return model.levels[0].stride[causal], 2 + causal


def _nothing(model: Ladder, frames: Tensor) -> Encoded:
    """No latents yet, in the right shapes."""
    causal = model.domain.causal
    shapes = [list(shape) for shape in model.latent_shape([*_with(frames.shape[2:], causal, 1)])]
    for shape in shapes:
        shape[1 + causal] = 0
    levels = tuple(frames.new_zeros(len(frames), *shape, dtype=model.top.dtype) for shape in shapes)
    return Encoded(levels, tuple(_with(frames.shape[2:], causal, 0)), ())


def _with(size: Sequence[int], index: int, value: int | None) -> list[int | None]:
    return [value if i == index else n for i, n in enumerate(size)]
