"""Hierarchical, multi-scale latent autoencoders of video and 3D."""

from . import choose
from .checkpoint import fingerprint, load, save
from .choose import Draw
from .config import Level, ModelConfig, Stage
from .domain import DOMAINS, IMAGE, TRIPLANE, VIDEO, VOXEL, Domain
from .ladder import Ladder
from .latents import Latents

__version__ = "0.1.0"

__all__ = [
    "DOMAINS",
    "IMAGE",
    "TRIPLANE",
    "VIDEO",
    "VOXEL",
    "Domain",
    "Draw",
    "Ladder",
    "Latents",
    "Level",
    "ModelConfig",
    "Stage",
    "choose",
    "fingerprint",
    "load",
    "save",
]
