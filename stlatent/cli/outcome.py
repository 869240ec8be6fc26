"""How every command ends, those of `tools/` too."""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

INTERRUPTED = 130


def command(program: str) -> Callable[[Callable[..., int | None]], Callable[..., int]]:
    """Let a function that runs a command return its exit code: 0, or what it returned itself; 2
    after wrong input, with one line on stderr; 130 when interrupted, with one that says whether the
    same command goes on from there."""

    def decorate(run: Callable[..., int | None]) -> Callable[..., int]:
        @functools.wraps(run)
        def ended(*arguments, **options) -> int:
            _open_streams()
            try:
                with _interruptible_imports(program):
                    code = run(*arguments, **options) or 0
                sys.stdout.flush()
                return code
            except BrokenPipeError:
                _hush()
                return 0
            except (ValueError, OSError) as error:
                return _wrong(program, str(error))
            except (RuntimeError, MemoryError) as error:
                from ..model.device import out_of_memory

                if not out_of_memory(error):
                    raise
                return _wrong(program, "there is not enough memory for this; ask for less at once")
            except KeyboardInterrupt as stopped:
                print("; ".join([f"{program}: interrupted", *stopped.args]), file=sys.stderr)
                return INTERRUPTED

        return ended

    return decorate


def _wrong(program: str, reason: str) -> int:
    """Say on one line what was wrong; returns the exit code of that."""
    print(f"{program}: error: {printable(' '.join(reason.split()))}", file=sys.stderr)
    return 2


def printable(text: str) -> str:
    """Lines as a terminal may show them: names of files may hold what steers it, or no text."""
    from ..files import shown

    return "\n".join(map(shown, text.split("\n")))


class LogFormatter(logging.Formatter):
    """The message alone, printable."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def say(result: object) -> None:
    """Print what came of a command; that nobody reads on changes nothing about it."""
    try:
        print(printable(str(result)), flush=True)
    except BrokenPipeError:  # such as `| head -1`
        _hush()


def _hush() -> None:
    """Let what is still printed go nowhere, as whoever read it has left."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open_streams() -> None:
    """A command that was started without stdout or stderr does the same work."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115


@contextlib.contextmanager
def _interruptible_imports(program: str) -> Iterator[None]:
    """Let Ctrl-C end the process at once while a module is being imported.

    Raised there, KeyboardInterrupt is often swallowed, or comes out as an ImportError."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        while frame is not None:
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                os.write(sys.stderr.fileno(), f"{program}: interrupted\n".encode())
                os._exit(INTERRUPTED)
            frame = frame.f_back
        raise KeyboardInterrupt

    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not ours or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # the work is done: while Python takes itself down, Ctrl-C would make a failure of it
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
