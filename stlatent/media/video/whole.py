"""Whether a file is whole, where its container tells; decoders often do not."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from ...files import UnreadableError


def check_segment(path: Path, size: int) -> None:
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


def check_boxes(path: Path, size: int) -> None:
    """mp4 and mov are a row of boxes, each of which says how long it is (ISO 14496-12, 4.2)."""
    at = 0
    with open(path, "rb") as file:
        while at + 8 <= size:
            file.seek(at)
            head = file.read(16)
            length = int.from_bytes(head[:4], "big")
            if length == 1:
                length = int.from_bytes(head[8:16], "big")
            if length < 8:  # 0: to the end of the file; others make no sense
                return
            at += length
    if at > size:
        raise UnreadableError(path, f"it is cut off: {size} of {at} bytes are there")


def check_gif(path: Path, size: int) -> None:
    """A gif is a row of blocks, each of which says how long it is (GIF89a); the last one, which
    says that it is the last, is often forgotten."""
    with open(path, "rb") as file:
        file.seek(10)  # behind the signature and the size
        _skip_palette(file, then=2)
        while (kind := file.read(1)) in (b"!", b","):
            if kind == b"!":
                file.seek(1, 1)  # an extension's label
            else:
                file.seek(8, 1)  # place and size of a picture
                _skip_palette(file, then=1)  # and the width of its first code
            while count := int.from_bytes(file.read(1), "big"):
                file.seek(count, 1)
                if file.tell() >= size:  # no room for the end of the block
                    raise UnreadableError(path, f"it is cut off after {size} bytes")


def _skip_palette(file: BinaryIO, then: int) -> None:
    flags = int.from_bytes(file.read(1), "big")
    file.seek(then + (3 * 2 ** (flags % 8 + 1) if flags & 128 else 0), 1)
