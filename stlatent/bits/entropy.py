"""Symbols to bits and back by range coding, on probabilities that machines agree about.

A decoder needs the very probabilities that the encoder had. Both compute them with a network in
floats, whose last digits differ between machines: one symbol read wrongly, and all that follow are
garbage (CompressAI #279, DCVC #150). Here

- a distribution has a single parameter, a logarithm in nats: of a Gaussian's deviation in steps
  (its mean is subtracted before symbols are made), or of the odds of a bit;
- it is rounded to a grid. Where the grid begins is chosen by the encoder, for every block of
  values, such that none lies near the border between two cells: parameters that differ by less
  than the `tolerance` reached are rounded alike, everywhere;
- a check of all cells, and of the bytes, tells the decoder if they were not.
"""

from __future__ import annotations

import functools
import struct
import zlib
from types import ModuleType
from typing import BinaryIO

import numpy as np

SPACING = 1 / 8  # of the grid, in nats; costs SPACING**2 / 12 nats per Gaussian at most
ORIGINS = 256  # places where the grid may begin; one byte
BLOCK = 2048  # values that share an origin: fewer reach a larger tolerance and cost more bytes
LOG_SCALES = -2.25, 6.25  # below, a 0 is certain but for 2e-6; above, symbols are too few
LOG_ODDS = -12.0, 12.0
EDGE = 4096  # symbols up to here take their 2**-24 of the probabilities, likely or not
EXCESS = 2**24  # what is further out is told apart, in 24 bits
PREAMBLE = struct.Struct("<III")  # check, origins, words


class MismatchError(Exception):
    """The probabilities at hand are not those that a stream was written with; or it is damaged."""


