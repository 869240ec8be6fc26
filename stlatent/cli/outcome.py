"""How every command ends, those of `tools/` too."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable


def command(program: str) -> Callable[[Callable[..., int | None]], Callable[..., int]]:
    """Let a function that runs a command return its exit code: 0, or what it returned itself; 2
    after wrong input, with one line on stderr; 130 when interrupted."""

    def decorate(run: Callable[..., int | None]) -> Callable[..., int]:
        @functools.wraps(run)
        def ended(*arguments, **options) -> int:
            try:
                return run(*arguments, **options) or 0
            except (ValueError, OSError) as error:
                print(f"{program}: error: {' '.join(str(error).split())}", file=sys.stderr)
                return 2
            except KeyboardInterrupt:
                print(f"{program}: interrupted", file=sys.stderr)
                return 130

        return ended

    return decorate
