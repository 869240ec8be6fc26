from . import checkpoint
from .checkpoint import load, save
from .diffusion import LadderDenoiser, LadderPipeline
from .diffusion.sparse import AutoencoderSparse
from .export.autoencoder import AutoencoderLadder, ModelMixin
from .export.with_ladder import AutoencoderWithLadder
from .model import choose
from .model.choose import Draw
from .model.config import Level, ModelConfig, Stage
from .model.domain import Domain
from .model.domains import AUDIO, DOMAINS, IMAGE, TRIPLANE, VIDEO, VOLUMES, VOXEL
from .model.fingerprint import fingerprint
from .model.ladder import Ladder
from .model.latents import Latents
from .triplane.autoencoder import TriplaneAutoencoder

__all__ = [
    "AUDIO",
    "DOMAINS",
    "IMAGE",
    "TRIPLANE",
    "VIDEO",
    "VOLUMES",
    "VOXEL",
    "AutoencoderLadder",
    "AutoencoderSparse",
    "AutoencoderWithLadder",
    "Domain",
    "Draw",
    "Ladder",
    "LadderDenoiser",
    "LadderPipeline",
    "Latents",
    "Level",
    "ModelConfig",
    "ModelMixin",
    "Stage",
    "TriplaneAutoencoder",
    "checkpoint",
    "choose",
    "fingerprint",
    "load",
    "save",
]
