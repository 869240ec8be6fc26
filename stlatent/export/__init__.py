"""Ladders as autoencoders of `diffusers`, and as ONNX graphs."""

from .autoencoder import AutoencoderLadder
from .folder import export

__all__ = ["AutoencoderLadder", "export"]
