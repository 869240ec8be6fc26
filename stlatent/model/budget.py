"""A bound on what a module that is described by a file may take while it is built."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

SIZED = {torch.empty, torch.full, torch.ones, torch.rand, torch.randn, torch.zeros}
TENSORS_PER_STORED, TENSORS_BESIDE = 4, 200
VALUES_PER_STORED, VALUES_BESIDE = 3, 2**20


class BuildBudget(TorchFunctionMode):
    """Inside it, new tensors and their values may add up to a few times those that are stored.

    So the time and memory in which a module is built, or refused, follow from the size of its file,
    whatever its config asks for.

    Args:
        stored: the tensors of the file.

    Raises:
        ValueError: more is created. Nothing of it has been allocated yet.
    """

    def __init__(self, stored: Iterable[Tensor]) -> None:
        super().__init__()
        sizes = [tensor.numel() for tensor in stored]
        self._tensors = TENSORS_PER_STORED * len(sizes) + TENSORS_BESIDE
        self._values = VALUES_PER_STORED * sum(sizes) + VALUES_BESIDE

    def __torch_function__(
        self,
        func: Callable,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if (values := _created(func, args, kwargs)) is not None:
            self._tensors -= 1
            self._values -= values
            if self._tensors < 0 or self._values < 0:
                raise ValueError("its config asks for far more than its tensors hold")
        return func(*args, **kwargs)


def _created(func: Callable, args: Sequence[Any], kwargs: Mapping[str, Any]) -> int | None:
    """How many values a call creates; None where it is not known for creating any."""
    if func is torch.arange:
        return int(max(args, default=0))
    if func is torch.eye:
        return math.prod(args[:2]) if len(args) > 1 else args[0] ** 2
    if func not in SIZED:
        return None
    size = kwargs.get("size", args)
    return math.prod(size[0] if size and isinstance(size[0], Sequence) else size)
