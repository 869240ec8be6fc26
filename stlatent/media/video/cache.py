"""Decoded frames on disk, so that an epoch after the first costs no decoding."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from .readers import VideoReader
from .write import NpyWriter

SHOWN = 48  # letters of a source's name in that of its file, which has room for 255 bytes
VERSION = 2  # goes up when the same file comes to give other frames


class FrameCache:
    """Keeps up to `frames` frames of each source in `folder`, as one uncompressed uint8 `.npy`.

    Of a longer source, evenly spread windows of consecutive frames are kept. The files belong to
    a source's path, size and time of change; a source must not change while the cache is open.
    """

    def __init__(self, folder: str | Path, frames: int = 96):
        if frames < 1:
            raise ValueError(f"the cache keeps {frames} frames of a file; at least 1 is needed")
        self.folder = Path(folder)
        self.frames = frames
        self._files: dict[tuple[Path, int], Path] = {}

    def open(self, path: Path, window: int = 33) -> np.ndarray:
        """The kept frames of the source at `path`, decoded now if they are not there yet.

        Returns a read-only uint8 memory map `[windows, length, H, W, 3]`: one window, if the whole
        source is kept, else as many as fit with length >= `window`.
        Raises UnreadableError as the reader does.
        """
        if (path, window) not in self._files:
            self._files[path, window] = self._file(path, window)
        file = self._files[path, window]
        if not file.exists():
            self._write(path, window, file)
        return np.load(file, mmap_mode="r", allow_pickle=False)

    def _file(self, path: Path, window: int) -> Path:
        parts = [path, *sorted(path.iterdir())] if path.is_dir() else [path]
        stats = [(part.name, part.stat().st_size, part.stat().st_mtime_ns) for part in parts]
        key = repr((VERSION, str(path.resolve()), stats, self.frames, window))
        digest = hashlib.sha256(key.encode()).hexdigest()[:20]
        return self.folder / f"{path.stem[:SHOWN]}-{digest}.npy"

    def _write(self, path: Path, window: int, file: Path) -> None:
        with VideoReader(path) as reader:
            kept = max(self.frames, window)
            windows = kept // window if reader.frames > kept else 1
            length = min(reader.frames, kept) // windows
            starts = np.linspace(0, reader.frames - length, windows).round().astype(int)
            with NpyWriter(file, (windows, length, *reader.size, 3)) as writer:
                for start in starts:
                    for i in range(0, length, 16):  # bounds the memory
                        writer.write(reader.read(range(start + i, start + min(i + 16, length))))
