"""Safetensors files whose tensors are longer than memory, and exact statistics of what they hold.

A file is a header, 8 bytes of its length before it, and the values:
https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

DTYPES = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "int8": torch.int8,
    "uint8": torch.uint8,
    "uint16": torch.uint16,
    "int32": torch.int32,
}
CODES = {
    "float16": "F16",
    "bfloat16": "BF16",
    "float32": "F32",
    "int8": "I8",
    "uint8": "U8",
    "uint16": "U16",
    "int32": "I32",
}
BLOCK_BYTES = 2**20  # of float32 values that are in memory at a time
SPOOL_BYTES = 8 * 2**20  # what is shorter stays in memory
INT8_STEPS = 127


class Entry(NamedTuple):
    """A tensor to be written. `blocks` gives its values, cut along the first axis."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    blocks: Callable[[], Iterable[Tensor]]


class Extent(NamedTuple):
    """A tensor in a file, and which bytes of the file it is."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    def rows(self, first: int, last: int) -> Extent:
        """The steps `first` to `last` of its first axis."""
        step = (self.stop - self.start) // max(self.shape[0], 1)
        start = self.start + step * first
        return Extent(
            self.dtype, (last - first, *self.shape[1:]), start, start + step * (last - first)
        )


def file_blocks(entries: Sequence[Entry], metadata: Mapping[str, str]) -> Iterator[bytes]:
    """The bytes of a safetensors file."""
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for entry in entries:
        size = math.prod(entry.shape) * DTYPES[entry.dtype].itemsize
        span = [end, end + size]
        header[entry.name] = {
            "dtype": CODES[entry.dtype],
            "shape": entry.shape,
            "data_offsets": span,
        }
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # values start at a multiple of 8 bytes
    yield len(text).to_bytes(8, "little") + text
    for entry in entries:
        for block in entry.blocks():
            yield to_bytes(block)


def read_extents(read: Callable[[int, int], bytes]) -> dict[str, Extent]:
    """Where the tensors of a safetensors file are; `read(start, stop)` gives bytes of it.

    Raises:
        ValueError: it is no such file, or has a dtype that is not known here.
    """
    names = {code: name for name, code in CODES.items()}
    try:
        length = int.from_bytes(read(0, 8), "little")
        header = json.loads(read(8, 8 + min(length, 2**30)))
        return {
            name: Extent(
                names[found["dtype"]],
                tuple(found["shape"]),
                *(8 + length + offset for offset in found["data_offsets"]),
            )
            for name, found in header.items()
            if name != "__metadata__"
        }
    except (KeyError, TypeError, AttributeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"it is no safetensors file of latents ({error})") from None


def to_bytes(values: Tensor) -> bytes:
    """Row by row, whatever the strides are."""
    same_size = {1: torch.int8, 2: torch.int16, 4: torch.int32}[values.element_size()]
    return values.view(same_size).numpy().tobytes()  # numpy knows no bfloat16


def from_bytes(content: bytes, dtype: str, shape: Sequence[int]) -> Tensor:
    if not content:
        return torch.empty(*shape, dtype=DTYPES[dtype])
    return (
        torch.from_numpy(np.frombuffer(bytearray(content), np.uint8))
        .view(DTYPES[dtype])
        .view(*shape)
    )


def row_blocks(shape: Sequence[int], whole: bool) -> Iterator[tuple[int, int]]:
    """Cuts a tensor along its first axis, unless it must stay whole; where, depends on the shape
    alone."""
    rows = max(1, BLOCK_BYTES // (4 * max(1, math.prod(shape[1:]))))
    rows = max(1, shape[0]) if whole else rows
    yield from ((start, min(start + rows, shape[0])) for start in range(0, shape[0], rows))


class Spool:
    """Tensors one after the other, on disk where they are long; the file has no name, so that
    nothing is left of it whatever happens."""

    def __init__(self, dtype: str, folder: Path | None) -> None:
        self.dtype, self.end = dtype, 0
        self._file = tempfile.SpooledTemporaryFile(SPOOL_BYTES, dir=folder)  # noqa: SIM115

    def append(self, values: Tensor) -> None:
        content = to_bytes(values)
        self._file.seek(self.end)
        self._file.write(content)
        self.end += len(content)

    def blocks(self, start: int, shape: Sequence[int], whole: bool) -> Iterator[Tensor]:
        """A tensor that begins at byte `start`; for `whole` see `row_blocks`."""
        step = math.prod(shape[1:]) * DTYPES[self.dtype].itemsize
        for first, last in row_blocks(shape, whole):
            self._file.seek(start + first * step)
            content = self._file.read((last - first) * step)
            yield from_bytes(content, self.dtype, (last - first, *shape[1:]))

    def close(self) -> None:
        self._file.close()


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations per channel, in float64.

    Merging is exact up to float64 rounding, so that parts may be counted apart
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
