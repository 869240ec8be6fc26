"""How many frames a video file holds, and where its decoder may start."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import av

from .files import UnreadableError

# Containers whose timestamps name every frame. The others (raw streams, avi, asf, gif) and mpeg4,
# whose packets may hold two frames or none, are counted by decoding them.
TIMED_CONTAINERS = ("mov", "matroska")
UNTIMED_CODECS = ("mpeg4",)


@dataclass(frozen=True)
class Timeline:
    """frames: how many the decoder shows. fps: their mean rate, where known. keys: (frame,
    timestamp) of the keyframes; None where timestamps do not name the frames. closed: whether no
    frame refers across a keyframe ("closed groups of pictures")."""

    frames: int
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
        with av.open(str(path)) as container:
            stream = video_stream(container, path)
            kind = container.format.name
            if kind.startswith("matroska"):
                _check_segment(path, size)
            packets = [p for p in container.demux(stream) if p.size]
            if stream.frames > len(packets) > 0:
                held = f"it is cut off: {len(packets)} of {stream.frames} frames are there"
                raise UnreadableError(path, held)
            times = [p.pts for p in packets if not p.is_discard]  # an edit list may hide some
            starts = [p for p in packets if p.is_keyframe and not p.is_discard]
            codec = stream.codec_context.name
            closed = all(_starts_afresh(bytes(p), codec) for p in starts[1:])
            keys = None
            timed = kind.startswith(TIMED_CONTAINERS)
            if timed and codec not in UNTIMED_CODECS:
                keys = _keys(times, [p.pts for p in starts])
            frames = len(times) if keys is not None else _count(path)
            fps = stream.average_rate
            if fps is None and container.duration:
                fps = frames * av.time_base / container.duration
            fps = fps or stream.guessed_rate
    except (av.FFmpegError, EOFError) as error:
        raise UnreadableError(path, reason(error)) from None
    if frames == 0:
        raise UnreadableError(path, "it holds no frames")
    return Timeline(frames, float(fps) if fps else None, keys, closed)


def _keys(times: list[int | None], starts: list[int]) -> tuple[tuple[int, int], ...] | None:
    if None in times or len(set(times)) < len(times):
        return None
    order = {pts: i for i, pts in enumerate(sorted(times))}
    return tuple(sorted((order[pts], pts) for pts in starts))


def _count(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video_stream(container, path)))


def _starts_afresh(packet: bytes, codec: str) -> bool:
    """Whether later frames need nothing from before this keyframe. In H.264 and HEVC that is an
    IDR picture (unit types 5; 19 and 20), other keyframes there may be referred across."""
    if codec not in ("h264", "hevc"):
        return True
    at = 0
    while at + 4 < len(packet):  # units behind their 4-byte lengths, as mp4 and Matroska have them
        kind = packet[at + 4] & 31 if codec == "h264" else packet[at + 4] >> 1 & 63
        if kind in ((5,) if codec == "h264" else (19, 20)):
            return True
        at += 4 + int.from_bytes(packet[at : at + 4], "big")
    return False


def video_stream(container, path: Path):
    """The stream a player would show; the cover picture of a sound file is none."""
    stream = container.streams.best("video")
    if stream is None or stream.disposition & av.stream.Disposition.attached_pic:
        raise UnreadableError(path, "it holds no video stream")
    return stream


def reason(error: Exception) -> str:
    """A decoder's error in one short line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.strip().splitlines()[0][:160].lower()


def _check_segment(path: Path, size: int) -> None:
    """Matroska says at its start how long its segment is (EBML, RFC 8794); live ones do not."""
    with open(path, "rb") as file:
        head = file.read(4096)
    length, body = _ebml_element(head, 0)  # the EBML header, then the segment
    length, body = _ebml_element(head, body + (length or 0))
    if length is not None and body + length > size:
        raise UnreadableError(path, f"it is cut off: {size} of {body + length} bytes are there")


def _ebml_element(head: bytes, at: int) -> tuple[int | None, int]:
    """Length (None: unknown) and start of the content of the element at `at`."""
    if at >= len(head) or head[at] == 0:
        return None, at
    at += 9 - head[at].bit_length()  # the identifier: leading zeros say how many bytes
    if at >= len(head) or head[at] == 0:
        return None, at
    width = 9 - head[at].bit_length()
    length = int.from_bytes(head[at : at + width], "big") & ((1 << 7 * width) - 1)
    return (None if length == (1 << 7 * width) - 1 else length), at + width
