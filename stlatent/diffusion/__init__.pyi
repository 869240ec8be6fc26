from .config import DiffusionRun
from .corruption import corrupt, make_scheduler, set_steps
from .data import LatentData, LatentTensors
from .denoiser import LadderDenoiser
from .hierarchy import diffusion_report, reconstruction_nats
from .noise import NoiseLevels, noise_levels
from .pipeline import LadderPipeline, LadderPipelineOutput
from .report import DiffusionReport, StepStatistics
from .spectrum import Spectrum, latent_spectra
from .training import run, train

__all__ = [
    "DiffusionReport",
    "DiffusionRun",
    "LadderDenoiser",
    "LadderPipeline",
    "LadderPipelineOutput",
    "LatentData",
    "LatentTensors",
    "NoiseLevels",
    "Spectrum",
    "StepStatistics",
    "corrupt",
    "diffusion_report",
    "latent_spectra",
    "make_scheduler",
    "noise_levels",
    "reconstruction_nats",
    "run",
    "set_steps",
    "train",
]
