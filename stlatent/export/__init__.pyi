from .autoencoder import AutoencoderLadder
from .folder import export
from .push import push
from .with_ladder import AutoencoderWithLadder

__all__ = [
    "AutoencoderLadder",
    "AutoencoderWithLadder",
    "export",
    "push",
]
