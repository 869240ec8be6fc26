"""How the levels of a data set are stored, as records; FORMAT.md describes the files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from ..model.config import Positive, Strict
from .codebooks import codebook_size, codebook_tables, index_dtype
from .records import FileRecord

if TYPE_CHECKING:
    from ..model.ladder import Ladder

Dtype = Literal["float16", "bfloat16", "float32", "int8", "uint8", "uint16", "int32", "bits"]


class StoredCodes(Strict):
    """Of a level whose latents are vectors of codebooks.

    Attributes:
        groups: latent variables of the level, whose channels lie side by side.
        depth: codes of each at each position; their vectors are summed.
        size: codes to choose from.
        file: of the vectors, where indices are stored; see `codebooks.py`.
    """

    groups: Positive
    depth: Positive
    size: Annotated[int, Field(ge=1, le=2**31)]
    file: FileRecord | None


class StoredLevel(Strict):
    """What the tensors of one level are.

    Attributes:
        stride: per axis.
        channels: of the latents.
        dtype: on disk; an unsigned or int32 one is that of indices of codes, `bits` is
            entropy-coded.
        codes: where the latents are codes.
    """

    stride: tuple[Annotated[int, Field(ge=1, le=2**16)], ...]
    channels: Positive
    dtype: Dtype
    codes: StoredCodes | None = None

    @model_validator(mode="after")
    def _codes_have_a_dtype(self) -> StoredLevel:
        index = self.codes is not None and self.dtype != "bits"
        if index and (self.codes.file is None or self.dtype != index_dtype(self.codes.size)):
            raise ValueError(f"{self.codes.size} codes are {self.dtype}, or their file is not said")
        if not index and self.dtype in ("uint8", "uint16", "int32"):
            raise ValueError(f"dtype is {self.dtype}, which is for indices of codes")
        if self.codes and self.channels % self.codes.groups:
            raise ValueError(f"{self.codes.groups} groups do not divide {self.channels} channels")
        return self

    @property
    def numbers(self) -> int:
        """Per position: latents, or codes."""
        return self.codes.groups * self.codes.depth if self.codes else self.channels

    @staticmethod
    def of(model: Ladder, k: int, dtype: Dtype) -> StoredLevel:
        """Level `k` of a model; codes are stored as indices unless `dtype` is `bits`."""
        level, codes = model.levels[k], None
        if level.codebook:
            table = codebook_tables(model)[k]
            groups, depth, size, _ = table.shape
            file = None
            if dtype != "bits":
                dtype, (count, digest) = index_dtype(size), codebook_size(table)
                file = FileRecord(bytes=count, sha256=digest)
            codes = StoredCodes(groups=groups, depth=depth, size=size, file=file)
        channels = channels_of(model, k)
        return StoredLevel(stride=level.stride, channels=channels, dtype=dtype, codes=codes)


def channels_of(model: Ladder, k: int) -> int:
    """Of level `k` on its grid: its latents and, where finer levels exist in places, the mark."""
    level = model.levels[k]
    return level.latent * level.groups + model.domain.sparse
