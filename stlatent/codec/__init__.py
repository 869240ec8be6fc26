"""Whole data sets to multi-level latents on disk, and back to videos and pictures."""

from .decode import decode_store
from .encode import EncodeResult, Failure, LevelSummary, encode_folder
from .manifest import Header, Item, Manifest, Statistics, StoredLevel
from .store import LatentStore, LatentWriter

__all__ = [
    "EncodeResult",
    "Failure",
    "Header",
    "Item",
    "LatentStore",
    "LatentWriter",
    "LevelSummary",
    "Manifest",
    "Statistics",
    "StoredLevel",
    "decode_store",
    "encode_folder",
]
