"""Hierarchical, multi-scale latent autoencoders of video and 3D."""

import lazy_loader

from .foundation.classes import offer

__version__ = "0.2.0"

# Nothing here brings torch before it is asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
offer("AutoencoderLadder", lambda: __getattr__("AutoencoderLadder"))
