"""Streams of symbols: what shares an origin, and streams as they were before any shared one."""

import io

import numpy as np
import pytest

pytest.importorskip("constriction")

from stlatent.bits.entropy import BLOCK, ENOUGH, MismatchError, StreamReader, StreamWriter, numerics

FORMER = (
    "10aa409503000000060000003400717b3f1e918f43af61b78226bf4e5711d1b643d1536f908031",
    "a9ca31e3",  # numerics of the machine that wrote it
)


def values(count: int, certain: float) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms of deviations, a share of them far below where a 0 is certain, and symbols."""
    random = np.random.default_rng(0)
    scale = np.where(random.random(count) < certain, -9, random.normal(0, 1, count))
    return scale, np.rint(np.exp(scale) * random.normal(size=count)).astype(np.int32)


def written(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[bytes, float]:
    writer = StreamWriter()
    for scale, symbols in parts:
        writer.numbers(scale, symbols)
    return writer.to_bytes(), writer.tolerance


@pytest.mark.parametrize("length", [1, 700, BLOCK, 5000])
@pytest.mark.parametrize("certain", [0.0, 0.9])
def test_parts_that_share_origins_are_read_one_by_one_up_to_the_tolerance(length, certain):
    scale, symbols = values(20 * length, certain)
    parts = list(zip(np.split(scale, 20), np.split(symbols, 20)))
    stream, tolerance = written(parts)
    assert tolerance >= ENOUGH
    for factor in (-0.999, 0, 0.999):
        reader = StreamReader(io.BytesIO(stream))
        for scale, symbols in parts:
            assert np.array_equal(reader.numbers(scale + factor * tolerance), symbols)
        reader.verify()
    with pytest.raises(MismatchError):  # there is no more
        reader.numbers(np.zeros(BLOCK * 256))


def test_what_is_certain_costs_next_to_nothing_however_much_it_is():
    for count in (100 * BLOCK, 400 * BLOCK):
        stream, tolerance = written([(np.full(count, -9.0), np.zeros(count, np.int32))])
        assert len(stream) < 20 + count / BLOCK / 50 + 1e-6 * count and tolerance > 0.01
    few, _ = written([values(BLOCK, 0.0)])
    parts = [values(BLOCK, 0.0), *[(np.full(500, -9.0), np.zeros(500, np.int32))] * 50]
    assert len(written(parts)[0]) < len(few) + 10


def test_streams_in_which_every_block_has_an_origin_are_read():
    content, known = FORMER
    if f"{numerics():08x}" != known:
        pytest.skip("another entropy coder than the one that wrote it")
    scale = np.linspace(-3, 4, 60)
    symbols = np.rint(np.exp(scale) * np.sin(np.arange(60)))
    reader = StreamReader(io.BytesIO(bytes.fromhex(content)))
    assert np.array_equal(reader.numbers(scale[:40]), symbols[:40])
    assert np.array_equal(reader.bits(np.linspace(-2, 2, 9)), np.arange(9) % 2)
    assert np.array_equal(reader.numbers(scale[40:]), symbols[40:])
    reader.verify()
