"""The numbers that a report gives about what is decoded."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A number about a decoded sample.

    Attributes:
        key: the attribute of a quality that holds it.
        title: as a heading, with its unit.
        digits: after the point.
        least_gain: that a level should add to it; only of the first figure of a kind, which is
            better the higher.
    """

    key: str
    title: str
    digits: int
    least_gain: float = 0.0

    def text(self, value: float) -> str:
        """As it is shown: infinite of a perfect copy, and a dash where there is none (NaN)."""
        if math.isnan(value):
            return "–"
        return f"{value:.{self.digits}f}" if math.isfinite(value) else "∞"


PSNR = Figure("psnr_db", "PSNR, dB", 2, least_gain=0.1)


@dataclass(frozen=True)
class Bands:
    """Bands of wavelengths in which changes are told apart.

    Attributes:
        unit: of the wavelengths.
        edges: between the bands, longest first.
    """

    unit: str
    edges: tuple[int, ...]
