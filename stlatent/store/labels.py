"""What the items of a data set are conditioned on: a class each, or a vector."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor

from .place import Place
from .tensors import from_bytes, read_spans


def folder_classes(names: Sequence[str]) -> tuple[dict[str, int], list[str]]:
    """Classes of items or sources by the folder they lie in, such as `dog` for `dog/1.mp4`.

    Returns:
        The class of each name, and the names of the classes in the order of their numbers.

    Raises:
        ValueError: a name lies in no folder.
    """
    if loose := [name for name in names if "/" not in name]:
        raise ValueError(f"{loose[0]} lies in no folder, which would be its class")
    folders = {name: PurePosixPath(name).parts[0] for name in names}
    classes = sorted(set(folders.values()))
    number = {folder: i for i, folder in enumerate(classes)}
    return {name: number[folder] for name, folder in folders.items()}, classes


class VectorFile(Mapping[str, Tensor]):
    """A vector for each name, float32, read from a file as it is asked for.

    Args:
        path: a `.safetensors` file with a tensor for each name, here or behind a URL; or a `.npy`
            file `[N, ...]` of this machine, whose rows are those of `names`.
        names: for a `.npy` file: what its rows belong to, in their order.

    Raises:
        ValueError: the file is none of these, or has more or fewer rows than there are names.
    """

    def __init__(self, path: str | Path, names: Sequence[str] | None = None) -> None:
        local = "://" not in str(path)
        self._path = os.path.realpath(path) if local else str(path)
        folder, _, self._file = self._path.rpartition("/")
        self._place, self._rows = Place(folder or "."), names is not None
        if self._file.endswith(".safetensors") and not self._rows:
            self._where = read_spans(self._place, self._file)
            return
        if not self._file.endswith(".npy") or not self._rows:
            raise ValueError(f"{path}: give a .safetensors file, or a .npy file and its names")
        if (rows := len(self._mapped())) != len(names):
            raise ValueError(f"{path} has {rows} rows for {len(names)} names")
        self._where = {name: i for i, name in enumerate(names)}

    def __getitem__(self, name: str) -> Tensor:
        where = self._where[name]
        if self._rows:
            return torch.from_numpy(np.array(self._mapped()[where])).float()
        content = self._place.read(self._file, where.start, where.stop)
        return from_bytes(content, where.dtype, where.shape).float()

    def _mapped(self) -> np.ndarray:
        """Not kept: it would be sent to other processes as a whole."""
        try:
            return np.load(self._path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ValueError(f"{self._path} cannot be read: {error}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)
