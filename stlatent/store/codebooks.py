"""The vectors of the codes of a level, beside the indices that stand for them on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..model.codebook import vectors
from .place import Place
from .tensors import Entry, file_blocks, from_bytes, read_spans

if TYPE_CHECKING:
    from ..model.ladder import Ladder

KEY = "codebook"  # of the one tensor of the file


def codebook_file(level: int) -> str:
    """Its name below the folder of a data set."""
    return f"level_{level}/codebook.safetensors"


def index_dtype(size: int) -> str:
    """The least that holds the indices of so many codes."""
    return "uint8" if size <= 2**8 else "uint16" if size <= 2**16 else "int32"


def codebook_tables(model: Ladder) -> dict[int, Tensor]:
    """The vectors of each level that has codes `[groups, depth, size, C]`, float32, on the CPU."""
    return {
        k: torch.stack([cell.posterior.codebook.table().cpu() for cell in cells])
        for k, (level, cells) in enumerate(zip(model.config.levels, model.cells, strict=True))
        if level.codebook
    }


def codebook_blocks(table: Tensor) -> Iterator[bytes]:
    """The bytes of the file of a table."""
    yield from file_blocks([Entry(KEY, "float32", tuple(table.shape), lambda: [table])], {})


def codebook_size(table: Tensor) -> tuple[int, str]:
    """Bytes and sha256 of its file."""
    content = b"".join(codebook_blocks(table))
    return len(content), hashlib.sha256(content).hexdigest()


def write_codebooks(place: Place, tables: Mapping[int, Tensor]) -> None:
    """Write the vectors of levels, by their numbers, see `codebook_tables`."""
    for level, table in tables.items():
        place.put(codebook_file(level), codebook_blocks(table))


def read_codebook(place: Place, level: int, shape: Sequence[int]) -> Tensor:
    """`[groups, depth, size, C]`, float32.

    Raises:
        ValueError: the file is missing or broken, or its vectors are not of this shape, or not
            finite.
    """
    file = codebook_file(level)
    span = read_spans(place, file).get(KEY)
    if span is None or (span.dtype, span.shape) != ("float32", (*shape,)):
        raise ValueError(f"{place / file} does not hold the vectors {list(shape)} of level {level}")
    table = from_bytes(place.read(file, span.start, span.stop), span.dtype, span.shape)
    if not table.isfinite().all():
        raise ValueError(f"{place / file} holds vectors that are not finite")
    return table


def latents_of(indices: Tensor, table: Tensor) -> Tensor:
    """Indices `[groups * depth, *axes]` -> the vectors they stand for `[C, *axes]`.

    Raises:
        ValueError: there is no such vector.
    """
    indices = indices.long()
    if indices.numel() and not 0 <= indices.min().item() <= indices.max().item() < table.shape[2]:
        raise ValueError(f"codes are from 0 to {table.shape[2] - 1}; some of these are not")
    groups = indices.split(table.shape[1])
    return torch.cat([vectors(g[None], t)[0] for g, t in zip(groups, table, strict=True)])
