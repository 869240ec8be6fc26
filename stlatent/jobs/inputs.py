"""What is to be encoded, here or behind a URL, and how it is cut into units of work."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..geometry.read import MESH_SUFFIXES
from ..geometry.volumes import VOLUME_SUFFIXES
from ..media.planes.data import PLANE_SUFFIXES, find_planes
from ..media.shape.data import find_shapes
from ..media.video.files import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Source, find_sources
from ..media.walk import files_below
from ..model.ladder import Ladder
from ..store.place import Place, download
from ..store.records import item_name

CLIP_KINDS = dict.fromkeys(VIDEO_SUFFIXES, "video") | dict.fromkeys(IMAGE_SUFFIXES, "image")
SHAPE_KINDS = dict.fromkeys(MESH_SUFFIXES, "mesh") | dict.fromkeys(VOLUME_SUFFIXES, "volume")
PLANE_KINDS = dict.fromkeys(PLANE_SUFFIXES, "planes")
UNIT_BYTES = 64 * 2**20  # of input; a unit ends with the source that reaches it


@dataclass(frozen=True)
class Input:
    """A video, a picture or a folder of frames; a mesh or a file of volumes; a file of planes.

    Attributes:
        name: its path below the folder that is encoded, with `/`.
        kind: `video`, `image`, `frames`, `mesh`, `volume` or `planes`.
        path: of the file, or its URL.
    """

    name: str
    kind: str
    bytes: int
    path: str


@dataclass(frozen=True)
class LocalInput:
    """An input as a file on this machine; `problem` says why there is none."""

    input: Input
    path: Path | None
    copy: bool = False
    problem: str = ""

    def forget(self) -> None:
        """Remove the file, if it is a copy."""
        if self.copy and self.path is not None:
            self.path.unlink(missing_ok=True)


def find_clips(model: Ladder, root: str | Path) -> list[Input]:
    """The videos and pictures below `root`, a path or a URL, ordered by name.

    Raises:
        ValueError: nothing lies there, or it does not suit the model; see `suitable_sources`.
    """
    place = Place(root)
    if place.local is not None:
        sources = suitable_sources(model, place.local)
        return [Input(s.name, s.kind, _bytes(s), str(s.path)) for s in sources]
    found = _remote(place, CLIP_KINDS)
    if not found:
        raise ValueError(f"{root} holds no video and no picture, or cannot be read")
    _check_suits(model, root, found)
    return found


def find_shape_files(root: str | Path) -> list[Input]:
    """The meshes and files of volumes below `root`, a path or a URL, ordered by name.

    Raises:
        ValueError: nothing lies there.
    """
    return _find(root, find_shapes, SHAPE_KINDS, "mesh and no volume")


def find_plane_files(root: str | Path) -> list[Input]:
    """The files of planes below `root`, a path or a URL, ordered by name.

    Raises:
        ValueError: nothing lies there.
    """
    return _find(root, find_planes, PLANE_KINDS, "planes")


def _find(
    root: str | Path,
    local: Callable[[Path], dict[str, Path]],
    kinds: dict[str, str],
    what: str,
) -> list[Input]:
    """Files below `root` by their `kinds`, those of this machine as `local` finds them."""
    place = Place(root)
    if place.local is not None:
        return [
            Input(name, kinds[path.suffix.lower()], path.stat().st_size, str(path))
            for name, path in local(place.local).items()
        ]
    if found := _remote(place, kinds):
        return found
    raise ValueError(f"{root} holds no {what}, or cannot be read")


def usual_model(root: str | Path) -> str:
    """The shipped model for what lies at `root`: `voxel` for shapes alone, else `video`."""
    place = Place(root)
    if place.local is not None:
        suffixes = {path.suffix.lower() for path in files_below(place.local).values()}
    else:
        suffixes = {PurePosixPath(path).suffix.lower() for path in place.fs.find(place.root)}
    return "voxel" if suffixes & {*SHAPE_KINDS} and not suffixes & {*CLIP_KINDS} else "video"


def _remote(place: Place, kinds: dict[str, str]) -> list[Input]:
    """Files behind a URL that are of some kind by their suffix."""
    scheme = place.url.partition("://")[0]
    found = []
    for path, info in sorted(place.fs.find(place.root, detail=True).items()):
        name = path[len(place.root) :].lstrip("/") or os.path.basename(path)
        kind = kinds.get(PurePosixPath(name).suffix.lower())
        if kind and not any(part.startswith(".") for part in name.split("/")):
            found.append(Input(name, kind, info["size"], f"{scheme}://{path}"))
    return found


def suitable_sources(model: Ladder, root: str | Path) -> list[Source]:
    """What lies below a folder of this machine; ValueError unless `model` can encode all of it.

    To an image model every picture stands for itself; to a video model a picture is a video of one
    frame, and a folder of numbered pictures a video.
    """
    sources = find_sources(root, frame_folders=model.domain.name != "image")
    _check_suits(model, root, sources)
    return sources


def cut(inputs: Sequence[Input], files: int) -> list[list[Input]]:
    """Units of at most `files` inputs, which depend on the inputs' names and sizes alone."""
    units: list[list[Input]] = []
    size = UNIT_BYTES
    for one in inputs:
        if size >= UNIT_BYTES or len(units[-1]) >= files:
            units.append([])
            size = 0
        units[-1].append(one)
        size += one.bytes
    return units


def fetch(inputs: Iterable[Input], folder: Path) -> Iterator[LocalInput]:
    """The inputs as files of this machine, copied to `folder` from wherever else they are."""
    for number, one in enumerate(inputs):
        try:
            item_name(one.name)
        except ValueError as error:
            yield LocalInput(one, None, problem=str(error))
            continue
        if "://" not in one.path:
            yield LocalInput(one, Path(one.path))
            continue
        path = folder / f"input-{number}{PurePosixPath(one.name).suffix}"
        try:
            download(one.path, path)
            yield LocalInput(one, path, copy=True)
        except Exception as error:  # every file system has its own
            path.unlink(missing_ok=True)
            text = str(error).strip() or type(error).__name__
            yield LocalInput(one, None, problem=text.splitlines()[0][:160])


def _check_suits(model: Ladder, root: str | Path, inputs: Sequence[Input | Source]) -> None:
    if model.domain.name not in ("video", "image"):
        raise ValueError(
            f"the model's domain is '{model.domain.name}'; videos need one of domain 'video', "
            f"pictures one of 'video' or 'image'"
        )
    videos = [one.name for one in inputs if one.kind != "image"]
    if model.domain.name == "image" and videos:
        raise ValueError(
            f"the model's domain is 'image', but {root} holds {len(videos)} videos, such as "
            f"{videos[0]}; give a video model, or a folder of pictures alone"
        )


def _bytes(source: Source) -> int:
    if source.kind != "frames":
        return source.path.stat().st_size
    return sum(entry.stat().st_size for entry in os.scandir(source.path))
