"""Groups of pictures: at which of a file's keyframes a decoder may start.

A keyframe begins a group. Where no frame refers across it, the group is closed, and any decoder
may start there. In an open group, frames that are shown before the keyframe need the group before:
whoever starts there has to drop them. Of codecs that are not named here the groups are not known,
and the marks of their keyframes have been seen to be wrong: those are decoded from the first frame.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator

import av

ALWAYS_CLOSED = ("vp8", "vp9")  # a key frame refills every reference, RFC 6386 and the VP9 standard
MAY_BE_OPEN = ("av1", "libdav1d", "mpeg1video", "mpeg2video")  # B-frames before their I-frame
SEI = {"h264": 6, "hevc": 39}  # types of units that hold messages
IDR = {"h264": (5,), "hevc": (19, 20)}
CRA = 21  # of HEVC: an I-frame that leading pictures may refer across
RECOVERY_POINT = 6  # type of the message that says after how many frames all is right again


class Start(enum.IntEnum):
    """What a decoder that starts at a keyframe shows right: not even the keyframe; it and all that
    are shown after it; all that it finds."""

    NO = 0
    OPEN = 1
    CLOSED = 2


def start(packet: av.Packet, codec: str) -> Start:
    """What the keyframe in a packet of mp4 or Matroska is, by FFmpeg's name of the codec."""
    if codec in IDR:
        return _of_units(bytes(packet), codec)
    if codec in ALWAYS_CLOSED or av.Codec(codec, "r").intra_only:
        return Start.CLOSED
    return Start.OPEN if codec in MAY_BE_OPEN else Start.NO


def _of_units(packet: bytes, codec: str) -> Start:
    for kind, unit in _units(packet, codec):
        if kind in IDR[codec]:
            return Start.CLOSED
        if codec == "hevc" and kind == CRA:
            return Start.OPEN
        if kind == SEI[codec] and _recovers_at_once(unit):
            return Start.OPEN
    return Start.NO


def _units(packet: bytes, codec: str) -> Iterator[tuple[int, bytes]]:
    """Type and content of the units behind their lengths of 4 bytes (ISO 14496-15)."""
    at, header = 0, 1 if codec == "h264" else 2
    while at + 4 < len(packet):
        stop = at + 4 + int.from_bytes(packet[at : at + 4], "big")
        first = packet[at + 4]
        yield first & 31 if codec == "h264" else first >> 1 & 63, packet[at + 4 + header : stop]
        at = stop


def _recovers_at_once(messages: bytes) -> bool:
    """Whether a recovery point after 0 frames is among supplemental messages (H.264, 7.3.2.3)."""
    at = 0
    while at + 2 < len(messages):
        kind, at = _sum(messages, at)
        size, at = _sum(messages, at)
        if kind == RECOVERY_POINT and at < len(messages):
            return messages[at] >= 128  # a leading one is the Exp-Golomb code of 0
        at += size
    return False


def _sum(messages: bytes, at: int) -> tuple[int, int]:
    """A number written as bytes that add up, all but the last 255; and where it ends."""
    total = 0
    while at < len(messages) and messages[at] == 255:
        total, at = total + 255, at + 1
    return total + (messages[at] if at < len(messages) else 0), at + 1
