from .autoencoder import run
from .config import RunConfig

__all__ = [
    "RunConfig",
    "run",
]
