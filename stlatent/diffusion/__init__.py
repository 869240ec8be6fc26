"""Diffusion on top of a ladder, and as one."""

from .hierarchy import diffusion_report, reconstruction_nats
from .noise import NoiseLevels, noise_levels
from .report import DiffusionReport, StepStatistics

__all__ = [
    "DiffusionReport",
    "NoiseLevels",
    "StepStatistics",
    "diffusion_report",
    "noise_levels",
    "reconstruction_nats",
]
