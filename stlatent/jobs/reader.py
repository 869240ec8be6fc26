"""Reading in a process of its own, which a damaged file may crash or hang without further harm.

    this process                         child
    requests, free slots    ──socket──►  read_clips, read_shapes, read_planes: a source at a time
    where chunks lie        ◄──socket──
    frames or voxels        ◄──shared memory: 3 slots

The child is ahead by as many chunks as there are slots; it is started anew only when it had to be
given up.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Pipe
from typing import Any

import numpy as np

from ..media.sample import ReadPlan
from ..store.records import Failure
from .inputs import Input, LocalInput

AHEAD = 2  # sources that the child knows of
START_SECONDS = 600.0  # for its imports, on a machine that is busy
SECONDS_PER_MIB = 1.0  # more, for opening: some formats are decoded whole to count their frames

START = """
import sys
sys.path[:] = sys.argv[1].split("\\n")
from stlatent.jobs.child import main
main(sys.argv[2], *map(int, sys.argv[3:]))
"""


@dataclass(frozen=True)
class Piece:
    """A part of a source.

    Attributes:
        about: what `read` says about it.
        values: its array; it lasts until the next piece is asked for.
    """

    source: Input
    about: dict[str, Any]
    values: np.ndarray


@dataclass(frozen=True)
class Done:
    """A source has been read to its end."""

    source: Input


class Reader:
    """Reads sources in a child process.

        with Reader(plan) as reader:
            for event in reader.read(inputs):  # Piece, ..., Done or Failure; the next source

    Args:
        limit_seconds: within which the child must come up with the next chunk; opening a file has a
            second more per MiB.
    """

    def __init__(self, plan: ReadPlan, limit_seconds: float = 120.0) -> None:
        self.plan, self.limit_seconds = plan, limit_seconds
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> Reader:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def read(
        self, inputs: Iterable[LocalInput], first: int | None = None
    ) -> Iterator[Piece | Done | Failure]:
        """All parts of all inputs in order, or only the `first` ones of each: frames, volumes.

        A source that cannot be read ends in a Failure.
        """
        inputs, ahead = iter(inputs), deque()
        while True:
            while len(ahead) < AHEAD and (one := next(inputs, None)):
                ahead.append(one)
                self._request(one, first)
            if not ahead:
                return
            try:
                yield from self._source(ahead[0])
            except _Lost as lost:
                yield Failure(name=ahead[0].input.name, stage=lost.stage, reason=str(lost))
                for one in list(ahead)[1:]:
                    self._request(one, first)
            finally:
                ahead.popleft().forget()

    def _source(self, one: LocalInput) -> Iterator[Piece | Done | Failure]:
        if one.path is None:
            yield Failure(name=one.input.name, stage="fetch", reason=one.problem)
            return
        stage, limit = "open", self.limit_seconds + SECONDS_PER_MIB * one.input.bytes / 2**20
        while "end" not in (message := self._receive(stage, limit)):
            stage, limit = "decode", self.limit_seconds
            yield Piece(one.input, message["about"], self._values(message))
            self._send({"free": message["slot"]})
        if "failed" in message:
            yield Failure(name=one.input.name, stage=stage, reason=message["failed"])
        else:
            yield Done(one.input)

    def _values(self, message: dict) -> np.ndarray:
        if self._map is None or len(self._map) != message["memory"]:
            self._map = mmap.mmap(self._memory, message["memory"])
        size, dtype = int(np.prod(message["shape"])), message["dtype"]
        return np.frombuffer(self._map, dtype, size, message["offset"]).reshape(message["shape"])

    # the child --------------------------------------------------------------------------------

    def _request(self, one: LocalInput, first: int | None) -> None:
        if one.path is not None:
            if self._process is None:
                self._start()
            about = {"source": one.input.name, "path": str(one.path), "first": first}
            self._send(about | asdict(self.plan))

    def _send(self, message: dict) -> None:
        with suppress(OSError):  # if it is gone, the next _receive will find out
            self._connection.send_bytes(json.dumps(message).encode())

    def _receive(self, stage: str, limit_seconds: float) -> dict:
        if not self._ready:
            try:
                self._message(stage, START_SECONDS)
            except _Lost as lost:
                self._errors.seek(0)
                said = self._errors.read().decode(errors="replace").splitlines()[-1:]
                raise RuntimeError(f"nothing can be read: {lost}; {''.join(said)}") from None
            self._ready = True
        return self._message(stage, limit_seconds)

    def _message(self, stage: str, limit_seconds: float) -> dict:
        try:
            if self._connection.poll(limit_seconds):
                return json.loads(self._connection.recv_bytes())
            reason = f"the decoder did not answer within {limit_seconds:g} s"
        except (EOFError, OSError):
            reason = f"the decoder crashed ({_ending(self._process.wait())})"
        self._stop()
        raise _Lost(stage, reason)

    def _start(self) -> None:
        self._connection, other = Pipe()
        self._memory, self._map = _shared_memory(), None
        self._errors, self._ready = tempfile.TemporaryFile(), False  # noqa: SIM115
        given = (other.fileno(), self._memory)
        words = ["\n".join(sys.path), self.plan.module, *map(str, given)]
        self._process = subprocess.Popen(
            [sys.executable, "-c", START, *words],
            pass_fds=given,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
        )
        other.close()

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._connection.close()
            os.close(self._memory)
            self._process = self._map = None


class _Lost(Exception):
    """The child had to be given up."""

    def __init__(self, stage: str, reason: str) -> None:
        super().__init__(reason)
        self.stage = stage


def _shared_memory() -> int:
    """A file without a name, in memory where the system can, of which nothing is ever left."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("stlatent-frames")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _ending(code: int) -> str:
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"exit code {code}"
