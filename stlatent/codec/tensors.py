"""Safetensors files whose tensors are longer than memory, and exact running statistics."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
CODES = {"float16": "F16", "bfloat16": "BF16", "float32": "F32"}


class TensorFile:
    """A safetensors file written piece by piece.

    The format wants all shapes before the first value, and those of a video are known only at its
    end. So values go to a file beside it, in order, and the header is put before them at the end.
    """

    def __init__(self, path: Path, dtype: str, metadata: Mapping[str, str]) -> None:
        self.path, self.dtype = path, dtype
        self._header: dict[str, object] = {"__metadata__": dict(metadata)}
        self._values = open(path.with_suffix(".values"), "w+b")  # noqa: SIM115
        self._shape: list[int] | None = None
        self.bytes = 0

    def append(self, values: Tensor) -> None:
        """Make the tensor under way longer by `values`, along its first axis."""
        if self._shape is None:
            self._shape = [0, *values.shape[1:]]
        self._shape[0] += len(values)
        self._values.write(values.contiguous().view(torch.uint8).numpy().data)

    def end(self, name: str) -> tuple[int, ...]:
        """Finish the tensor under way and return its shape."""
        shape, start, self.bytes = self._shape, self.bytes, self._values.tell()
        span = [start, self.bytes]
        self._header[name] = {"dtype": CODES[self.dtype], "shape": shape, "data_offsets": span}
        self._shape = None
        return tuple(shape or ())

    def discard(self) -> None:
        """Forget the tensor under way."""
        self._values.seek(self.bytes)
        self._values.truncate()
        self._shape = None

    def close(self) -> None:
        """Write the file."""
        header = json.dumps(self._header).encode()
        header += b" " * (-len(header) % 8)  # values start at a multiple of 8 bytes
        with self._values as values, open(self.path, "wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            values.seek(0)
            shutil.copyfileobj(values, file, 1 << 20)
        Path(values.name).unlink()

    def abandon(self) -> None:
        self._values.close()


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations per channel, in float64.

    Merging is exact up to float64 rounding, so that shards may be counted apart
    (Chan, Golub & LeVeque 1979).
    """

    count: int
    mean: Tensor
    m2: Tensor

    @staticmethod
    def none(channels: int) -> Moments:
        return Moments(0, torch.zeros(channels).double(), torch.zeros(channels).double())

    @staticmethod
    def of(values: Tensor) -> Moments:
        """Moments of `values` `[C, *axes]` over all axes."""
        values = values.double().flatten(1)
        mean = values.mean(1)
        return Moments(values.shape[1], mean, (values - mean[:, None]).square().sum(1))

    def merge(self, other: Moments) -> Moments:
        count = self.count + other.count
        if count == 0:
            return self
        offset = other.mean - self.mean
        mean = self.mean + offset * (other.count / count)
        m2 = self.m2 + other.m2 + offset.square() * (self.count * other.count / count)
        return Moments(count, mean, m2)

    @property
    def std(self) -> Tensor:
        """Standard deviation over the whole population."""
        return (self.m2 / max(self.count, 1)).sqrt()
