"""Frames of one video, picture or folder of pictures, whatever decodes it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Protocol

import av
import numpy as np

from ...files import UnreadableError
from .display import WHITE, Colour
from .files import IMAGE_SUFFIXES
from .pictures import FolderDecoder, PictureDecoder
from .timeline import (
    Timeline,
    frame_seconds,
    open_video,
    read_timeline,
    reason,
    video_stream,
)

DECORD_BYTES = 32 * 2**20  # of all frames of what decord may read in order


class VideoReader:
    """Reads frames by their index, exactly; frame i is the i-th that a player shows.

    path: a video, a picture (one frame) or a folder of numbered pictures.
    threads: of the video decoder; 0 takes all cores. Keep 1 in worker processes.
    in_order: the frames are read from the first to the last, in memory that does not grow.
    background: RGB behind transparent pixels. How else frames are shown: see `display.py` and
        `pictures.py`.

    frames: how many there are. size: (height, width), as shown. fps: frames per second,
    None where there is none (pictures).

    Open it in the process that reads: some decoders hang when they are carried over a fork.
    Raises UnreadableError (a ValueError), here or on reading, for what cannot be decoded.
    """

    def __init__(
        self,
        path: str | Path,
        threads: int = 1,
        in_order: bool = False,
        background: Colour = WHITE,
    ):
        self.path = Path(path)
        if not self.path.exists():
            raise UnreadableError(self.path, "no such file")
        self._decoder = _open(self.path, threads, in_order, background)
        self.frames = self._decoder.frames
        self.size = self._decoder.size
        self.fps = self._decoder.fps

    def read(self, indices: Iterable[int]) -> np.ndarray:
        """Frames at `indices` (any order, repeats allowed) as uint8 RGB `[n, H, W, 3]`.

        Raises:
            ValueError: these are no numbers of frames.
            IndexError: there is no such frame.
        """
        if not isinstance(indices, Iterable):
            raise ValueError(f"frames are {indices!r}; give numbers, such as range(33) or [0]")
        indices = np.asarray(list(indices), dtype=np.int64)
        if indices.size == 0:
            return np.empty((0, *self.size, 3), np.uint8)
        if indices.min() < 0 or indices.max() >= self.frames:
            raise IndexError(
                f"{self.path}: frames {indices.min()} to {indices.max()} asked for; "
                f"it has 0 to {self.frames - 1}"
            )
        wanted, place = np.unique(indices, return_inverse=True)
        frames = self._decoder.read(wanted.tolist())
        return frames if len(wanted) == len(indices) and _rises(indices) else frames[place]

    def chunks(self, length: int) -> Iterator[np.ndarray]:
        """All frames in order, `length` at a time (the last chunk may be shorter)."""
        if length < 1:
            raise ValueError(f"chunks of {length} frames; at least 1 is needed")
        for start in range(0, self.frames, length):
            yield self.read(range(start, min(start + length, self.frames)))

    def at_rate(self, fps: float) -> np.ndarray:
        """Indices of the frames that a player shows at `fps` evenly spaced instants per second.

        A frame stays until the next one comes, so of a variable rate some are left out and others
        are repeated. Sources without a rate (pictures) keep all their frames.
        """
        if self.fps is None:
            return np.arange(self.frames)
        seconds = self._decoder.seconds()
        gap = seconds[-1] / (len(seconds) - 1) if len(seconds) > 1 else 1 / self.fps
        end = seconds[-1] + 0.9 * gap  # not all of it, and a little late: timestamps are rounded
        instants = np.arange(0, end, 1 / fps) + gap / 10
        return np.searchsorted(seconds, instants, side="right") - 1

    def close(self) -> None:
        self._decoder.close()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *exc) -> None:
        self.close()


class FrameDecoder(Protocol):
    """What VideoReader needs; `read` gets rising, distinct, valid indices. `seconds` says when each
    frame is shown, after the first; it is only asked for where there is a rate."""

    frames: int
    size: tuple[int, int]
    fps: float | None

    def read(self, indices: list[int]) -> np.ndarray: ...

    def seconds(self) -> np.ndarray: ...

    def close(self) -> None: ...


def _open(path: Path, threads: int, in_order: bool, background: Colour) -> FrameDecoder:
    if path.is_dir():
        return FolderDecoder(path, background)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return PictureDecoder(path, background)
    times = read_timeline(path)
    # decord goes on decoding while nobody reads, and keeps it all
    short = 3 * math.prod(times.look.size) * times.frames <= DECORD_BYTES
    # without closed groups it may land beside the frame; of looks it knows turns alone
    known = times.keys is not None and times.closed and times.look.plain
    if known and (short or not in_order):
        try:
            return DecordDecoder(path, times, threads)
        except (ImportError, UnreadableError):  # no wheel for this machine, or not its codec
            pass
    return AvDecoder(path, times, threads, background)


class DecordDecoder:
    """decord, the fastest; only for files whose frames it counts as the timeline does."""

    def __init__(self, path: Path, times: Timeline, threads: int):
        import decord

        decord.logging.set_level(decord.logging.QUIET)
        self.path, self.frames, self.fps, self._times = path, times.frames, times.fps, times
        self._errors = (decord.DECORDError, decord.DECORDLimitReachedError, RuntimeError)
        try:
            # fault_tol: no frame may be replaced by its neighbour; a whole path is never a URL
            name = os.path.abspath(path)
            self._reader = decord.VideoReader(name, num_threads=threads, fault_tol=1e-9)
        except (*self._errors, AssertionError, UnicodeEncodeError) as error:
            raise UnreadableError(path, reason(error)) from None
        if len(self._reader) != self.frames:  # it counts hidden frames too
            raise UnreadableError(path, f"decord counts {len(self._reader)} frames")
        self.size = self.read([0]).shape[1:3]

    def read(self, indices: list[int]) -> np.ndarray:
        try:
            return self._reader.get_batch(indices).asnumpy()
        except self._errors:
            held = f"a frame among {indices[0]} to {indices[-1]} cannot be decoded"
            raise UnreadableError(self.path, held) from None

    def seconds(self) -> np.ndarray:
        return frame_seconds(self.path, self._times)

    def close(self) -> None:
        self._reader = None


class AvDecoder:
    """PyAV: every format FFmpeg knows, on every platform."""

    def __init__(self, path: Path, times: Timeline, threads: int, background: Colour = WHITE):
        self.path, self.background = path, background
        self.frames, self.fps = times.frames, times.fps
        self._times, self._keys = times, times.keys or ()
        self._frame_at = {pts: i for i, pts in self._keys}
        self._threads = threads
        self._container = None
        self._rewind()
        self.size = times.look.size

    def read(self, indices: list[int]) -> np.ndarray:
        out = []
        try:
            self._approach(indices[0])
            for index in indices:
                while self._next < index:
                    self._step()
                out.append(self._times.look.show(self._step(), self.background))
        except (av.FFmpegError, EOFError) as error:
            held = f"frame {self._next} cannot be decoded ({reason(error)})"
            raise UnreadableError(self.path, held) from None
        return np.stack(out)

    def _step(self) -> av.VideoFrame:
        frame = next(self._stream_frames, None)
        if frame is None:
            held = f"it ends after {self._next} of {self.frames} frames"
            raise UnreadableError(self.path, held)
        if self._frame_at.get(frame.pts, self._next) != self._next:
            raise UnreadableError(self.path, f"frames before {self._frame_at[frame.pts]} are lost")
        self._next += 1
        return frame

    def _approach(self, index: int) -> None:
        """Goes to the last keyframe before `index`, unless the decoder is between the two."""
        if self._next == index:
            return
        before = [key for key in self._keys if 0 < key[0] <= index]
        if self._next <= index and (not before or before[-1][0] <= self._next):
            return
        for start, pts in reversed(before[-3:]):
            self._container.seek(pts, stream=self._stream)
            if self._reach(pts):
                self._next = start
                return
        self._rewind()

    def _reach(self, pts: int) -> bool:
        """Drops frames up to the one at `pts`; False if the seek landed behind it."""
        frames = self._container.decode(self._stream)
        for frame in frames:
            if frame.pts is None or frame.pts > pts:
                return False
            if frame.pts == pts:
                self._stream_frames = chain([frame], frames)
                return True
        return False

    def _rewind(self) -> None:
        self.close()
        self._container = open_video(self.path)
        self._stream = video_stream(self._container, self.path)
        self._stream.codec_context.thread_count = self._threads
        self._stream.thread_type = "AUTO"
        self._stream_frames = self._container.decode(self._stream)
        self._next = 0

    def seconds(self) -> np.ndarray:
        return frame_seconds(self.path, self._times)

    def close(self) -> None:
        if self._container is not None:
            self._container.close()


def _rises(indices: np.ndarray) -> bool:
    return bool((np.diff(indices) > 0).all())
