"""What a run would take, before it is started."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from ..checkpoint import Model, build
from .config import RunConfig


def describe(config: RunConfig) -> str:
    """Parameter count, latent sizes and memory of one step, in words."""
    model = build(config.model)
    size = config.data.size(model.domain)
    channels = config.model.read_channels
    values = channels * torch.Size(size).numel()
    lines = [f"# parameters: {parameters(model) / 1e6:.2f} M", f"# one sample: {list(size)}"]
    if model.domain.sparse:
        return "\n".join([*lines, *at_most(model, size)]) + "\n"
    total = 0
    for level, shape in enumerate(model.latent_shape(size)):
        numbers = torch.Size(shape).numel()
        total += numbers
        lines.append(
            f"# level {level}: {list(shape)}, {numbers} numbers, 1/{values / numbers:.0f} of input"
        )
    lines.append(f"# all levels: {total} numbers, 1/{values / total:.1f} of the input values")
    if not any(level.codebook for level in model.levels):
        model = model.to("meta")  # any size is counted, and none computed; codes need values
    weights, activations = step_memory(model, (config.data.batch_size, channels, *size))
    lines.append(
        f"# memory of one step in float32: {weights / 2**20:.0f} MiB for weights, gradients, "
        f"moments and average, {activations / 2**20:.0f} MiB for activations"
    )
    return "\n".join(lines) + "\n"


def at_most(model: Model, size: Sequence[int]) -> Iterator[str]:
    """Of a model whose finer latents depend on the shape, how many there are."""
    for level, shape in enumerate(model.latent_shape(size)):
        own = "cells" if level == 0 else "cells at most, those near the surface"
        yield f"# level {level}: {shape[0]} numbers in each of {math.prod(shape[1:])} {own}"
    yield "# the memory of a step grows with the surface of the shapes, and is not foretold"


def parameters(model: nn.Module) -> int:
    """How many numbers its weights are."""
    return sum(p.numel() for p in model.parameters())


def step_memory(model: Model, shape: tuple[int, ...]) -> tuple[int, int]:
    """Bytes of a training step: (weights and all that is kept per weight, kept activations).

    Counted by running one forward pass and adding up the storages autograd keeps for it.

    Raises:
        ValueError: the pass itself cannot be run.
    """
    own = {p.untyped_storage()._cdata for p in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return tensor

    try:
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            model(torch.zeros(shape, device=next(model.parameters()).device))
    except RuntimeError as error:  # torch has no class of its own for too little memory
        reason = str(error).splitlines()[0]
        raise ValueError(f"no step can be run on a batch of {list(shape)}: {reason}") from None
    activations = sum(storage.nbytes() for storage in kept.values())
    per_weight = 4 * 5  # weight, gradient, two moments, average, float32 each
    return per_weight * parameters(model), activations
