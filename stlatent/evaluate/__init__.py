"""Quality of every prefix, what each level holds, and a report of it all."""

from .diagnostics import (
    ClipQuality,
    LevelStatistics,
    PrefixQuality,
    level_statistics,
    prefix_quality,
    redraw,
    redraw_below,
)
from .metrics import psnr, ssim
from .report import write_report
from .spectrum import BandShares, band_shares

__all__ = [
    "BandShares",
    "ClipQuality",
    "LevelStatistics",
    "PrefixQuality",
    "band_shares",
    "level_statistics",
    "prefix_quality",
    "psnr",
    "redraw",
    "redraw_below",
    "ssim",
    "write_report",
]
