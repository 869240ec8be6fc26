"""Whole data sets to multi-level latents on disk, and back to videos, pictures and meshes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
