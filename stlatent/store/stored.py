"""How the levels of a data set are stored, as records; FORMAT.md describes the files."""

from __future__ import annotations

from typing import Literal

from ..model.config import Strict
from ..model.ladder import Ladder
from .codebooks import codebook_size, codebook_tables, index_dtype

Dtype = Literal["float16", "bfloat16", "float32", "int8", "uint8", "uint16", "int32", "bits"]


class FileRecord(Strict):
    """A file of tensors as it was written."""

    bytes: int
    sha256: str


class StoredCodes(Strict):
    """Of a level whose latents are vectors of codebooks.

    Attributes:
        groups: latent variables of the level, whose channels lie side by side.
        depth: codes of each at each position; their vectors are summed.
        size: codes to choose from.
        file: of the vectors, where indices are stored; see `codebooks.py`.
    """

    groups: int
    depth: int
    size: int
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

    stride: tuple[int, ...]
    channels: int
    dtype: Dtype
    codes: StoredCodes | None = None

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
        channels = level.latent * level.groups
        return StoredLevel(stride=level.stride, channels=channels, dtype=dtype, codes=codes)


class Coding(Strict):
    """What the probabilities of entropy-coded latents depend on beside the model.

    Attributes:
        step: per level, how wide a step of rounding is, in deviations of the posterior.
        chunk_pixels: of all frames of a chunk, about: those that go through the network together.
        numerics: of the entropy coder, 8 hex digits, see `entropy.numerics`.
    """

    step: tuple[float, ...]
    chunk_pixels: int
    numerics: str
