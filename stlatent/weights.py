"""Tensors in files: safetensors with metadata that are checked, and modules filled from them.

Nothing is unpickled, and nothing is allocated that the file does not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar, get_args

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .files import writing
from .model.budget import BuildBudget
from .model.config import Strict, parse

Module = TypeVar("Module", bound=nn.Module)
Header = TypeVar("Header", bound=Strict)


def write(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file under a temporary name, then move it into place."""
    with writing(path) as partial:
        try:
            save_file(dict(tensors), partial, dict(metadata))
        except SafetensorError as error:  # such as a full disk
            raise OSError(f"{path} cannot be written: {error}") from None
        partial.chmod(0o644)  # safetensors makes files that only their owner can read


def read(path: Path, tensors: bool = True) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors (unless not wanted) and metadata of a safetensors file.

    Raises:
        ValueError: the file is no safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            found = {name: file.get_tensor(name) for name in file.keys()} if tensors else {}  # noqa: SIM118
            return found, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} cannot be read as safetensors: {error}") from None


def header_of(schema: type[Header], metadata: Mapping[str, str], path: Path, kind: str) -> Header:
    """The metadata of a file as `schema`, which has a field `format`.

    Args:
        kind: of the file, in words, for the message of an error.

    Raises:
        ValueError: it is a file of another format, or its metadata are not those of this one.
    """
    field, found = schema.model_fields["format"], metadata.get("format")
    if found not in get_args(field.annotation):
        raise ValueError(
            f"{path} is no stlatent {kind} (format {found!r:.60}, expected {field.default!r})"
        )
    return parse(schema, metadata, f"metadata of {path}")


def filled(make: Callable[[], Module], tensors: Mapping[str, Tensor], path: Path) -> Module:
    """The module that `make` makes, with stored weights, in evaluation mode and without gradients.

    Raises:
        ValueError: the module has not these tensors; names the first that is missing or unfit.
    """
    try:
        with BuildBudget(tensors.values()):
            module = make()
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    fill(module, {name: _computed(tensor) for name, tensor in tensors.items()}, str(path))
    return module.float().eval().requires_grad_(False)  # whatever the default type is


def fill(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Put stored tensors into `module`.

    Raises:
        ValueError: the module has not these tensors; names the first that is missing or unfit.
    """
    wanted = module.state_dict()
    for name in [*wanted, *tensors]:
        if name not in tensors:
            raise ValueError(f"{source} has no tensor '{name}', which its config asks for")
        if name not in wanted:
            raise ValueError(
                f"{source} has a tensor '{name:.100}' that its config does not ask for"
            )
        if _kind(tensors[name]) != _kind(wanted[name]):
            raise ValueError(
                f"{source}: tensor '{name}' is {_kind(tensors[name])}; its config asks for "
                f"{_kind(wanted[name])}"
            )
    module.load_state_dict(tensors)


def _kind(tensor: Tensor) -> str:
    number = "numbers" if tensor.is_floating_point() else str(tensor.dtype).removeprefix("torch.")
    return f"{number} {list(tensor.shape)}"


def _computed(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
