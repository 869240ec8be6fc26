"""Training: the loop and its parts."""

from .config import RunConfig
from .run import run

__all__ = ["RunConfig", "run"]
