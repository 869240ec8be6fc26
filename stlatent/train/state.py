"""The whole state of a run in one safetensors file, so that resuming continues it exactly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ..checkpoint import read, write

FORMAT = "stlatent.run.2"


def save(
    path: Path,
    modules: Mapping[str, nn.Module],
    optimisers: Mapping[str, torch.optim.Optimizer],
    values: Mapping[str, object],
) -> None:
    """Write modules, the moments of optimisers and plain JSON values, atomically."""
    tensors = {
        f"{m}/{k}": v for m, module in modules.items() for k, v in module.state_dict().items()
    }
    groups = {}
    for name, optimiser in optimisers.items():
        state = optimiser.state_dict()
        groups[name] = state["param_groups"]
        for index, moments in state["state"].items():
            tensors |= {f"{name}/{index}/{k}": torch.as_tensor(v) for k, v in moments.items()}
    metadata = {
        "format": FORMAT,
        "values": json.dumps(dict(values)),
        "groups": json.dumps(groups),
    }
    write(path, {k: v.contiguous() for k, v in tensors.items()}, metadata)


def load(
    path: Path,
    modules: Mapping[str, nn.Module],
    optimisers: Mapping[str, torch.optim.Optimizer],
) -> dict[str, object]:
    """Put a saved state back into the same modules and optimisers; returns the values.

    Raises:
        ValueError: the file is no state of a run.
    """
    tensors, metadata = read(path)
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} is no state of a run (format {metadata.get('format')!r})")
    groups = json.loads(metadata["groups"])
    for name, module in modules.items():
        module.load_state_dict(_below(tensors, name))
    for name, optimiser in optimisers.items():
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in _below(tensors, name).items():
            index, moment = key.split("/")
            state.setdefault(int(index), {})[moment] = value
        optimiser.load_state_dict({"state": state, "param_groups": groups[name]})
    return json.loads(metadata["values"])


def _below(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {k.removeprefix(f"{name}/"): v for k, v in tensors.items() if k.startswith(f"{name}/")}
