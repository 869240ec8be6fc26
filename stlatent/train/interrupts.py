"""Ctrl-C and a request to end: no step is lost."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Within it, the first SIGINT or SIGTERM is only noted; a second one ends at once.

    Attributes:
        noted: the signal that has come, if any.
    """

    def __init__(self) -> None:
        self.noted: int | None = None
        self.before: dict[int, object] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():  # no other may handle signals
            self.before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self._restore()

    def end(self) -> None:
        """Go on as if the signal came now.

        Raises:
            KeyboardInterrupt: of Ctrl-C.
            SystemExit: of SIGTERM, with the exit code that a shell would report.
        """
        if self.noted == signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM)
        raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.noted = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before = {}


def left_to_the_trainer(worker: int) -> None:
    """Called in a process that reads: signals that come to all processes are the trainer's, which
    still needs what is being read."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
