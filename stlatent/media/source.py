"""A file, or a folder of frames, that a medium reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from ..files import UnreadableError as UnreadableError  # of the face of this package
from .walk import files_below, name_others

# Of every medium; data sets of latents say of each item which it was made of.
Kind = Literal[
    "video",
    "image",
    "frames",
    "mesh",
    "volume",
    "planes",
    "sound",
    "volumes",
    "scan",
    "series",
    "latents",
]
FOLDERS = ("frames", "series")  # kinds that are a folder each, not a file
PLACED = ("mesh", "volume")  # kinds whose items say where they lie in space
# about what encoding takes, by kind: seconds per source, bytes per second
WORK = {
    "video": (0.1, 1e5),
    "frames": (0.1, 1e6),
    "image": (0.02, 1e6),
    "mesh": (1.0, 1e6),
    "sound": (0.1, 1e5),
    "scan": (1.0, 1e6),
    "series": (1.0, 1e6),
    "latents": (0.1, 1e7),
}


def suffix_of(name: str) -> str:
    """What the name of a file ends in, in small letters; of a packed one both, such as `.nii.gz`.

    >>> suffix_of("a.b.NII.gz"), suffix_of("a.mp4"), suffix_of("a")
    ('.nii.gz', '.mp4', '')
    """
    ends = PurePosixPath(name).suffixes
    packed = ends[-1:] in ([".gz"], [".GZ"])
    return "".join(ends[-2:] if packed else ends[-1:]).lower()


@dataclass(frozen=True)
class Source:
    """One source. `name` is its path below the root, with `/`, and unique there."""

    path: Path
    name: str
    kind: Kind


def named_files(
    root: str | Path, kinds: Mapping[str, Kind], what: str, beside: Iterable[str] = ()
) -> list[Source]:
    """All files below `root` (or `root` itself) of some kind by their suffix, ordered by name.

    Hidden files are passed over; files of other types, but for those with a suffix in `beside`, and
    folders that cannot be read are named in the log.

    Raises:
        ValueError: there are none; `what` says in words what was looked for.
    """
    root = Path(root)
    files = {name: (path, suffix_of(path.name)) for name, path in files_below(root).items()}
    found = [Source(path, name, kinds[end]) for name, (path, end) in files.items() if end in kinds]
    if not found:
        raise ValueError(f"{root} holds no {what}")
    others = [name for name, (_, end) in files.items() if end not in {*kinds, *beside}]
    name_others(others, root, (source.name for source in found))
    return found
