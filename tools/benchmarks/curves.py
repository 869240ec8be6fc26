"""Curves of rate and distortion, and what is between two of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

PRICES = 7  # over the range of a model that takes λ
Point = dict[str, Any]  # with `psnr_db` and `bits`


def times(point: Point, curve: Sequence[Point]) -> float | None:
    """How often the bits of `curve` at its PSNR a point takes; None beyond its ends."""
    at = _log_bits(curve, point["psnr_db"])
    return None if math.isnan(at) else math.exp(math.log(point["bits"]) - at)


def bd_rate(points: Sequence[Point], curve: Sequence[Point]) -> float | None:
    """Bits of `points` over those of `curve`, minus 1, as Bjontegaard averages
    them: over what both reach, of the logarithm; None where that is nothing."""
    ends = [[p["psnr_db"] for p in one] for one in (points, curve)]
    low, high = max(map(min, ends)), min(map(max, ends))
    if low >= high:
        return None
    shared = np.linspace(low, high, 1001)
    return math.expm1((_log_bits(points, shared) - _log_bits(curve, shared)).mean())


def _log_bits(curve: Sequence[Point], psnr_db: float | np.ndarray) -> np.ndarray:
    """Of a curve at some PSNR; NaN beyond its ends."""
    pairs = sorted((p["psnr_db"], math.log(p["bits"])) for p in curve)
    return np.interp(psnr_db, *zip(*pairs, strict=True), left=math.nan, right=math.nan)
