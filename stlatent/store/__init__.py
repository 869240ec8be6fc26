"""Data sets of multi-level latents on disk, and how they are read and trained on."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
