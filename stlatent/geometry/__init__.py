"""Shapes: meshes to fields and back, pictures of them, and how close two of them are."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
