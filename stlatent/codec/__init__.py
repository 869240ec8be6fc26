"""Whole data sets to multi-level latents on disk, and back to videos and pictures."""

from .decode import decode_store
from .encode import EncodeResult, encode_folder
from .manifest import Failure, Header, Item, Manifest, Statistics
from .options import EncodeOptions
from .status import JobStatus, job_status
from .store import LatentStore
from .stored import StoredLevel
from .summary import LevelSummary
from .verify import verify_store

__all__ = [
    "EncodeOptions",
    "EncodeResult",
    "Failure",
    "Header",
    "Item",
    "JobStatus",
    "LatentStore",
    "LevelSummary",
    "Manifest",
    "Statistics",
    "StoredLevel",
    "decode_store",
    "encode_folder",
    "job_status",
    "verify_store",
]
