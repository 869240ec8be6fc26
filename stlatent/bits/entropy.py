"""Symbols to bits and back by range coding, on probabilities that machines agree about.

A decoder needs the very probabilities that the encoder had. Both compute them with a network in
floats, whose last digits differ between machines: one symbol read wrongly, and all that follow are
garbage (CompressAI #279, DCVC #150). Here

- a distribution has a single parameter, a logarithm in nats: of a Gaussian's deviation in steps
  (its mean is subtracted before symbols are made), or of the odds of a bit;
- it is rounded to a grid. Where the grid begins is chosen by the encoder, for every run of blocks
  of values, such that none lies near the border between two cells: parameters that differ by less
  than the `tolerance` reached are rounded alike, everywhere. Runs are as long as leaves ENOUGH of
  it: of latents that are certain, all parameters lie at the lower limit, and runs are long;
- a check of all cells, and of the bytes, tells the decoder if they were not.
"""

from __future__ import annotations

import functools
import struct
import zlib
from collections.abc import Callable
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np

SPACING = 1 / 8  # of the grid, in nats; costs SPACING**2 / 12 nats per Gaussian at most
ORIGINS = 256  # places where the grid may begin; one byte
BLOCK = 2048  # values that share an origin in any case
ENOUGH = 1e-4  # tolerance in nats at which blocks go on sharing one: more costs more bytes
LONGEST = 255  # blocks of a run; one byte
LOG_SCALES = -2.25, 6.25  # below, a 0 is certain but for 2e-6; above, symbols are too few
LOG_ODDS = -12.0, 12.0
EDGE = 4096  # symbols up to here are told as such; each takes 2**-24 of the probabilities at least
EXCESS = 2**24  # what is further out is told apart, in 24 bits
PREAMBLE = struct.Struct("<III")  # check, origins, words
IN_RUNS = 1 << 31  # of origins: each stands for a run, whose length follows; else for a block
EDGE_BITS, ORIGIN_BITS = 7, 24  # of origins in runs: log2 of the stream's own edge, and how many


Encode = Callable[[Any, np.ndarray, np.ndarray, int], None]


class MismatchError(Exception):
    """The probabilities at hand are not those that a stream was written with; or it is damaged."""


class StreamWriter:
    """One stream of symbols.

    Attributes:
        tolerance: by how much parameters, in nats, may differ where the stream is read.
    """

    def __init__(self) -> None:
        self.tolerance = SPACING / 2  # where there is nothing to write
        self._parts: list[tuple[np.ndarray, np.ndarray, Encode]] = []

    def numbers(self, log_scale: np.ndarray, symbols: np.ndarray) -> np.ndarray:
        """Write integers `[n]`, rounded values of N(0, exp(log_scale)), below EDGE + EXCESS."""
        return self._put(log_scale, LOG_SCALES, symbols, _encode_numbers)

    def bits(self, log_odds: np.ndarray, bits: np.ndarray) -> np.ndarray:
        """Write bits `[n]` whose odds of being 1 are exp(log_odds)."""
        return self._put(log_odds, LOG_ODDS, bits, _encode_bits)

    def to_bytes(self, before: bytes = b"") -> bytes:
        """All that was written; its check covers what lies `before` it in its file, too."""
        values = np.concatenate([np.zeros(0), *(values for values, _, _ in self._parts)])
        runs, room = choose_runs(values)
        self.tolerance = min(SPACING / 2, room)
        cells = cells_of(values, origins_at(runs, 0, len(values)))
        coder, ends = _constriction().stream.queue.RangeEncoder(), self._ends()
        edge = self._edge()
        for (_, symbols, encode), own in zip(self._parts, np.split(cells, ends), strict=False):
            encode(coder, own, symbols, edge)
        words = coder.get_compressed().astype("<u4")
        content = runs.tobytes() + words.tobytes()
        check = _checked(0, cells) ^ zlib.crc32(content, zlib.crc32(before))
        about = IN_RUNS | (edge.bit_length() - 1) << ORIGIN_BITS | len(runs)
        return PREAMBLE.pack(check, about, len(words)) + content

    def _put(
        self, values: np.ndarray, limits: tuple[float, float], symbols: np.ndarray, encode: Encode
    ) -> np.ndarray:
        """Keep what is coded when all of it is known, since runs go over its parts."""
        self._parts.append((np.clip(values.astype(np.float64), *limits), symbols, encode))
        return symbols

    def _edge(self) -> int:
        """The power of two that is above all symbols, or the last one."""
        sizes = (int(np.abs(symbols).max(initial=0)) for _, symbols, _ in self._parts)
        return min(1 << max(sizes, default=0).bit_length(), EDGE)

    def _ends(self) -> np.ndarray:
        return np.cumsum([len(values) for values, _, _ in self._parts], dtype=int)


