"""What lies where something is to be encoded: files, what files hold, and what lists name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from ..files import shown
from ..media.base import Medium
from ..media.registry import usual_model as usual_model_for
from ..media.source import Kind, suffix_of
from ..media.walk import ARCHIVES, COMPRESSED, files_below, name_others
from ..store.place import Place, file_system
from .archives import PACKED_IS, Found, Part, holds_others, inside
from .captions import caption_of, captions, file_of, rows
from .inputs import Input
from .marks import THREADS, Mark, digest, local_mark, local_marks, remote_marks

LISTS = (".txt", ".jsonl", ".csv")


def find_inputs(medium: Medium, root: str | Path) -> list[Input]:
    """The sources at `root`, a path or a URL, ordered by name: all in a folder, in an archive, or
    named by a list; with what is said of them, see `captions.py`.

    Raises:
        ValueError: nothing lies there, or it does not suit the model.
    """
    place, single = Place(root), _single(root)
    if place.root.lower().endswith(COMPRESSED) and not (place.local and place.local.is_dir()):
        raise ValueError(f"{shown(root)} {PACKED_IS}")
    if single and single[1].suffix.lower() in LISTS:
        found = _listed(single[0], single[1].name, medium.kinds)
    elif single:
        found = _opened(single[0], [single[1].name], medium.kinds)
    elif place.local is not None:
        found = _local(medium, place)
    else:
        found = _remote(place, medium.kinds)
    if not found:
        raise ValueError(f"{root} holds no {medium.what}, or cannot be read")
    medium.check(root, found)
    return sorted(found, key=lambda one: one.name)


def left_out(inputs: Sequence[Input], out: Place, root: str | Path) -> list[Input]:
    """The inputs without those that lie in the data set that is made of them, such as its preview.

    Raises:
        ValueError: nothing else is there.
    """
    if out.local is None:
        kept = [one for one in inputs if not one.path.startswith(f"{out.url}/")]
    else:
        inner, outer = os.path.realpath(out.local), os.path.realpath(root)
        if not inner.startswith(os.path.join(outer, "")):
            return [*inputs]
        inner = os.path.join(inner, "")
        kept = [one for one in inputs if not os.path.realpath(one.path).startswith(inner)]
    if not kept:
        raise ValueError(f"{root} holds nothing but what lies in {out.url}")
    return kept


def usual_model(root: str | Path) -> str:
    """The shipped model for what lies at `root`, a path or a URL."""
    place, single = Place(root), _single(root)
    if single and single[1].suffix.lower() in LISTS:
        names = [file for _, file, _ in _lines(single[1].name, single[0].read(single[1].name))]
    elif single:
        names = [one.name for one in inside(str(root))]
    elif place.local is not None:
        names = [*files_below(place.local)]
    else:
        names = place.fs.find(place.root)
    return usual_model_for(suffix_of(name) for name in names)


def _single(root: str | Path) -> tuple[Place, PurePosixPath] | None:
    """Folder and name of the list or the archive that lies at `root`, if that is one."""
    place = Place(root)
    path = PurePosixPath(place.root)
    if place.local is not None and not place.local.is_file():
        return None
    if path.suffix.lower() not in (*LISTS, *ARCHIVES):
        return None
    return Place(place.local.parent if place.local else place.url.rpartition("/")[0]), path


def _local(medium: Medium, place: Place) -> list[Input]:
    """Files and folders of frames of this machine, and what lies in archives beside them."""
    files = files_below(place.local) if place.local.is_dir() else {}
    archives = [name for name in files if holds_others(name)]
    ends = {suffix_of(name) for name in files}
    found: list[Input] = []
    if not archives or ends & {*medium.kinds}:
        sources = medium.find(place.local)
        said = captions(
            [source.name for source in sources], files, lambda name: files[name].read_bytes()
        )
        marks = local_marks([source.path for source in sources])
        found = [
            _input(s.name, s.kind, str(s.path), mark, said.get(s.name))
            for s, mark in zip(sources, marks, strict=True)
        ]
    return found + _opened(place, archives, medium.kinds, prefix=True)


def _remote(place: Place, kinds: Mapping[str, Kind]) -> list[Input]:
    """The same behind a URL."""
    scheme = place.url.partition("://")[0]
    listed = {}
    for path, info in sorted(place.fs.find(place.root, detail=True).items()):
        name = path[len(place.root) :].lstrip("/") or os.path.basename(path)
        if not any(part.startswith(".") for part in name.split("/")):
            listed[name] = path, info
    known = {n: kinds[end] for n in listed if (end := suffix_of(n)) in kinds}
    archives = [name for name in listed if holds_others(name)]
    others = [name for name in listed if name not in known and name not in archives]
    said = captions(known, others, lambda name: place.fs.cat_file(listed[name][0]))
    name_others(others, place.url, known)
    marks = remote_marks(place.fs, [listed[name] for name in known])
    found = [
        _input(name, known[name], f"{scheme}://{listed[name][0]}", mark, said.get(name))
        for name, mark in zip(known, marks, strict=True)
    ]
    return found + _opened(place, archives, kinds, prefix=True)


def _opened(
    place: Place, archives: Sequence[str], kinds: Mapping[str, Kind], prefix: bool = False
) -> list[Input]:
    """What lies in archives; with `prefix`, the archive is a folder in the names."""
    found = []
    for archive in archives:
        path = str(place.local / archive) if place.local is not None else place / archive
        (mark,) = _marks([path])
        names: dict[str, Found] = {}
        for one in inside(path):
            name = f"{archive}/{one.name}" if prefix else one.name
            if name in names:
                raise ValueError(f"{path} has two files that are called {shown(one.name)}")
            names[name] = one
        known = {n: kinds[end] for n in names if (end := suffix_of(n)) in kinds}
        name_others([name for name in names if name not in known], path)
        for name, kind in known.items():
            one = names[name]
            own = digest(f"{mark[:2]} {one.part}".encode())  # it changes when the archive does
            here = Mark(one.bytes, own, mark.changed)
            found.append(_input(name, kind, path, here, one.caption, one.part))
    return found


def _listed(place: Place, name: str, kinds: Mapping[str, Kind]) -> list[Input]:
    """What a list names: a `.txt` file of paths, relative to it, or URLs; or a table of files and
    captions, see `captions.py`.

    Raises:
        ValueError: it cannot be read, names a file twice, or one that is not there.
    """
    paths: dict[str, str] = {}
    said: dict[str, str | None] = {}
    for number, file, caption in _lines(name, place.read(name)):
        own = _name(file)
        if own in paths:
            raise ValueError(f"{place / name}, line {number}: {shown(file)} is named twice")
        absolute = "://" in file or os.path.isabs(file)
        paths[own], said[own] = file if absolute else place / file, caption
    known = {n: kinds[end] for n in paths if (end := suffix_of(n)) in kinds}
    name_others([n for n in paths if n not in known], place / name)
    marks = _marks([paths[n] for n in known])
    return [
        _input(n, kind, paths[n], mark, said[n])
        for (n, kind), mark in zip(known.items(), marks, strict=True)
    ]


def _input(
    name: str, kind: Kind, path: str, mark: Mark, caption: str | None, part: Part | None = None
) -> Input:
    return Input(name, kind, mark.bytes, path, mark.ends, mark.changed, caption, part)


def _lines(name: str, content: bytes) -> Iterator[tuple[int, str, str | None]]:
    """Number, file and caption of each line of a list."""
    if not name.lower().endswith(".txt"):
        for number, row in rows(name, content):
            if (file := file_of(row)) is None:
                raise ValueError(f"{shown(name)}, row {number}, names no file")
            yield number, file, caption_of(row)
        return
    for number, line in enumerate(content.decode("utf-8-sig", "surrogateescape").splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            yield number, line.strip(), None


def _name(file: str) -> str:
    """What a source is called that a list names: its path without what leads out of a folder."""
    path = file.partition("://")[2].partition("?")[0] if "://" in file else file
    parts = path.replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in ("", ".", ".."))


def _marks(paths: Sequence[str]) -> list[Mark]:
    """Of files, here or behind URLs.

    Raises:
        ValueError: one is not there.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        return [*pool.map(_mark, paths)]


def _mark(path: str) -> Mark:
    try:
        if "://" not in path:
            return local_mark(path)
        fs, place = file_system(path)
        (mark,) = remote_marks(fs, [(place, fs.info(place))])
        return mark
    except Exception as error:  # every file system has its own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{shown(path)} cannot be read: {reason[:160]}") from None