class StreamWriter:
    """One stream of symbols.

    Attributes:
        tolerance: by how much parameters, in nats, may differ where the stream is read.
    """

    def __init__(self) -> None:
        self.tolerance = SPACING / 2  # where there is nothing to write
        self._coder = _constriction().stream.queue.RangeEncoder()
        self._origins, self._check = bytearray(), 0

    def numbers(self, log_scale: np.ndarray, symbols: np.ndarray) -> np.ndarray:
        """Write integers `[n]`, rounded values of N(0, exp(log_scale)), below EDGE + EXCESS."""
        size, deviation = np.abs(symbols), _deviation(self._cells(log_scale, LOG_SCALES))
        inner = np.clip(symbols, -EDGE, EDGE).astype(np.int32)
        self._coder.encode(inner, _gaussian(), np.zeros(len(inner)), deviation)
        self._coder.encode((size[size >= EDGE] - EDGE).astype(np.int32), _uniform())
        return symbols

    def bits(self, log_odds: np.ndarray, bits: np.ndarray) -> np.ndarray:
        """Write bits `[n]` whose odds of being 1 are exp(log_odds)."""
        probability = _probability(self._cells(log_odds, LOG_ODDS))
        self._coder.encode(bits.astype(np.int32), _bernoulli(), probability)
        return bits

    def to_bytes(self, before: bytes = b"") -> bytes:
        """The stream so far; its check covers what lies `before` it in its file, too."""
        words = self._coder.get_compressed().astype("<u4")
        content = bytes(self._origins) + words.tobytes()
        check = self._check ^ zlib.crc32(content, zlib.crc32(before))
        return PREAMBLE.pack(check, len(self._origins), len(words)) + content

    def _cells(self, values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
        values = np.clip(values.astype(np.float64), *limits)
        blocks = np.array_split(values, range(BLOCK, len(values), BLOCK))
        origins, room = zip(*(choose_origin(block) for block in blocks), strict=True)
        self.tolerance = min(self.tolerance, *room)
        self._origins += bytes(origins)
        cells = cells_of(values, np.array(origins))
        self._check = _checked(self._check, cells)
        return cells


class StreamReader:
    """Reads what a `StreamWriter` wrote, from where `file` stands: the same calls in the same
    order. What they return is not to be relied on before `verify`.

    Args:
        before: what the check of the stream covers beside it, see `StreamWriter.to_bytes`.

    Raises:
        MismatchError: the file ends within the stream.
    """

    def __init__(self, file: BinaryIO, before: bytes = b"") -> None:
        check, origins, words = PREAMBLE.unpack(exactly(file, PREAMBLE.size))
        content = exactly(file, origins + 4 * words)
        self._expected = check ^ zlib.crc32(content, zlib.crc32(before))
        self._origins = np.frombuffer(content[:origins], np.uint8).astype(np.int64)
        words = np.frombuffer(content[origins:], "<u4").astype(np.uint32)
        self._coder = _constriction().stream.queue.RangeDecoder(words)
        self._check = 0

    def numbers(self, log_scale: np.ndarray) -> np.ndarray:
        """Integers `[n]`, see `StreamWriter.numbers`.

        Raises:
            MismatchError: the parameters cannot be those that the stream was written with.
        """
        deviation = _deviation(self._cells(log_scale, LOG_SCALES))
        symbols = self._decode(_gaussian(), np.zeros(len(deviation)), deviation)
        far = np.abs(symbols) == EDGE
        symbols[far] += np.sign(symbols[far]) * self._decode(_uniform(), int(far.sum()))
        return symbols

    def bits(self, log_odds: np.ndarray) -> np.ndarray:
        """Bits `[n]`, see `StreamWriter.bits`.

        Raises:
            MismatchError: the parameters cannot be those that the stream was written with.
        """
        return self._decode(_bernoulli(), _probability(self._cells(log_odds, LOG_ODDS)))

    def verify(self) -> None:
        """Raises MismatchError unless what was read is as it was written, with the same cells."""
        if self._check != self._expected:
            raise MismatchError

    def _decode(self, *model: object) -> np.ndarray:
        try:
            return self._coder.decode(*model)
        except AssertionError:  # what constriction says of bits that the model could not have made
            raise MismatchError from None

    def _cells(self, values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
        values = np.clip(values.astype(np.float64), *limits)
        count = -(-len(values) // BLOCK)
        if len(self._origins) < count or np.isnan(values).any():
            raise MismatchError
        origins, self._origins = np.split(self._origins, [count])
        cells = cells_of(values, origins)
        self._check = _checked(self._check, cells)
        return cells


def exactly(file: BinaryIO, count: int) -> bytes:
    """So many bytes; MismatchError where the file has fewer."""
    content = file.read(count)
    if len(content) < count:
        raise MismatchError
    return content


def choose_origin(values: np.ndarray) -> tuple[int, float]:
    """Where the grid begins such that its borders keep away from all `values`, and how far."""
    phase = np.sort(values / SPACING % 1)
    ring = np.concatenate([phase[-1:] - 1, phase, phase[:1] + 1])
    borders = (np.arange(ORIGINS) / ORIGINS + 0.5) % 1
    above = np.searchsorted(ring, borders)
    room = np.minimum(ring[above] - borders, borders - ring[above - 1])
    best = int(room.argmax())
    return best, float(room[best]) * SPACING


def cells_of(values: np.ndarray, origins: np.ndarray) -> np.ndarray:
    """The middles of the cells that `values` fall into, in units of SPACING / ORIGINS nats.

    origins: of each block of values.
    """
    origin = np.repeat(origins, BLOCK)[: len(values)]
    return np.floor(values / SPACING - origin / ORIGINS + 0.5).astype(np.int64) * ORIGINS + origin


@functools.cache
def numerics() -> int:
    """32 bits that change with anything else that probabilities depend on: constriction's version,
    this machine's exp and erf. They sum up what becomes of a fixed message in which every cell
    occurs.

    Raises:
        ValueError: the extra `entropy` is not installed.
    """
    coder = _constriction().stream.queue.RangeEncoder()
    cells = _every_cell(LOG_SCALES)
    deviation = _deviation(cells)
    symbols = np.rint(deviation * (cells % 13 - 6) / 2).astype(np.int32)
    coder.encode(symbols, _gaussian(), np.zeros(len(cells)), deviation)
    cells = _every_cell(LOG_ODDS)
    coder.encode((cells % 2).astype(np.int32), _bernoulli(), _probability(cells))
    return zlib.crc32(coder.get_compressed().astype("<u4").tobytes())


def _every_cell(limits: tuple[float, float]) -> np.ndarray:
    low, high = (round(limit / SPACING) * ORIGINS for limit in limits)
    return np.arange(low - ORIGINS, high + ORIGINS)  # rounding may leave the limits by half a cell


def _checked(check: int, cells: np.ndarray) -> int:
    return zlib.crc32(cells.astype("<i4").tobytes(), check)


def _deviation(cells: np.ndarray) -> np.ndarray:
    """Rounded to float32, since the last digits of `exp` are not the same everywhere."""
    return np.exp(cells * (SPACING / ORIGINS)).astype(np.float32).astype(np.float64)


def _probability(cells: np.ndarray) -> np.ndarray:
    odds = np.exp(cells * (SPACING / ORIGINS))
    return (odds / (1 + odds)).astype(np.float32).astype(np.float64)


def _constriction() -> ModuleType:
    """
    Raises:
        ValueError: the extra `entropy` is not installed.
    """
    try:
        import constriction
    except ImportError:
        raise ValueError(
            "entropy-coded latents need constriction: pip install 'stlatent[entropy]'"
        ) from None
    return constriction


@functools.cache
def _gaussian() -> object:
    return _constriction().stream.model.QuantizedGaussian(-EDGE, EDGE)


@functools.cache
def _bernoulli() -> object:
    return _constriction().stream.model.Bernoulli(perfect=False)


@functools.cache
def _uniform() -> object:
    return _constriction().stream.model.Uniform(EXCESS)
