"""MNIST as the studies use it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

NAMES = [(letter, part) for part in ("train", "test") for letter in ("x", "y")]


@dataclass(frozen=True)
class Digits:
    """Grey digits `[n, 1, 28, 28]` in [0, 1] and their classes `[n]`."""

    images: Tensor
    classes: Tensor

    def binary(self, generator: torch.Generator) -> Tensor:
        """Drawn anew: -1 or 1, with each pixel's grey value as the probability of 1."""
        return binarised(self.images, generator)


@dataclass(frozen=True)
class BinaryBatches:
    """One pass in random order, binarised on the way (dynamic binarisation)."""

    digits: Digits
    size: int
    generator: torch.Generator

    def __iter__(self) -> Iterator[Tensor]:
        order = torch.randperm(len(self.digits.images), generator=self.generator)
        for rows in order.split(self.size):
            if len(rows) == self.size:
                yield binarised(self.digits.images[rows], self.generator)


def binarised(grey: Tensor, generator: torch.Generator) -> Tensor:
    return 2.0 * torch.bernoulli(grey, generator=generator) - 1


def load(path: str | Path) -> tuple[Digits, Digits]:
    """Training and test set from an archive such as Keras' mnist.npz: x_train, y_train, x_test,
    y_test, in either order of words. The test set comes in random order, always the same, as some
    archives are sorted by class. Raises ValueError where the file is no such archive."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {frozenset(name.split("_")): file[name] for name in file.files}
        parts = [arrays[frozenset(name)] for name in NAMES]
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be read as MNIST (x_train, y_train, x_test, y_test): {error}"
        ) from None
    images = [torch.from_numpy(x).unsqueeze(1).float() / 255 for x in parts[::2]]
    classes = [torch.from_numpy(y).long() for y in parts[1::2]]
    train, test = (Digits(*pair) for pair in zip(images, classes, strict=True))
    order = torch.randperm(len(test.images), generator=torch.Generator().manual_seed(0))
    return train, Digits(test.images[order], test.classes[order])
