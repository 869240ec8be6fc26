from . import choose
from .choose import Draw
from .config import Level, ModelConfig, Stage
from .domain import Domain
from .domains import DOMAINS
from .ladder import Ladder
from .latents import Latents

__all__ = [
    "DOMAINS",
    "Domain",
    "Draw",
    "Ladder",
    "Latents",
    "Level",
    "ModelConfig",
    "Stage",
    "choose",
]
