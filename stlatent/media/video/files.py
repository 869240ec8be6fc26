"""Which videos and pictures lie in a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

from PIL import Image

VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".gif", ".m4v", ".wmv", ".264", ".h264")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


class UnreadableError(ValueError):
    """A file that cannot be read: `path` and a short `reason`."""

    def __init__(self, path: str | Path, reason: str):
        super().__init__(str(path), reason)  # both in args, so that it survives pickling
        self.path = Path(path)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class Source:
    """One video or picture. `name` is its path below the root, with `/`, and unique there.

    kind: "video", "image" (one picture), or "frames" (a folder of numbered pictures: a video).
    """

    path: Path
    name: str
    kind: Literal["video", "image", "frames"]


def find_sources(
    root: str | Path, exclude: Iterable[str] = (), frame_folders: bool = True
) -> list[Source]:
    """All videos and pictures below `root` (or `root` itself, if it is a file), ordered by name.

    Hidden files are passed over. `exclude` holds names to leave out: of files, or relative to the
    root. With `frame_folders`, a folder of nothing but numbered pictures of one size
    (`frame_0001.jpg`, ...) is one video; without, each of its pictures stands for itself.
    Raises ValueError where the root is missing, nothing is found, or `exclude` names nothing there.
    """
    root = Path(root)
    if not root.exists():
        raise ValueError(f"{root} does not exist; give a folder of videos or pictures, or one file")
    found = sorted(_walk(root, root, frame_folders, set()), key=lambda source: source.name)
    if not found:
        raise ValueError(
            f"{root} holds no video ({' '.join(VIDEO_SUFFIXES)}) and no picture "
            f"({' '.join(IMAGE_SUFFIXES)})"
        )
    exclude = set(exclude)
    unknown = exclude - {s.name for s in found} - {s.path.name for s in found}
    if unknown:
        raise ValueError(f"cannot exclude {', '.join(sorted(unknown))}: not found in {root}")
    kept = [s for s in found if s.name not in exclude and s.path.name not in exclude]
    if not kept:
        raise ValueError(f"all {len(found)} files in {root} are excluded; nothing is left")
    return kept


def _walk(path: Path, root: Path, frame_folders: bool, seen: set[str]) -> Iterator[Source]:
    name = path.relative_to(root).as_posix() if path != root else path.resolve().name
    suffix = path.suffix.lower()
    if path.is_file():
        if suffix in VIDEO_SUFFIXES:
            yield Source(path, name, "video")
        elif suffix in IMAGE_SUFFIXES:
            yield Source(path, name, "image")
        return
    real = os.path.realpath(path)
    if not path.is_dir() or real in seen:  # a link may lead back up
        return
    seen.add(real)
    if frame_folders and frame_files(path):
        yield Source(path, name, "frames")
        return
    for child in _visible(path):
        yield from _walk(child, root, frame_folders, seen)


def frame_files(folder: Path) -> list[Path]:
    """The pictures of a folder of frames in their order; [] if the folder is something else."""
    files = _visible(folder)
    parts = [re.fullmatch(r"(.*?)(\d+)", file.stem) for file in files]
    if len(files) < 2 or not all(parts) or len({part[1] for part in parts}) > 1:
        return []
    if any(file.suffix.lower() not in IMAGE_SUFFIXES or not file.is_file() for file in files):
        return []
    numbers = sorted(int(part[2]) for part in parts)
    gaps = [b - a for a, b in pairwise(numbers)]
    if min(gaps) == 0 or max(gaps) > 2 * min(gaps):  # holes: numbered photos, not a film
        return []
    ordered = sorted(files, key=lambda file: int(re.search(r"\d+$", file.stem)[0]))
    return ordered if _one_size(ordered) else []


def _one_size(pictures: list[Path]) -> bool:
    """Whether a spread of the pictures has one size; broken ones are passed over."""
    sizes = set()
    for file in pictures[:: max(1, len(pictures) // 16)]:
        try:
            with Image.open(file) as picture:
                sizes.add(picture.size)
        except OSError:
            continue
    return len(sizes) < 2


def _visible(folder: Path) -> list[Path]:
    return [child for child in folder.iterdir() if not child.name.startswith(".")]
