from .diagnostics import (
    LevelStatistics,
    PrefixQuality,
    Quality,
    level_statistics,
    prefix_quality,
    redraw,
)
from .likelihood import LogLikelihood, log_likelihood
from .report import write_report
from .spectrum import BandShares, band_shares

__all__ = [
    "BandShares",
    "LevelStatistics",
    "LogLikelihood",
    "PrefixQuality",
    "Quality",
    "band_shares",
    "level_statistics",
    "log_likelihood",
    "prefix_quality",
    "redraw",
    "write_report",
]
