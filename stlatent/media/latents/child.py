"""How the child of `jobs/reader.py` reads latents that were computed before.

A file holds those of one video `[C, T, H, W]` or picture `[C, H, W]`, alone or as the only tensor
named `latents`, `latent`, `latents_9x60x104_bfloat16` and the like beside others, as these trainers
cache them:

    musubi-tuner     .safetensors, latents_TxHxW_dtype [C, T, H, W]
    finetrainers     .pt, latents [1, C, T, H, W] or [1, T, C, H, W]; with 2 C channels, mean and
                     log-variance, of which the mean is taken
    ai-toolkit       .safetensors, latent [C, H, W]
    SimpleTuner      .pt, a tensor, or latents [C, H, W] or [C, T, H, W]

A batch of one is that one. Which axis is that of the channels follows from how many there are;
where both fit, it is the first one. Nothing is unpickled: of a .pt file only tensors are read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ...model.domains import DOMAINS
from ..source import UnreadableError

NAMED = re.compile(r"latents?(_\d+(x\d+)+(_\w+)?)?|latent_tensor|latent_image")
SHOWN = 6  # tensors of a file, in errors


@dataclass(frozen=True)
class LatentPlan:
    """How latents are read.

    Attributes:
        channels: of the foundation's latents.
        domain: `image` or `video`.
        positions: of the latents that are read at a time, about.
    """

    module: ClassVar[str] = __name__

    channels: int
    domain: str
    positions: int


def read(request: dict) -> Iterator[tuple[dict, np.ndarray]]:
    """Latents float32 `[C, *grid]`, of a video some steps at a time: how many steps there are
    (`count`), whether these are the `last`, and what is known of the pixels: `size` and `fps`."""
    path, channels = Path(request["path"]), request["channels"]
    with ExitStack() as files:
        shape, values = _opened(path, files)
        lies = _layout(shape, request, path)
        count = 1 if lies.time is None else shape[lies.time]
        at_once = steps(request, shape[len(shape) - lies.space :])
        for start in range(0, count, at_once):
            stop = min(start + at_once, count)
            z = lies.read(values, start, stop)[:channels].float().contiguous()
            if not z.isfinite().all():
                raise UnreadableError(path, "holds values that are not finite")
            yield {"size": None, "fps": None, "count": count, "last": stop == count}, z.numpy()


@dataclass(frozen=True)
class ArrayLayout:
    """Where the axes of latents lie in a tensor.

    Attributes:
        axes: of the tensor.
        channel, time: which these are; None is no such axis.
        space: how many axes of space there are, the last ones.
        still: whether a picture is read as a video of one step.
    """

    axes: int
    channel: int
    time: int | None
    space: int
    still: bool

    def read(self, values: Any, start: int, stop: int) -> Tensor:
        """Steps `start` to `stop`, as `[C, *grid]`."""
        cut = [slice(None) if i in (self.channel, self.time) else 0 for i in range(self.axes)]
        cut[self.axes - self.space :] = [slice(None)] * self.space
        if self.time is not None:
            cut[self.time] = slice(start, stop)
        z = values[tuple(cut)]
        z = z.transpose(0, 1) if self.time is not None and self.time < self.channel else z
        return z[:, None] if self.still else z


def _layout(shape: tuple[int, ...], request: dict, path: Path) -> ArrayLayout:
    """UnreadableError where these are not the foundation's latents."""
    domain, channels = DOMAINS[request["domain"]], request["channels"]
    causal, space = domain.has_time, len(domain.space)
    still = causal and len(shape) == 1 + space
    inner = len(shape) - space - (causal and not still)  # up to the channels
    legal = range(inner - 1, len(shape) - space)
    channel = next((i for i in legal if i >= 0 and shape[i] in (channels, 2 * channels)), None)
    if channel is None or inner not in (1, 2) or (inner == 2 and shape[0] != 1):
        axes = " ".join(axis.name.upper() for axis in domain.axes)
        raise UnreadableError(
            path, f"holds latents {list(shape)}; those of the foundation are [{channels} {axes}]"
        )
    time = next((i for i in legal if i != channel), None)
    return ArrayLayout(len(shape), channel, time, space, still)


def _opened(path: Path, files: ExitStack) -> tuple[tuple[int, ...], Any]:
    """The shape of the latents of a file, and what gives parts of them."""
    if path.suffix.lower() == ".safetensors":
        try:
            file = files.enter_context(safe_open(path, "pt"))
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise UnreadableError(path, f"is damaged: {error}") from None
        shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
        name = _chosen(shapes, path)
        if not slices[name].get_dtype().startswith(("F", "BF")):
            raise UnreadableError(path, f"holds latents of {slices[name].get_dtype()}, not floats")
        return shapes[name], slices[name]
    tensors = dict(_tensors(_loaded(path)))
    values = tensors[_chosen({name: tuple(z.shape) for name, z in tensors.items()}, path)]
    if not values.is_floating_point():
        raise UnreadableError(path, f"holds latents of {values.dtype}, not floats")
    if values.numel() * values.element_size() > path.stat().st_size:
        raise UnreadableError(path, f"claims latents {list(values.shape)}, more than it holds")
    return tuple(values.shape), values


def _loaded(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # whatever comes out of a file that is none
        if "weights_only" in str(error) or "Weights only" in str(error):
            reason = "holds more than tensors, and nothing is unpickled: save them as .safetensors"
            raise UnreadableError(path, reason) from None
        raise UnreadableError(path, "is damaged, or no file of torch.save") from None


def _tensors(found: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """All plain tensors of nested mappings and lists, by the last name on their way."""
    if isinstance(found, Tensor):
        if found.layout == torch.strided and not found.is_quantized and not found.is_meta:
            yield name, found
    elif isinstance(found, Mapping):
        for key, value in found.items():
            yield from _tensors(value, str(key))
    elif isinstance(found, list | tuple) and len(found) == 1:
        yield from _tensors(found[0], name)


def _chosen(shapes: Mapping[str, tuple[int, ...]], path: Path) -> str:
    """The name of the tensor that is the latents."""
    named = [name for name in shapes if NAMED.fullmatch(name)] or list(shapes)
    if len(named) == 1:
        return named[0]
    held = ", ".join(f"{name[:60]} {list(shape)}" for name, shape in [*shapes.items()][:SHOWN])
    raise UnreadableError(
        path, f"holds {held or 'no tensor'}; latents are one tensor, alone or named `latents`"
    )


def steps(request: dict, space: Sequence[int]) -> int:
    """How many steps of so many positions are read at a time."""
    return max(1, request["positions"] // max(1, math.prod(space)))
