"""Whole data sets to multi-level latents on disk, and back to videos, pictures and meshes."""

from .dataset import LatentDataset
from .decode import decode_store
from .decode_shapes import decode_meshes
from .encode import EncodeResult, encode_folder
from .labels import VectorFile, folder_classes
from .manifest import Failure, Header, Item, Manifest, Statistics
from .options import EncodeOptions
from .planes import decode_planes
from .shuffle import LatentStream
from .status import JobStatus, job_status
from .store import LatentStore
from .stored import StoredLevel
from .summary import LevelSummary
from .verify import verify_store
from .windows import LatentWindow, collate

__all__ = [
    "EncodeOptions",
    "EncodeResult",
    "Failure",
    "Header",
    "Item",
    "JobStatus",
    "LatentDataset",
    "LatentStore",
    "LatentStream",
    "LatentWindow",
    "LevelSummary",
    "Manifest",
    "Statistics",
    "StoredLevel",
    "VectorFile",
    "collate",
    "decode_meshes",
    "decode_planes",
    "decode_store",
    "encode_folder",
    "folder_classes",
    "job_status",
    "verify_store",
]
