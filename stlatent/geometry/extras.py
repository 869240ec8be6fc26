"""The packages of the extra `shapes`, imported when they are first needed."""

from __future__ import annotations

import importlib
from types import ModuleType

PACKAGES = {"igl": "libigl", "scipy": "scipy", "skimage": "scikit-image"}


def needed(module: str) -> ModuleType:
    """A module of `libigl`, `scipy` or `scikit-image`; ValueError where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = PACKAGES[module.partition(".")[0]]
        raise ValueError(
            f"shapes need {package}, which cannot be imported ({error}); "
            "install it with: pip install 'stlatent[shapes]'"
        ) from error
