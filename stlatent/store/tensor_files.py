"""The tensors of items in the files of a data set, as their records say they are."""

from __future__ import annotations

import math

from torch import Tensor

from ..bits.entropy import BLOCK
from .codebooks import latents_of, read_codebook
from .header import Header, Part, in_memory, level_file, scale_key
from .place import Place
from .records import Item
from .tensors import TensorSpan, from_bytes, read_spans

HEADERS = 4096  # of files, kept in memory
UNTOLD = 2**20  # numbers per byte, at most, where a level need not be told in a chunk of a tile


class TensorFiles:
    """Reads tensors of single items, and no bytes but theirs and one header per file.

    What a file's header says is compared with the records before anything is read or allocated, so
    the memory that is taken follows from the sizes of files.
    """

    def __init__(self, place: Place, header: Header) -> None:
        self.place, self.header = place, header
        self._spans: dict[str, dict[str, TensorSpan]] = {}
        self._tables: dict[int, Tensor] = {}

    def span(self, item: Item, unit: int, level: int, part: Part = "mean") -> TensorSpan:
        """Where the tensor of an item lies.

        Raises:
            ValueError: its file is missing or broken, or holds something else.
        """
        file, dtype = level_file(level, unit, part), self.header.dtype(level, part)
        found, shape = self._entry(file, item.name, level), self.header.tensor_shape(item, level)
        if dtype == "bits":
            fits = found.dtype == "uint8" and len(found.shape) == 1
            # so many symbols at most: each has a block, and each block a byte of origin
            most = UNTOLD if self.header.coding.target else BLOCK
            fits = fits and math.prod(shape) <= most * found.bytes
        else:
            fits = (found.dtype, found.shape) == (dtype, shape)
        if not fits:
            raise ValueError(
                f"{self.place / file} holds {found.dtype} {list(found.shape)} for '{item.name}', "
                f"where its record says {dtype} {list(shape)}"
            )
        return found

    def values(
        self, item: Item, unit: int, level: int, part: Part, steps: tuple[int, int] | None
    ) -> Tensor:
        """Latents or deviations `[C, *axes]`, float32; `steps` cuts along time, if there is time.

        Raises:
            ValueError: its file is missing or broken, holds something else, or values that are not
                finite.
        """
        file, span = level_file(level, unit, part), self.span(item, unit, level, part)
        values = self._tensor(file, span.rows(*steps) if steps else span)
        if span.dtype == "int8":
            scale = self._scale(file, item, level)
            values = values * scale.view(-1, *[1] * (values.ndim - (2 if steps else 1)))
        values = in_memory(values, self.header.over)
        if self.header.levels[level].codes:
            return latents_of(values, self._table(level))
        if not values.isfinite().all():
            raise ValueError(
                f"{self.place / file} holds values of '{item.name}' that are not finite"
            )
        return values.float()

    def _scale(self, file: str, item: Item, level: int) -> Tensor:
        """Of an int8 tensor `[C]`."""
        span = self._entry(file, scale_key(item.name), level)
        if (span.dtype, span.shape) != ("float32", (self.header.levels[level].channels,)):
            raise ValueError(f"{self.place / file} has no scale per channel for '{item.name}'")
        return self._tensor(file, span)

    def _table(self, level: int) -> Tensor:
        if level not in self._tables:
            about = self.header.levels[level]
            book = about.codes
            shape = (book.groups, book.depth, book.size, about.channels // book.groups)
            self._tables[level] = read_codebook(self.place, level, shape)
        return self._tables[level]

    def _entry(self, file: str, key: str, level: int) -> TensorSpan:
        """Headers are kept, as each serves many items."""
        if file not in self._spans:
            if not self.place.exists(file):
                missing = f"the {level} coarser levels do without it"
                raise ValueError(f"{self.place / file} is missing; {missing}")
            if len(self._spans) >= HEADERS:
                self._spans.clear()
            self._spans[file] = read_spans(self.place, file)
        try:
            return self._spans[file][key]
        except KeyError:
            raise ValueError(f"{self.place / file} has no tensor '{key}'") from None

    def _tensor(self, file: str, span: TensorSpan) -> Tensor:
        content = self.place.read(file, span.start, span.stop)
        if len(content) != span.stop - span.start:
            raise ValueError(f"{self.place / file} is cut off; `stlatent verify` says what else is")
        return from_bytes(content, span.dtype, span.shape)
