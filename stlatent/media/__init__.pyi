from .planes.data import (
    PlaneDataset,
    find_planes,
    measure_scaling,
    normalise,
    read_planes,
    restore,
    write_planes,
)
from .source import Source, UnreadableError
from .video.cache import FrameCache
from .video.check import check_sources
from .video.clips import Batch, ClipDataset, Read, centre_clip, collate
from .video.files import find_sources
from .video.pixels import to_float, to_uint8
from .video.readers import VideoReader

__all__ = [
    "Batch",
    "ClipDataset",
    "FrameCache",
    "PlaneDataset",
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
