"""The command line: `stlatent train | encode | decode | inspect | sample | export | …`: thin."""

from __future__ import annotations

from collections.abc import Sequence

from .outcome import LogFormatter, command


@command("stlatent")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 (some files failed) or 2 (wrong input)."""
    # not above, so that whatever is imported can be interrupted as the command itself can
    import logging

    from .verbs import parse

    options = parse(arguments)
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormatter())
    logging.basicConfig(handlers=[handler])
    return options.run(options)
