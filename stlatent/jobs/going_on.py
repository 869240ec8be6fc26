"""Files that a command makes one by one, and goes on with where it was interrupted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..files import replace_text, resumable
from ..media.output import check_outputs

UNDER_WAY = ".stlatent-under-way"  # in the folder, until all files are there: what was asked for


@contextmanager
def going_on(
    out: Path, paths: Sequence[Path], asked: str, replace: bool = False
) -> Iterator[frozenset[Path]]:
    """Within it, `paths` in the folder `out` are made, each whole or not at all; gives those that
    the same command made before it was interrupted. One that replaces begins anew.

    Args:
        asked: a digest of all that the files depend on; of another command it is another.

    Raises:
        ValueError: something else lies there that may not be replaced, see `check_outputs`.
    """
    mark = out / UNDER_WAY
    same = not replace and mark.is_file() and mark.read_bytes() == asked.encode()
    made = frozenset(path for path in paths if same and path.exists())
    check_outputs([path for path in paths if path not in made], replace)
    if replace:
        mark.unlink(missing_ok=True)  # whose files would soon be of two commands
        yield made
        return
    replace_text(mark, asked)
    try:
        with resumable():
            yield made
        mark.unlink(missing_ok=True)
    finally:
        if not any(path.exists() for path in paths):  # nothing came of it
            mark.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # there is something in it
                out.rmdir()
