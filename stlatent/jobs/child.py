"""The other end of `reader.py`: reads sources in a process of its own."""

from __future__ import annotations

import importlib
import json
import mmap
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

import numpy as np

LEAST_BYTES = 4 * 2**30  # that a decoder may ask for: with many threads it takes some for each
SLOTS = 3  # chunks in shared memory: one that the network is busy with, and two ahead

# From a request to the chunks of a source, the largest first: what there is to say about each, and
# its array. Any exception says what is wrong with the source, a short `reason` it has before all.
Read = Callable[[dict], Iterator[tuple[dict, np.ndarray]]]


class Child:
    """Takes requests from `connection` and puts what it reads into the shared file `memory`.

    Messages are JSON. In: requests, and slots that are free again. Out: `ready`; per chunk where it
    lies and what it is; per source a last one, which may say what is wrong with it.
    """

    def __init__(self, connection: Connection, memory: int, read: Read) -> None:
        self.connection, self.memory, self.read = connection, memory, read
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
                fitted = False
                for about, array in self.read(request):
                    if not fitted:
                        self.fit(array.nbytes)
                    fitted = True
                    self.send(answer | {"about": about} | self.place(array))
            except Exception as error:  # whatever a damaged file brings out of a decoder
                said = f"{type(error).__name__}: {error}".splitlines()[0][:160]
                answer["failed"] = getattr(error, "reason", said)
            self.send(answer | {"end": True})

    def fit(self, size: int) -> None:
        """Make the slots large enough for chunks of `size` bytes, and not much larger."""
        if size <= self.slot_bytes <= 4 * size:
            return
        for _ in range(SLOTS):  # the layout changes, so none may be in use
            self.slots.get()
        self.map, self.slot_bytes = None, 0
        try:
            os.ftruncate(self.memory, SLOTS * size)
            self.map, self.slot_bytes = mmap.mmap(self.memory, SLOTS * size), size
        finally:  # where there is no memory for them, the next source may need less
            for slot in range(SLOTS):
                self.slots.put(slot)

    def place(self, array: np.ndarray) -> dict:
        """Copies an array into a slot, as soon as one is free."""
        slot = self.slots.get()
        offset = slot * self.slot_bytes
        shared = np.frombuffer(self.map, array.dtype, array.size, offset)
        shared.reshape(array.shape)[...] = array
        where = {"slot": slot, "offset": offset, "memory": len(self.map)}
        return where | {"shape": array.shape, "dtype": array.dtype.name}

    def send(self, message: dict) -> None:
        self.connection.send_bytes(json.dumps(message).encode())


def bound_memory() -> None:
    """A file that asks for more than half of this machine's memory costs itself alone: asking
    fails, instead of taking the memory from everyone. A lower `ulimit -v` holds."""
    if sys.platform != "linux":
        return
    import resource

    half = max(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2, LEAST_BYTES)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if soft == resource.RLIM_INFINITY or soft > half:
        resource.setrlimit(resource.RLIMIT_AS, (half, hard))


def main(module: str, connection: int, memory: int) -> None:
    """Serve until the parent is gone.

    Args:
        module: one with a function `read`.
        connection, memory: open file descriptors.
    """
    read = importlib.import_module(module).read
    bound_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent sees to it
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)  # what decoders print is no use to anyone
    child = Child(Connection(connection), memory, read)
    threading.Thread(target=child.listen, daemon=True).start()
    child.serve()
