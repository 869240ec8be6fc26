"""Fields on disk, so that a mesh is turned into one only once."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from .band import Band
from .field import Field, FieldSettings
from .near import band_from_surface
from .read import read_surface
from .surface import Surface
from .vary import varied
from .voxelise import field_from_surface

Made = TypeVar("Made", Field, Band)

SHOWN = 48  # letters of a mesh's name in that of its field, which has room for 255 bytes
NAMED = {  # how files name the files that they need
    ".obj": rb"(?m)^\s*mtllib\s+(.+?)\s*$",
    ".mtl": rb"(?m)^\s*map_\w+\s+(?:.*\s)?(\S+)\s*$",
    ".gltf": rb'"uri"\s*:\s*"([^":]+)"',
}


class Cache(Generic[Made]):
    """Keeps what is made of each mesh in `folder`, as one `.npz`.

    It belongs to the content of the mesh's file and of the materials and pictures that it names,
    and to the settings; a file that changes gets a new one.

    Attributes:
        kind: of what is kept.
        make: makes it of a surface.
        version: goes up when the same mesh and settings come to give another one.
    """

    kind: ClassVar[type]
    make: ClassVar[Callable[[Surface, FieldSettings], Any]]
    version: ClassVar[str]

    def __init__(self, folder: str | Path, settings: FieldSettings | None = None):
        self.folder = Path(folder)
        self.settings = settings or FieldSettings()

    def open(self, path: str | Path, variant: int = 0) -> Made:
        """What is made of the mesh at `path`, or of a variant of it: now, if it is not there yet.

        Raises BadMeshError as `read_surface` does.
        """
        path = Path(path)
        if not path.is_file():
            return self._made(path, variant)  # says what is wrong
        file = self.folder / f"{path.stem[:SHOWN]}-{self._key(path, variant)}.npz"
        if file.exists():
            with suppress(ValueError):  # damaged: made anew
                return self.kind.load(file)
        made = self._made(path, variant)
        self.folder.mkdir(parents=True, exist_ok=True)
        made.save(file)
        return made

    def _made(self, path: Path, variant: int) -> Made:
        return type(self).make(varied(read_surface(path), variant), self.settings)

    def _key(self, path: Path, variant: int) -> str:
        made = f"{self.version} {variant} {self.settings.model_dump_json()}"
        digest = hashlib.sha256(made.encode())
        waiting = [path]
        for part in waiting:
            content = part.read_bytes() if part.is_file() else b""
            digest.update(len(content).to_bytes(8, "little") + content)
            naming = NAMED.get(part.suffix.lower())
            names = re.findall(naming, content) if naming else []
            beside = [part.parent / name.decode(errors="replace") for name in names]
            waiting += [file for file in beside if file not in waiting]
        return digest.hexdigest()[:20]


class FieldCache(Cache[Field]):
    """Of fields."""

    kind, make, version = Field, field_from_surface, "3"


class BandCache(Cache[Band]):
    """Of bands."""

    kind, make, version = Band, band_from_surface, "band 2"
