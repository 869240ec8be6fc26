"""Whole data sets to multi-level latents on disk, and back to videos, pictures and meshes."""

from .decode import decode_store
from .decode_shapes import decode_meshes
from .encode import EncodeResult, encode_folder
from .job import EncodeOptions
from .manifest import Failure, Header, Item, Manifest, Statistics, StoredLevel
from .status import JobStatus, job_status
from .store import LatentStore
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
    "decode_meshes",
    "decode_store",
    "encode_folder",
    "job_status",
    "verify_store",
]
