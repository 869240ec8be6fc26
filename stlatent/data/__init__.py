"""Videos and pictures from disk: finding, reading, cutting into clips."""

from .cache import FrameCache
from .check import check_sources
from .clips import Batch, ClipDataset, Read, centre_clip, collate
from .files import Source, UnreadableError, find_sources
from .pixels import to_float, to_uint8
from .readers import VideoReader

__all__ = [
    "Batch",
    "ClipDataset",
    "FrameCache",
    "Read",
    "Source",
    "UnreadableError",
    "VideoReader",
    "centre_clip",
    "check_sources",
    "collate",
    "find_sources",
    "to_float",
    "to_uint8",
]
