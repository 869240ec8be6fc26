from .autoencoder import AutoencoderLadder
from .folder import export
from .push import push

__all__ = [
    "AutoencoderLadder",
    "export",
    "push",
]
