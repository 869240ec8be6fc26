from .autoencoder import AutoencoderLadder
from .folder import export

__all__ = [
    "AutoencoderLadder",
    "export",
]
