"""Hierarchical, multi-scale latent autoencoders of video and 3D."""

from typing import TYPE_CHECKING, Any

from . import choose
from .checkpoint import fingerprint, load, save
from .choose import Draw
from .config import Level, ModelConfig, Stage
from .domain import DOMAINS, IMAGE, TRIPLANE, VIDEO, VOXEL, Domain
from .ladder import Ladder
from .latents import Latents
from .triplane import TriplaneAutoencoder

if TYPE_CHECKING:
    from .diffusion import LadderDenoiser, LadderPipeline
    from .export import AutoencoderLadder

__version__ = "0.1.0"

__all__ = [
    "DOMAINS",
    "IMAGE",
    "TRIPLANE",
    "VIDEO",
    "VOXEL",
    "AutoencoderLadder",
    "Domain",
    "Draw",
    "Ladder",
    "LadderDenoiser",
    "LadderPipeline",
    "Latents",
    "Level",
    "ModelConfig",
    "Stage",
    "TriplaneAutoencoder",
    "choose",
    "fingerprint",
    "load",
    "save",
]


def __getattr__(name: str) -> Any:
    """What brings `diffusers`, which takes seconds to import, once it is asked for."""
    if name == "AutoencoderLadder":
        from .export import AutoencoderLadder

        return AutoencoderLadder
    if name in ("LadderDenoiser", "LadderPipeline"):
        from . import diffusion

        return getattr(diffusion, name)
    if name == "ModelMixin":  # pipelines look for it beside the class of a component they load
        from diffusers import ModelMixin

        return ModelMixin
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
