"""How many frames a video file holds, and where its decoder may start."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from ...files import UnreadableError
from . import groups
from .display import Look
from .whole import check_boxes, check_gif, check_segment

# Containers whose timestamps name every frame. The others (raw streams, avi, asf, gif) and mpeg4,
# whose packets may hold two frames or none, are counted by decoding them.
TIMED_CONTAINERS = ("mov", "matroska")
UNTIMED_CODECS = ("mpeg4",)
MAX_PIXELS = 2**27  # of one frame: 16384 x 8192


@dataclass(frozen=True)
class Timeline:
    """frames: how many the decoder shows. look: how. fps: their mean rate, where known.
    keys: (frame, timestamp) of keyframes to start at, see `groups.py`; None where timestamps do
    not name the frames. closed: whether no frame refers across any keyframe."""

    frames: int
    look: Look
    fps: float | None
    keys: tuple[tuple[int, int], ...] | None
    closed: bool


def read_timeline(path: Path) -> Timeline:
    """Reads the packets of the file, or decodes it whole where they do not tell; remembered.

    Raises UnreadableError for anything that is not a whole video.
    """
    try:
        stat = os.stat(path)
    except OSError as error:
        raise UnreadableError(path, error.strerror) from None
    if stat.st_size == 0:
        raise UnreadableError(path, "the file is empty")
    return _read(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=1024)
def _read(path: Path, size: int, mtime_ns: int) -> Timeline:
    try:
        with open_video(path) as container:
            stream = video_stream(container, path)
            format = container.format.name
            if format.startswith("matroska"):
                check_segment(path, size)
            if format == "gif":
                check_gif(path, size)
            if format.startswith("mov"):
                check_boxes(path, size)
            check_size(path, stream.codec_context.height, stream.codec_context.width)
            found = _packets(container, stream)
            if stream.frames > found.count > 0 and not format.startswith("mov"):  # edits hide some
                held = f"it is cut off: {found.count} of {stream.frames} frames are there"
                raise UnreadableError(path, held)
            timed = format.startswith(TIMED_CONTAINERS)
            timed = timed and stream.codec_context.name not in UNTIMED_CODECS
            keys = _keys(found.times, found.starts) if timed else None
            frames = len(found.times) if keys is not None else _count(path)
            fps = _rate(container, stream, frames)
            look = _look(path)
    except (av.FFmpegError, EOFError) as error:
        raise UnreadableError(path, reason(error)) from None
    if frames == 0:
        raise UnreadableError(path, "it holds no frames")
    return Timeline(frames, look, float(fps) if fps else None, keys, found.closed)


class _Packets(NamedTuple):
    """count: packets of the file. times: timestamps of those that are shown. starts: of keyframes
    to start at. closed: as in `Timeline`."""

    count: int
    times: list[int | None]
    starts: list[int]
    closed: bool


def _packets(container: InputContainer, stream: VideoStream) -> _Packets:
    """What the packets of a stream say; none is kept: a film is longer than memory."""
    codec, count, times, starts, closed = stream.codec_context.name, 0, [], [], True
    for packet in container.demux(stream):
        count += packet.size > 0
        if not packet.size or packet.is_discard:  # an edit list may hide some
            continue
        times.append(packet.pts)
        if packet.is_keyframe:
            kind = groups.start(packet, codec)
            closed &= kind is groups.Start.CLOSED
            starts += [packet.pts] if kind is not groups.Start.NO else []
    return _Packets(count, times, starts, closed)


def _look(path: Path) -> Look:
    with open_video(path) as container:
        stream = video_stream(container, path)
        frame = next(container.decode(stream), None)
        if frame is None:
            raise UnreadableError(path, "it holds no frames")
        look = Look.of(stream, frame)
    check_size(path, *look.size)
    return look


def _rate(container: InputContainer, stream: VideoStream, frames: int) -> Fraction | float | None:
    """Frames per second; of gif, FFmpeg's average is a guess."""
    rate, seconds = stream.average_rate, (container.duration or 0) / av.time_base
    if seconds and (rate is None or container.format.name == "gif"):
        return frames / seconds
    return stream.guessed_rate if rate is None or _untold(container) else rate


def _untold(container: InputContainer) -> bool:
    """Whether FFmpeg makes up the timestamps: of raw streams; of avi they are those of decoding."""
    name = container.format.name
    return name in ("avi", "dv") or not (container.duration or name.startswith(TIMED_CONTAINERS))


def open_video(path: Path) -> InputContainer:
    """A file for FFmpeg, which takes names such as `12:30.mp4` and `http:/a` for URLs, and fetches
    what a file refers to: of both it is kept."""
    options = {"protocol_whitelist": "file"}
    return av.open(os.path.abspath(path), options=options, metadata_errors="replace")


def frame_seconds(path: Path, times: Timeline) -> np.ndarray:
    """When each frame is shown `[frames]`, in seconds after the first; not kept, as it is long.

    Where the file does not say, as avi never does, frames follow each other at the mean rate.
    """
    try:
        with open_video(path) as container:
            stream = video_stream(container, path)
            if times.keys is not None:
                packets = (p for p in container.demux(stream) if p.size and not p.is_discard)
                shown = sorted(p.pts * float(stream.time_base) for p in packets)
            elif _untold(container):
                shown = [None]
            else:
                shown = [frame.time for frame in container.decode(stream)]
    except (av.FFmpegError, EOFError) as error:
        raise UnreadableError(path, reason(error)) from None
    if None in shown or len(shown) != times.frames or np.diff(shown).min(initial=1) <= 0:
        shown = np.arange(times.frames) / (times.fps or 1)
    return np.asarray(shown) - shown[0]


def check_size(path: Path, height: int, width: int) -> None:
    """UnreadableError for frames that no camera takes: a header of a few bytes can ask for more
    memory than there is."""
    if width * height > MAX_PIXELS:
        held = f"frames of {height}x{width} are beyond {MAX_PIXELS} pixels"
        raise UnreadableError(path, held)


def _keys(times: list[int | None], starts: list[int]) -> tuple[tuple[int, int], ...] | None:
    if None in times or len(set(times)) < len(times):
        return None
    order = {pts: i for i, pts in enumerate(sorted(times))}
    return tuple(sorted((order[pts], pts) for pts in starts))


def _count(path: Path) -> int:
    with open_video(path) as container:
        return sum(1 for _ in container.decode(video_stream(container, path)))


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The stream a player would show; the cover picture of a sound file is none."""
    stream = container.streams.best("video")
    if stream is None or stream.disposition & av.stream.Disposition.attached_pic:
        raise UnreadableError(path, "it holds no video stream")
    if stream.codec_context is None:
        raise UnreadableError(path, "FFmpeg has no decoder for its video stream")
    return stream


def reason(error: Exception) -> str:
    """A decoder's error in one short line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.strip().splitlines()[0][:160].lower()
