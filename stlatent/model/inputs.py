"""What comes into a model from outside, checked once, where it enters.

What has one meaning is converted; all else is a ValueError of one line that says what was given,
what is read and what to do.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from .config import ModelConfig
from .latents import Latents, check_levels_exist

BRIGHT = (
    "all values are in [0, 1], and this model reads frames in [-1, 1]: where 0 is to be black, "
    "give 2 * x - 1, or uint8"
)
REACH = 8.0  # values beyond are of another scale than [-1, 1], such as 0 to 255


def as_input(x: Tensor | np.ndarray, config: ModelConfig, like: Tensor, bounded: bool) -> Tensor:
    """Samples `[B, C, *axes]` as a model reads them: floats of the type of `like`, its weights.

    bounded: whether these are in [-1, 1], up to some overshoot.

    Arrays and other types of floats are converted. So are frames of uint8, `[B, C, *axes]` or, as
    files hold them, `[B, *axes, C]`; where both fit, they are taken as files hold them.

    Raises:
        ValueError: `x` holds neither floats nor frames of uint8, NaN, infinities, or, where
            `bounded`, values far beyond [-1, 1].
    """
    x, frames = as_samples(x, config, like), config.axes.pictures
    if x.dtype == torch.uint8 and frames:
        x = x.float().div_(127.5).sub_(1)
    if not x.is_floating_point():
        raise ValueError(
            f"input is of {x.dtype}; this model reads floats in [-1, 1]"
            + (", or frames of uint8" if frames else "")
        )
    low, high = _range(x)
    _check_finite("input", low, high)
    furthest = low if -low > high else high
    if bounded and abs(furthest) > REACH:
        remedy = "use to_float" if frames else "scale them"
        raise ValueError(f"values reach {furthest:g}; this model reads [-1, 1]: {remedy}")
    return x.to(like.dtype)


def check_channels(x: Tensor, config: ModelConfig) -> None:
    """ValueError unless a batch `[B, C, *axes]` is of this domain and has so many channels."""
    config.axes.check(tuple(x.shape[2:]))
    if x.shape[1] != config.channels:
        raise ValueError(
            f"input has {x.shape[1]} channels; this model reads {config.channels}: "
            f"the order of axes is [B, C, {', '.join(a.name for a in config.axes.axes)}]"
        )


def warn_of_scale(given: Tensor | np.ndarray, x: Tensor, config: ModelConfig) -> None:
    """Warn where frames that were given as floats are in [0, 1], all of them.

    They may be bright ones, so they are read as they are. Of 209 clips and photos none was, but of
    3,120 crops of 128 x 128 pixels 3 %: so whole inputs are looked at, and not what is trained on.
    """
    kind = given.dtype.kind == "f" if isinstance(given, np.ndarray) else given.is_floating_point()
    low, high = _range(x) if kind and config.axes.pictures else (0.0, 0.0)
    if 0 <= low < high <= 1:
        warnings.warn(BRIGHT, stacklevel=3)


def as_samples(x: Tensor | np.ndarray, config: ModelConfig, like: Tensor) -> Tensor:
    """The same with the values that they have: `[B, C, *axes]`, an array on the device of `like`.

    Raises:
        ValueError: `x` is neither a tensor nor an array of numbers.
    """
    x = _as_tensor(x, "input", like)
    last = x.dtype == torch.uint8 and config.axes.pictures and x.shape[-1:] == (config.channels,)
    return x.movedim(-1, 1) if last else x


def as_level(
    z: Tensor | np.ndarray, name: str, shape: Sequence[int | None], like: Tensor
) -> Tensor:
    """Latents of one level `[B, C_l, *grid_l]` as a decoder reads them.

    Args:
        name: of the level, in errors.
        shape: which they must have; None is any size.
        like: the weights of the model; arrays go to where they lie.

    Raises:
        ValueError: they have another shape or type, or hold NaN or infinities.
    """
    z = _as_tensor(z, name, like)
    if z.ndim != len(shape) or any(n not in (m, None) for n, m in zip(shape, z.shape, strict=True)):
        words = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(
            f"{name} has shape {list(z.shape)}, but size, batch and model need [{words}]"
        )
    if not z.is_floating_point():
        raise ValueError(f"{name} is of {z.dtype}; this model decodes floats")
    _check_finite(name, *_range(z))
    return z


def check_levels(levels: int, given: int, existing: int) -> None:
    """Raise ValueError unless `levels` levels, of `given` ones, can be decoded by a model of
    `existing` ones."""
    if not isinstance(levels, int) or not 1 <= levels <= existing:
        raise ValueError(
            f"levels is {levels!r}; this model decodes 1 to {existing}, counted from the coarsest"
        )
    if levels > given:
        raise ValueError(f"{levels} levels are to be decoded, but only {given} are given")


def check_held(
    held: Mapping[int, Tensor], shapes: Sequence[Sequence[int]], batch: int, like: Tensor
) -> dict[int, Tensor]:
    """Held levels as a decoder reads them, where each level has its shape `(C_l, *grid_l)`.

    Raises:
        ValueError: these are no levels by their number, or one does not exist, is not finite or
            has another shape.
    """
    if not isinstance(held, Mapping):
        raise ValueError(
            f"held is a {type(held).__name__}; give levels by number, {{0: latents.levels[0]}}"
        )
    check_levels_exist(held, len(shapes))
    return {k: as_level(z, f"level {k}", (batch, *shapes[k]), like) for k, z in held.items()}


def check_batch(batch_size: int) -> None:
    """Raise ValueError unless so many samples can be made."""
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size is {batch_size!r}; give the number of samples, at least 1")


def check_prefix(
    latents: Latents,
    levels: int | None,
    latent_shape: Callable[[Sequence[int]], Sequence[Sequence[int]]],
    like: Tensor,
) -> dict[int, Tensor]:
    """The first `levels` levels of `latents`, by default all that are given, as a decoder reads
    them: level -> `[B, C_l, *grid_l]`.

    Args:
        latent_shape: of the model, see `Ladder.latent_shape`.

    Raises:
        ValueError: these are no Latents, so many levels are not given or do not exist, or one is
            not finite or not of the shape that their size asks for.
    """
    if not isinstance(latents, Latents):
        raise ValueError(
            f"decode was given a {type(latents).__name__}; it takes Latents(levels, size), which "
            f"encode returns"
        )
    shapes, given = latent_shape(latents.size), latents.levels
    kept = len(given) if levels is None else levels
    check_levels(kept, len(given), len(shapes))
    return check_held(dict(enumerate(given[:kept])), shapes, len(given[0]), like)


def _as_tensor(values: Tensor | np.ndarray, name: str, like: Tensor) -> Tensor:
    """Arrays as tensors on the device of `like`; tensors stay where they are."""
    if isinstance(values, Tensor):
        return values
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub":
        kind = getattr(values, "dtype", type(values).__name__)
        raise ValueError(f"{name} is of {kind}; give a tensor, or an array of numbers")
    native = values.astype(values.dtype.newbyteorder("="), copy=False)
    return torch.from_numpy(np.ascontiguousarray(native)).to(like.device)


@torch.no_grad()
def _range(x: Tensor) -> tuple[float, float]:
    """The least and the largest value, NaN if there is any; zeros where values cannot be known:
    there are none, or they are being traced."""
    if torch.compiler.is_compiling() or x.is_meta or not x.numel():
        return 0.0, 0.0
    low, high = torch.stack(x.detach().aminmax()).tolist()
    return low, high


def _check_finite(name: str, low: float, high: float) -> None:
    if not -torch.inf < low <= high < torch.inf:
        kind = "NaN" if low != low else "an infinity"
        raise ValueError(f"{name} holds {kind}; only finite values are read")
