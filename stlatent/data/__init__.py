"""From disk: videos and pictures, cut into clips; planes."""

from .cache import FrameCache
from .check import check_sources
from .clips import Batch, ClipDataset, Read, centre_clip, collate
from .files import Source, UnreadableError, find_sources
from .pixels import to_float, to_uint8
from .planes import (
    PlaneDataset,
    find_planes,
    measure_scaling,
    normalise,
    read_planes,
    restore,
    write_planes,
)
from .readers import VideoReader

__all__ = [
    "Batch",
    "ClipDataset",
    "PlaneDataset",
    "FrameCache",
    "Read",
    "Source",
    "UnreadableError",
    "VideoReader",
    "centre_clip",
    "check_sources",
    "collate",
    "find_planes",
    "find_sources",
    "measure_scaling",
    "normalise",
    "read_planes",
    "restore",
    "to_float",
    "to_uint8",
    "write_planes",
]
