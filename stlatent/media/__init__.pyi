from .base import Medium
from .metrics import psnr, ssim
from .planes.data import (
    PlaneDataset,
    find_planes,
    measure_scaling,
    normalise,
    read_planes,
    restore,
    write_planes,
)
from .registry import medium_of
from .shape.near import band_of, blocks_of
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
    "Medium",
    "PlaneDataset",
    "Read",
    "Source",
    "UnreadableError",
    "VideoReader",
    "band_of",
    "blocks_of",
    "centre_clip",
    "check_sources",
    "collate",
    "find_planes",
    "find_sources",
    "measure_scaling",
    "medium_of",
    "normalise",
    "psnr",
    "read_planes",
    "restore",
    "ssim",
    "to_float",
    "to_uint8",
    "write_planes",
]
