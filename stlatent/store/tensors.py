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
from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ..model.config import Strict
from .parse import SAID, parse_json, parse_record
from .place import Place

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
DTYPE_OF = {code: dtype for dtype, code in CODES.items()}
HEADER_BYTES = 100_000_000  # at most, as the format has it
BLOCK_BYTES = 2**20  # of float32 values that are in memory at a time
SPOOL_BYTES = 8 * 2**20  # what is shorter stays in memory
INT8_STEPS = 127


class Entry(NamedTuple):
    """A tensor to be written. `blocks` gives its values, cut along the first axis."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    blocks: Callable[[], Iterable[Tensor]]


class TensorSpan(NamedTuple):
    """A tensor in a file, and which bytes of the file it is."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def bytes(self) -> int:
        """That a tensor of this shape has."""
        return math.prod(self.shape) * DTYPES[self.dtype].itemsize

    def rows(self, first: int, last: int) -> TensorSpan:
        """The steps `first` to `last` of its first axis."""
        step = (self.stop - self.start) // max(self.shape[0], 1)
        start = self.start + step * first
        return TensorSpan(
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


class TensorRecord(Strict):
    """What the header of a safetensors file says of a tensor.

    Attributes:
        dtype: of its values, as safetensors names it.
        shape: its sizes.
        data_offsets: its first byte, and the first after it, counted from the end of the header.
    """

    dtype: Literal[tuple(CODES.values())]
    shape: tuple[Annotated[int, Field(ge=0, le=2**62)], ...]
    data_offsets: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]]

    def span(self, start: int, size: int) -> TensorSpan:
        """Where the tensor lies in a file of `size` bytes whose header ends at `start`.

        Raises:
            ValueError: not inside the file, or with more or fewer bytes than its shape has.
        """
        first, last = (start + offset for offset in self.data_offsets)
        found = TensorSpan(DTYPE_OF[self.dtype], self.shape, first, last)
        if last > size or last - first != found.bytes:
            raise ValueError(
                f"a tensor {list(self.shape)} of {self.dtype} has {found.bytes} bytes, but is said "
                f"to lie from {first} to {last} of {size}"
            )
        return found


def read_spans(place: Place, name: str) -> dict[str, TensorSpan]:
    """Where the tensors of a safetensors file are.

    Raises:
        ValueError: the file is missing or no such file, or says what cannot be.
    """
    file, size = place / name, place.size(name)
    length = int.from_bytes(place.read(name, 0, 8), "little")
    if size < 8 or length > min(size - 8, HEADER_BYTES):
        raise ValueError(f"{file} is no safetensors file: its header does not end inside it")
    header = parse_json(place.read(name, 8, 8 + length), file)
    if not isinstance(header, dict):
        raise ValueError(f"{file} is no safetensors file: its header is no mapping")
    header.pop("__metadata__", None)
    found = {}
    for key, values in header.items():
        try:
            found[key] = parse_record(TensorRecord, values, key).span(8 + length, size)
        except ValueError as error:
            raise ValueError(f"{file}: {error}"[:SAID]) from None
    return found


def to_bytes(values: Tensor) -> bytes:
    """Row by row, whatever the strides are."""
    same_size = {1: torch.int8, 2: torch.int16, 4: torch.int32}[values.element_size()]
    return values.view(same_size).numpy().tobytes()  # numpy knows no bfloat16


def from_bytes(content: bytes, dtype: str, shape: Sequence[int]) -> Tensor:
    """The inverse of `to_bytes`: a tensor of this shape."""
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
        """Write a tensor behind those that are there; `end` is then the byte behind it."""
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
        """Of no positions yet."""
        return Moments(0, torch.zeros(channels).double(), torch.zeros(channels).double())

    @staticmethod
    def of(values: Tensor) -> Moments:
        """Moments of `values` `[C, *axes]` over all axes."""
        values = values.double().flatten(1)
        mean = values.mean(1)
        return Moments(values.shape[1], mean, (values - mean[:, None]).square().sum(1))

    def merge(self, other: Moments) -> Moments:
        """Of the positions of both."""
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
