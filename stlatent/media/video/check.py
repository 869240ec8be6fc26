"""Which sources can be read, found out before anything long begins."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Sequence

from ...files import UnreadableError
from ..source import Source
from .readers import VideoReader
from .timeline import reason


def check_sources(
    sources: Sequence[Source], limit_seconds: float = 60.0, threads: int = 4
) -> tuple[list[Source], list[UnreadableError]]:
    """Opens each source and decodes its first frame: those that can be read, and why others cannot.

    A decoder that does not answer within `limit_seconds` is left behind. Raises ValueError if no
    source can be read.
    """
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for i in range(len(sources)):
        waiting.put(i)
    started = [math.inf] * len(sources)  # of one length throughout: threads write while it is read
    outcome: dict[int, UnreadableError | None] = {}

    def work() -> None:
        while True:
            try:
                i = waiting.get_nowait()
            except queue.Empty:
                return
            started[i] = time.monotonic()
            outcome.setdefault(i, _problem(sources[i]))

    def start() -> None:  # a daemon, since a thread that hangs cannot be ended
        threading.Thread(target=work, daemon=True).start()

    for _ in range(min(threads, len(sources))):
        start()
    while len(outcome) < len(sources):
        time.sleep(0.005)
        for i, begun in enumerate(started):
            if i not in outcome and time.monotonic() - begun > limit_seconds:
                held = f"it did not open within {limit_seconds:g} s"
                outcome.setdefault(i, UnreadableError(sources[i].path, held))
                start()
    good = [source for i, source in enumerate(sources) if outcome[i] is None]
    bad = [outcome[i] for i in range(len(sources)) if outcome[i] is not None]
    if not good:
        shown = "; ".join(map(str, bad[:3])) + ("; ..." if len(bad) > 3 else "")
        raise ValueError(f"none of {len(sources)} files can be read: {shown or 'there are none'}")
    return good, bad


def _problem(source: Source) -> UnreadableError | None:
    try:
        VideoReader(source.path).close()
    except UnreadableError as error:
        return error
    except Exception as error:  # whatever else a damaged file brings out of a decoder
        return UnreadableError(source.path, reason(error))
    return None
