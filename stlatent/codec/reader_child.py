"""The other end of `reader.py`: decodes sources in a process of its own, without torch."""

from __future__ import annotations

import json
import mmap
import os
import queue
import signal
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection

import numpy as np

from ..data.files import UnreadableError
from ..data.readers import VideoReader

SLOTS = 3  # chunks in shared memory: one that the network is busy with, and two ahead
SLOT_BYTES = 256 * 2**20  # of a chunk, unless a single frame is larger


class Child:
    """Takes requests from `connection` and puts frames into the shared file `memory`.

    Messages are JSON. In: requests, and slots that are free again. Out: `ready`; per chunk where it
    lies and to which clip it belongs; per source a last one, which may say what is wrong with it.
    """

    def __init__(self, connection: Connection, memory: int) -> None:
        self.connection, self.memory = connection, memory
        self.requests: queue.SimpleQueue[dict] = queue.SimpleQueue()
        self.slots: queue.SimpleQueue[int] = queue.SimpleQueue()
        for slot in range(SLOTS):
            self.slots.put(slot)
        self.slot_bytes = 0
        self.map: mmap.mmap | None = None

    def listen(self) -> None:
        """Runs in a thread, so that this process ends with its parent even if a decoder hangs."""
        while True:
            try:
                message = json.loads(self.connection.recv_bytes())
            except (EOFError, OSError):
                os._exit(0)
            if "free" in message:
                self.slots.put(message["free"])
            else:
                self.requests.put(message)

    def serve(self) -> None:
        self.send({"ready": True})
        while True:
            request = self.requests.get()
            answer = {"source": request["source"]}
            try:
                for clip, frames in self.read(request):
                    self.send(answer | clip | self.place(frames))
            except UnreadableError as error:
                answer["failed"] = error.reason
            except Exception as error:  # whatever else a damaged file brings out of a decoder
                answer["failed"] = f"{type(error).__name__}: {error}".splitlines()[0][:160]
            self.send(answer | {"end": True})

    def read(self, request: dict) -> Iterator[tuple[dict, np.ndarray]]:
        """The clips of a source, chunk by chunk: what a clip is, and some frames of it."""
        with VideoReader(request["path"], threads=0, in_order=True) as reader:
            if request["still"] and reader.frames > 1:
                held = f"it has {reader.frames} frames, an image model takes one"
                raise UnreadableError(reader.path, held)
            fps = request["fps"] if reader.fps else None
            indices = reader.at_rate(fps) if fps else np.arange(reader.frames)
            indices = indices[: request["first"]]
            length = request["clip_frames"] or len(indices)
            chunk = chunk_frames(reader.size, request)
            self.fit(min(chunk, length) * 3 * reader.size[0] * reader.size[1])
            about = {"size": reader.size, "fps": fps or reader.fps, "moves": reader.frames > 1}
            pieces = read_in_order(reader, indices, length, chunk)
            for start, frames in pieces:
                count = min(length, len(indices) - start)
                yield about | {"start": start, "count": count}, frames

    def fit(self, size: int) -> None:
        """Make the slots large enough for chunks of `size` bytes, and not much larger."""
        if size <= self.slot_bytes <= 4 * size:
            return
        for _ in range(SLOTS):  # the layout changes, so none may be in use
            self.slots.get()
        os.ftruncate(self.memory, SLOTS * size)
        self.map, self.slot_bytes = mmap.mmap(self.memory, SLOTS * size), size
        for slot in range(SLOTS):
            self.slots.put(slot)

    def place(self, frames: np.ndarray) -> dict:
        """Copies frames into a slot, as soon as one is free."""
        slot = self.slots.get()
        offset = slot * self.slot_bytes
        shared = np.frombuffer(self.map, np.uint8, frames.size, offset)
        shared.reshape(frames.shape)[...] = frames
        where = {"slot": slot, "offset": offset, "memory": len(self.map)}
        return where | {"shape": frames.shape}

    def send(self, message: dict) -> None:
        self.connection.send_bytes(json.dumps(message).encode())


def chunk_frames(size: tuple[int, int], request: dict) -> int:
    """How many frames to read at a time: as many as go through the network at a time, unless they
    are so large that the memory is the limit."""
    height, width = resized(size, request["short_side"])
    units = max(1, request["pixels"] // (height * width * request["unit"]))
    limit = max(1, SLOT_BYTES // (3 * size[0] * size[1]))
    return min(units * request["unit"], limit)


def resized(size: tuple[int, int], short_side: int | None) -> tuple[int, int]:
    """Height and width when the shorter one is `short_side`."""
    if short_side is None:
        return size[0], size[1]
    scale = short_side / min(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def read_in_order(
    reader: VideoReader, indices: np.ndarray, length: int, chunk: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Frames at rising `indices`, with repeats, in clips of `length`: the start of the clip, and at
    most `chunk` frames of it. No frame is decoded twice."""
    before, last = -1, None
    for start in range(0, len(indices), length):
        clip = indices[start : start + length]
        for first in range(0, len(clip), chunk):
            asked = clip[first : first + chunk]
            wanted = np.unique(asked)
            new = reader.read(wanted[wanted > before])
            frames = new if wanted[0] > before else np.concatenate([last, new])
            before, last = wanted[-1], frames[-1:].copy()
            repeats = len(asked) > len(wanted)
            yield start, frames[np.searchsorted(wanted, asked)] if repeats else frames


def main(connection: int, memory: int) -> None:
    """Serve until the parent is gone; the arguments are open file descriptors."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent sees to it
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)  # what decoders print is no use to anyone
    child = Child(Connection(connection), memory)
    threading.Thread(target=child.listen, daemon=True).start()
    child.serve()
