"""The whole state of a run in one safetensors file, so that resuming continues it exactly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from ..model.config import Strict
from ..model.documents import from_json
from ..weights import fill, header_of, read, write

FORMAT = "stlatent.run.2"


class StateHeader(Strict):
    """The metadata of the state of a run.

    Attributes:
        format: of the file.
        values: JSON of what `save` was given.
        groups: JSON of the settings of every optimiser, by name.
    """

    format: Literal["stlatent.run.2"] = FORMAT
    values: str
    groups: str


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
        ValueError: the file is no state of a run, or of another one; names the first tensor that
            is missing or unfit.
    """
    tensors, metadata = read(path)
    header = header_of(StateHeader, metadata, path, "state of a run")
    groups = from_json(header.groups, f"groups of {path}")
    values = from_json(header.values, f"values of {path}")
    if not isinstance(groups, dict) or not isinstance(values, dict):
        raise ValueError(f"{path} holds no groups or values of a run")
    for name, module in modules.items():
        fill(module, _below(tensors, name), f"{path}, {name},")
    for name, optimiser in optimisers.items():
        moments = _moments(optimiser, _below(tensors, name), f"{path}, {name},")
        try:
            optimiser.load_state_dict({"state": moments, "param_groups": groups.get(name)})
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ValueError(f"{path} holds no settings of the {name} of this run") from None
    return values


def _moments(
    optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor], source: str
) -> dict[int, dict[str, Tensor]]:
    """What an optimiser remembers of each of its parameters, by their number; ValueError if it
    cannot be of these."""
    own = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    found: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, moment = key.partition("/")
        number = int(index) if index.isdecimal() else len(own)
        if number >= len(own) or value.shape not in (torch.Size(), own[number].shape):
            raise ValueError(
                f"{source} has a tensor '{key:.100}' {list(value.shape)} that is not of this run"
            )
        found.setdefault(number, {})[moment] = value
    return found


def _below(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {k.removeprefix(f"{name}/"): v for k, v in tensors.items() if k.startswith(f"{name}/")}
