"""The file of a bitstream, little-endian:

    header      magic "stlbits\\0" | version u16 | levels L u8 | axes A u8 | fingerprint 8 bytes
                numerics u32 | frames per second f64, or NaN | frames per chunk u32, or 0
                A times: size of the axis u32
                L times: bytes u64 | crc32 u32 | tolerance f32 | steps C u16 | C times: bfloat16
                crc32 u32 of all that
    level 0     one stream per chunk:
                check u32 | origins O u32 | words W u32 | O times: u8 | W times: u32
    level 1     ...

A chunk is some frames that went through the network together, see `bitstream_writer.py`; what a
stream holds is told in `entropy.py`. Since levels follow each other, the file cut off behind any
level is a file of the whole video, coarser.
"""

from __future__ import annotations

import math
import os
import shutil
import struct
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

MAGIC, VERSION = b"stlbits\0", 1
FIXED = struct.Struct("<8sHBB8sIdI")
LEVEL = struct.Struct("<QIfH")
CRC = struct.Struct("<I")
READ_BYTES = 2**20


@dataclass(frozen=True)
class LevelEntry:
    """What the header says of one level.

    Attributes:
        bytes: of its streams.
        crc: their crc32.
        tolerance: by how much priors, in nats, may differ between the machines that write and read.
        steps: of its channels, groups side by side `[C]`, bfloat16; empty where latents are codes.
    """

    bytes: int
    crc: int
    tolerance: float
    steps: Tensor


@dataclass(frozen=True)
class BitstreamHeader:
    """What the streams of a file have in common.

    Attributes:
        fingerprint: of the model's config and weights.
        numerics: of the entropy coder, see `entropy.numerics`.
        fps: frames per second; None where there are none.
        chunk_frames: frames per chunk, the first has one more; 0 without a time axis.
        size: of the input along the axes of the domain, such as (17, 256, 256).
        levels: coarsest first.
    """

    fingerprint: str
    numerics: int
    fps: float | None
    chunk_frames: int
    size: tuple[int, ...]
    levels: tuple[LevelEntry, ...]

    def to_bytes(self) -> bytes:
        packed = FIXED.pack(
            MAGIC,
            VERSION,
            len(self.levels),
            len(self.size),
            bytes.fromhex(self.fingerprint),
            self.numerics,
            math.nan if self.fps is None else self.fps,
            self.chunk_frames,
        )
        packed += struct.pack(f"<{len(self.size)}I", *self.size)
        for level in self.levels:
            packed += LEVEL.pack(level.bytes, level.crc, level.tolerance, len(level.steps))
            packed += level.steps.view(torch.int16).numpy().astype("<i2").tobytes()
        return packed + CRC.pack(zlib.crc32(packed))

    @staticmethod
    def read(file: BinaryIO) -> BitstreamHeader:
        """From where `file` stands, which is behind the header afterwards.

        Raises:
            ValueError: there is none of a version that this program reads, or it is damaged.
        """
        name, seen = file.name, bytearray()

        def take(count: int) -> bytes:
            seen.extend(part := file.read(count))
            if len(part) < count:
                raise ValueError(f"{name} ends within its header")
            return part

        if take(FIXED.size)[: len(MAGIC)] != MAGIC:
            raise ValueError(f"{name} is no bitstream of stlatent")
        _, version, levels, axes, fingerprint, numerics, fps, chunk = FIXED.unpack(seen)
        if version != VERSION:
            raise ValueError(f"{name} is a bitstream of version {version}; this reads {VERSION}")
        size = struct.unpack(f"<{axes}I", take(4 * axes))
        entries = []
        for _ in range(levels):
            *entry, channels = LEVEL.unpack(take(LEVEL.size))
            steps = torch.from_numpy(np.frombuffer(take(2 * channels), "<i2").astype(np.int16))
            entries.append(LevelEntry(*entry, steps.view(torch.bfloat16)))
        expected = zlib.crc32(seen)
        if CRC.unpack(take(CRC.size)) != (expected,):
            raise ValueError(f"{name}: its header is damaged")
        fps = None if math.isnan(fps) else fps
        return BitstreamHeader(fingerprint.hex(), numerics, fps, chunk, size, tuple(entries))


class Section:
    """The streams of one level under way, in a file without a name."""

    def __init__(self, folder: Path) -> None:
        self.file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self.bytes, self.crc = 0, 0

    def append(self, stream: bytes) -> None:
        self.file.write(stream)
        self.bytes += len(stream)
        self.crc = zlib.crc32(stream, self.crc)


def write_file(path: Path, header: BitstreamHeader, sections: Sequence[Section]) -> None:
    """Put the parts together under a temporary name, then move it into place."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(header.to_bytes())
            for section in sections:
                section.file.seek(0)
                shutil.copyfileobj(section.file, file, READ_BYTES)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class BitstreamFile:
    """A file opened for reading.

    Attributes:
        header: what it says of itself.
        levels: how many of its levels are there, in whole.

    Raises:
        ValueError: it is not there, no bitstream, or cut off elsewhere than behind a level.
    """

    def __init__(self, path: str | Path, levels: int | None = None) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise ValueError(f"no bitstream at {path}; give the path of a file")
        with open(self.path, "rb") as file:
            self.header = BitstreamHeader.read(file)
            self._ends = [file.tell()]
        for entry in self.header.levels:
            self._ends.append(self._ends[-1] + entry.bytes)
        size = self.path.stat().st_size
        self.levels = sum(size >= end for end in self._ends[1:])
        wanted = self.levels if levels is None else levels
        if wanted not in range(1, self.levels + 1):
            asked = "" if levels is None else f", but levels is {levels}"
            total = len(self.header.levels)
            raise ValueError(f"{path} holds {self.levels} of its {total} levels in whole{asked}")
        if levels is None and size != self._ends[self.levels]:
            raise ValueError(
                f"{path} ends {size - self._ends[self.levels]} bytes behind level "
                f"{self.levels - 1}; give levels={self.levels} to read what is whole"
            )
        self.levels = wanted

    def check(self) -> None:
        """Raises ValueError if a level that is to be read is damaged."""
        for level, entry in enumerate(self.header.levels[: self.levels]):
            with self.open(level) as file:
                crc, left = 0, entry.bytes
                while left:
                    part = file.read(min(left, READ_BYTES))
                    crc, left = zlib.crc32(part, crc), left - len(part)
            if crc != entry.crc:
                raise ValueError(f"{self.path}: level {level} is damaged, its checksum is another")

    def open(self, level: int) -> BinaryIO:
        """The file, where the first stream of `level` begins."""
        file = open(self.path, "rb")  # noqa: SIM115
        file.seek(self._ends[level])
        return file
