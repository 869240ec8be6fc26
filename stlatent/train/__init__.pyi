from .config import RunConfig
from .loop import run

__all__ = [
    "RunConfig",
    "run",
]
