"""Which videos and pictures lie in a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

from PIL import Image

from ..source import Source
from ..walk import first_visit, name_others, visible

VIDEO_SUFFIXES = (
    *(".mp4", ".mkv", ".mov", ".avi", ".webm", ".gif", ".m4v", ".wmv", ".264", ".h264", ".265"),
    *(".hevc", ".h265", ".ts", ".m2ts", ".mts", ".flv", ".mpg", ".mpeg", ".m2v", ".vob", ".asf"),
    *(".3gp", ".ogv", ".mxf", ".dv", ".ivf", ".obu", ".mjpeg", ".mjpg", ".y4m"),
)
IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".jp2", ".j2k", ".jpf"),
    *(".jpx", ".jfif", ".apng", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".qoi", ".dds", ".pcx"),
    ".sgi",
)


def find_sources(
    root: str | Path, exclude: Iterable[str] = (), frame_folders: bool = True
) -> list[Source]:
    """All videos and pictures below `root` (or `root` itself, if it is a file), ordered by name.

    Hidden files are passed over; files of other types and folders that cannot be read are named in
    the log. `exclude` holds names to leave out: of files, or relative to the
    root. With `frame_folders`, a folder of nothing but numbered pictures of one size
    (`frame_0001.jpg`, ...) is one video; without, each of its pictures stands for itself.
    Raises ValueError where the root is missing, nothing is found, or `exclude` names nothing there.
    """
    root = Path(root)
    if not root.exists():
        raise ValueError(f"{root} does not exist; give a folder of videos or pictures, or one file")
    others: list[str] = []
    walked = _walk(root, root, frame_folders, set(), others)
    found = sorted(walked, key=lambda source: source.name)
    if not found:
        raise ValueError(
            f"{root} holds no video ({' '.join(VIDEO_SUFFIXES)}) and no picture "
            f"({' '.join(IMAGE_SUFFIXES)})"
        )
    name_others(others, root, (source.name for source in found))
    exclude = set(exclude)
    unknown = exclude - {s.name for s in found} - {s.path.name for s in found}
    if unknown:
        raise ValueError(f"cannot exclude {', '.join(sorted(unknown))}: not found in {root}")
    kept = [s for s in found if s.name not in exclude and s.path.name not in exclude]
    if not kept:
        raise ValueError(f"all {len(found)} files in {root} are excluded; nothing is left")
    return kept


def _walk(
    path: Path, root: Path, frame_folders: bool, seen: set[str], others: list[str]
) -> Iterator[Source]:
    """The sources at `path`; the names of all files that are none join `others`."""
    name = path.relative_to(root).as_posix() if path != root else path.resolve().name
    suffix = path.suffix.lower()
    if os.path.isfile(path) and suffix in VIDEO_SUFFIXES:
        yield Source(path, name, "video")
    elif os.path.isfile(path) and suffix in IMAGE_SUFFIXES:
        yield Source(path, name, "image")
    elif not os.path.isdir(path):
        others.append(name)
    elif first_visit(path, seen):
        if frame_folders and frame_files(path):
            yield Source(path, name, "frames")
            return
        for child in visible(path):
            yield from _walk(child, root, frame_folders, seen, others)


def frame_files(folder: Path) -> list[Path]:
    """The pictures of a folder of frames in their order; [] if the folder is something else."""
    numbered = numbered_files(folder)
    return numbered if _one_size(numbered) else []


def numbered_files(folder: Path) -> list[Path]:
    """As `frame_files`, by the names alone."""
    files = visible(folder)
    parts = [re.fullmatch(r"(.*?)(\d+)", file.stem) for file in files]
    if len(files) < 2 or not all(parts) or len({part[1] for part in parts}) > 1:
        return []
    if any(file.suffix.lower() not in IMAGE_SUFFIXES or not file.is_file() for file in files):
        return []
    numbers = sorted(int(part[2]) for part in parts)
    gaps = [b - a for a, b in pairwise(numbers)]
    if min(gaps) == 0 or max(gaps) > 2 * min(gaps):  # holes: numbered photos, not a film
        return []
    return sorted(files, key=lambda file: int(re.search(r"\d+$", file.stem)[0]))


def _one_size(pictures: list[Path]) -> bool:
    """Whether all pictures have one size; broken ones are passed over."""
    sizes = set()
    for file in pictures:
        try:
            with Image.open(file) as picture:
                sizes.add(picture.size)
        except Image.DecompressionBombError:  # none that a film has
            return False
        except Exception:  # whatever a damaged picture brings out of Pillow
            continue
        if len(sizes) > 1:
            return False
    return True