class StreamReader:
    """Reads what a `StreamWriter` wrote, from where `file` stands: the same calls in the same
    order. What they return is not to be relied on before `verify`.

    Args:
        before: what the check of the stream covers beside it, see `StreamWriter.to_bytes`.

    Raises:
        MismatchError: the file ends within the stream.
    """

    def __init__(self, file: BinaryIO, before: bytes = b"") -> None:
        check, about, words = PREAMBLE.unpack(exactly(file, PREAMBLE.size))
        in_runs, self._edge, head = about & IN_RUNS, EDGE, about
        if in_runs:
            self._edge = min(1 << (about >> ORIGIN_BITS) % (1 << EDGE_BITS), EDGE)
            head = 2 * (about % (1 << ORIGIN_BITS))
        content = exactly(file, head + 4 * words)
        self._expected = check ^ zlib.crc32(content, zlib.crc32(before))
        told = np.frombuffer(content[:head], np.uint8)
        self._runs, self._blocks = (told.reshape(-1, 2), None) if in_runs else (None, told)
        words = np.frombuffer(content[head:], "<u4").astype(np.uint32)
        self._coder = _constriction().stream.queue.RangeDecoder(words)
        self._check = self._read = 0

    def numbers(self, log_scale: np.ndarray) -> np.ndarray:
        """Integers `[n]`, see `StreamWriter.numbers`.

        Raises:
            MismatchError: the parameters cannot be those that the stream was written with.
        """
        deviation = _deviation(self._cells(log_scale, LOG_SCALES))
        symbols = self._decode(_gaussian(self._edge), np.zeros(len(deviation)), deviation)
        far = np.abs(symbols) == self._edge
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
        origins = self._next_origins(len(values))
        if len(origins) < len(values) or np.isnan(values).any():
            raise MismatchError
        cells = cells_of(values, origins)
        self._check = _checked(self._check, cells)
        return cells

    def _next_origins(self, count: int) -> np.ndarray:
        """Of so many values; of fewer, where there are no more."""
        if self._runs is not None:
            self._read += count
            return origins_at(self._runs, self._read - count, count)
        own, self._blocks = np.split(self._blocks, [-(-count // BLOCK)])
        return np.repeat(own.astype(np.int64), BLOCK)[:count]


def exactly(file: BinaryIO, count: int) -> bytes:
    """So many bytes; MismatchError where the file has fewer."""
    content = file.read(count)
    if len(content) < count:
        raise MismatchError
    return content


def choose_runs(values: np.ndarray) -> tuple[np.ndarray, float]:
    """Where the grid begins for each run of blocks of `values`, such that its borders keep away
    from all of them, and how many blocks that are: uint8 `[runs, 2]`; and how far they keep."""
    rooms, lengths = [], []
    for start in range(0, len(values), BLOCK):
        room = rooms_of(values[start : start + BLOCK])
        shared = np.minimum(rooms[-1], room) if rooms else room
        if rooms and lengths[-1] < LONGEST and shared.max() >= ENOUGH:
            rooms[-1], lengths[-1] = shared, lengths[-1] + 1
        else:
            rooms, lengths = [*rooms, room], [*lengths, 1]
    origins = [int(room.argmax()) for room in rooms]
    runs = np.array([origins, lengths], np.uint8).T.reshape(-1, 2)
    return runs, min((float(room.max()) for room in rooms), default=SPACING / 2)


def rooms_of(values: np.ndarray) -> np.ndarray:
    """How far the borders of a grid keep from all `values`, for each origin `[ORIGINS]`."""
    phase = np.sort(values / SPACING % 1)
    ring = np.concatenate([phase[-1:] - 1, phase, phase[:1] + 1])
    borders = (np.arange(ORIGINS) / ORIGINS + 0.5) % 1
    above = np.searchsorted(ring, borders)
    return np.minimum(ring[above] - borders, borders - ring[above - 1]) * SPACING


def origins_at(runs: np.ndarray, start: int, count: int) -> np.ndarray:
    """The origin of each of `count` values from `start` on; of fewer, where runs end before."""
    ends = BLOCK * np.cumsum(runs[:, 1], dtype=np.int64)
    places = np.arange(start, min(start + count, ends[-1] if len(ends) else 0))
    return runs[:, 0].astype(np.int64)[np.searchsorted(ends, places, side="right")]


def cells_of(values: np.ndarray, origins: np.ndarray) -> np.ndarray:
    """The middles of the cells that `values` fall into, in units of SPACING / ORIGINS nats.

    origins: of each.
    """
    return np.floor(values / SPACING - origins / ORIGINS + 0.5).astype(np.int64) * ORIGINS + origins


def _encode_numbers(coder: Any, cells: np.ndarray, symbols: np.ndarray, edge: int) -> None:
    size, inner = np.abs(symbols), np.clip(symbols, -edge, edge).astype(np.int32)
    coder.encode(inner, _gaussian(edge), np.zeros(len(inner)), _deviation(cells))
    coder.encode((size[size >= edge] - edge).astype(np.int32), _uniform())


def _encode_bits(coder: Any, cells: np.ndarray, bits: np.ndarray, edge: int) -> None:
    coder.encode(bits.astype(np.int32), _bernoulli(), _probability(cells))


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
    coder.encode(symbols, _gaussian(EDGE), np.zeros(len(cells)), deviation)
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
def _gaussian(edge: int) -> object:
    return _constriction().stream.model.QuantizedGaussian(-edge, edge)


@functools.cache
def _bernoulli() -> object:
    return _constriction().stream.model.Bernoulli(perfect=False)


@functools.cache
def _uniform() -> object:
    return _constriction().stream.model.Uniform(EXCESS)
