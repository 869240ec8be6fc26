from .diagnostics import (
    ClipQuality,
    LevelStatistics,
    PrefixQuality,
    level_statistics,
    prefix_quality,
    redraw,
)
from .likelihood import LogLikelihood, log_likelihood
from .metrics import psnr, ssim
from .report import write_report
from .spectrum import BandShares, band_shares

__all__ = [
    "BandShares",
    "ClipQuality",
    "LevelStatistics",
    "LogLikelihood",
    "PrefixQuality",
    "band_shares",
    "level_statistics",
    "log_likelihood",
    "prefix_quality",
    "psnr",
    "redraw",
    "ssim",
    "write_report",
]
