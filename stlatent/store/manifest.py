"""What lies in a data set of multi-level latents, as records; FORMAT.md describes the files."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from torch import Tensor

from ..checkpoint import fingerprint
from ..files import safe_name
from ..geometry.cube import Placement
from ..geometry.field import Route
from ..model.config import Strict, parse
from ..model.domain import DOMAINS
from ..model.ladder import Ladder
from .codebooks import codebook_tables
from .place import Place
from .stored import Coding, Dtype, FileRecord, StoredLevel
from .tensors import Moments

MANIFEST, FAILED, UNITS = "manifest.json", "failed.jsonl", "units"
FORMAT = "stlatent-latents"
RESERVED = "__metadata__"  # by safetensors
Part = Literal["mean", "std"]
Tolerance = Annotated[float, Field(ge=0, allow_inf_nan=True)]  # infinite where nothing is coded


def item_name(name: str) -> str:
    """The name of an item, if it can be a key of tensors and the name of a file inside a folder.

    Raises:
        ValueError: it cannot.
    """
    if name == RESERVED:
        raise ValueError(f"'{RESERVED}' cannot be the name of an item; rename it")
    return safe_name(name)


Name = Annotated[str, AfterValidator(item_name)]


class Statistics(Strict):
    """Over all positions of all items, per channel; `std` is that of the whole population."""

    count: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @staticmethod
    def of(moments: Moments) -> Statistics:
        mean, std = tuple(moments.mean.tolist()), tuple(moments.std.tolist())
        return Statistics(count=moments.count, mean=mean, std=std)


class Shape(Strict):
    """What a shape's latents do not hold: where it lies, the distance at which it is truncated, and
    how its field was made."""

    placement: Placement
    band_voxels: float
    route: Route


class Item(Strict):
    """The latents of one source, or of one clip or volume of it.

    Attributes:
        name: the key of its tensors: the path of the source below the encoded folder, with `/`,
            and, where sources were cut into clips or hold many volumes, the number of its first
            frame or of its volume.
        source: path of the source below the encoded folder, with `/`.
        start: first frame in the source, counted at `fps`, or number of the volume.
        kind: `video`, `image` or `frames` (a folder of numbered pictures); `mesh` or `volume`;
            `planes` that are data.
        size: of the input along the axes of the domain, such as `[T, H, W]`.
        fps: frames per second; None where the source has none.
        shape: of meshes and volumes only.
        grids: sizes of its latents along the same axes, per level.
        bits: the rate per level: KL of posterior against prior; of codes, and of what is
            entropy-coded, minus the binary logarithm of its probability under the prior.
    """

    name: Name
    source: Name
    start: int
    kind: Literal["video", "image", "frames", "mesh", "volume", "planes"]
    size: tuple[int, ...]
    fps: float | None
    shape: Shape | None = None
    grids: tuple[tuple[int, ...], ...]
    bits: tuple[float, ...]


class Failure(Strict):
    """A source that is not in the data set, why, and at which stage: `fetch`, `open`, `decode` or
    `encode`."""

    name: str
    stage: Literal["fetch", "open", "decode", "encode"]
    reason: str


class MomentsRecord(Strict):
    """Count, mean and sum of squared deviations per channel."""

    count: int
    mean: tuple[float, ...]
    m2: tuple[float, ...]


class UnitRecord(Strict):
    """A finished unit of work: with this file it is part of the data set.

    Attributes:
        items: in the order of the sources.
        failed: sources of the unit that are missing.
        files: of tensors, by name.
        moments: of the means, per level, merged over the items in their order.
        tolerance: by how much priors may differ where entropy-coded latents are read, in nats;
            the least of all items, per level.
    """

    items: tuple[Item, ...]
    failed: tuple[Failure, ...]
    files: dict[str, FileRecord]
    moments: tuple[MomentsRecord, ...]
    tolerance: tuple[Tolerance, ...] | None = None


class Header(Strict):
    """What the latents of a data set have in common.

    Attributes:
        model: as it was given to whoever encoded: a name or a path.
        fingerprint: of the model's config and weights.
        channels: of the input.
        resolution: of the volumes that planes were made of, in voxels per edge; None where the size
            of an item is that of its input.
        axes: order of the axes of a tensor on disk.
        std: whether the posteriors' standard deviations are there beside the means.
        tile: side in pixels of the tiles that larger frames were cut into; they decode best in the
            same ones. None of shapes.
        coding: where the latents are entropy-coded.
    """

    format: Literal["stlatent-latents"] = FORMAT
    version: Literal[2, 3] = 3  # 2 had neither codes nor coding
    model: str
    fingerprint: str
    domain: str
    channels: int = 3
    resolution: int | None = None
    axes: tuple[str, ...]
    levels: Annotated[tuple[StoredLevel, ...], Field(min_length=1)]
    std: bool = False
    tile: int | None
    coding: Coding | None = None

    @staticmethod
    def of(
        model: Ladder,
        reference: str,
        tile: int | None,
        dtypes: Sequence[str],
        std: bool = False,
        coding: Coding | None = None,
    ) -> Header:
        """The header of latents made by `model`, which the user calls `reference`.

        float16 by default: it rounds to 1 part in 2048, far below what the latents' own posterior
        leaves open, where bfloat16 rounds to 1 in 256; their range does not ask for more.

        Args:
            dtypes: of latents that are neither codes nor entropy-coded: one for all levels, or one
                per level.

        Raises:
            ValueError: there are more or fewer, or deviations are asked for of codes or bits.
        """
        count = len(model.levels)
        if len(dtypes) not in (1, count):
            raise ValueError(
                f"{len(dtypes)} dtypes are given, but the model has {count} levels; "
                f"give one for all, or {count}"
            )
        codes = [k for k, level in enumerate(model.levels) if level.codebook]
        if std and codes:
            raise ValueError(f"level {codes[0]} is made of codes, which have no --std")
        if std and coding:
            raise ValueError("--entropy-code stores no standard deviations; leave out --std")
        levels = [
            StoredLevel.of(model, k, "bits" if coding else dtype)
            for k, dtype in enumerate([*dtypes] * (count // len(dtypes)))
        ]
        axes = ["channel", *(axis.name for axis in model.domain.axes)]
        if model.domain.causal is not None:
            axes.insert(0, axes.pop(1 + model.domain.causal))
        return Header(
            model=reference,
            fingerprint=fingerprint(model),
            domain=model.domain.name,
            channels=model.config.read_channels,
            resolution=model.config.field and model.config.field.resolution,
            axes=tuple(axes),
            levels=tuple(levels),
            std=std,
            tile=tile,
            coding=coding,
        )

    def tables(self, model: Ladder) -> dict[int, Tensor]:
        """Vectors of the levels that are stored as indices, see `codebooks.py`."""
        return {} if self.coding else codebook_tables(model)

    def values(self, size: Sequence[int]) -> int:
        """Numbers in the input of an item of this size, channels included."""
        return self.channels * (self.resolution**3 if self.resolution else math.prod(size))

    @property
    def causal(self) -> int | None:
        """Position of the time axis among the axes of the domain."""
        return DOMAINS[self.domain].causal

    def files(self, unit: int) -> Iterator[tuple[int, Part, str]]:
        """Level, part and name of every file of tensors that a unit has."""
        for part in ("mean", "std") if self.std else ("mean",):
            yield from ((k, part, level_file(k, unit, part)) for k in range(len(self.levels)))

    def dtype(self, level: int, part: Part) -> Dtype:
        """Of a file; deviations span too many magnitudes for int8."""
        dtype = self.levels[level].dtype
        return "float16" if part == "std" and dtype == "int8" else dtype


class Manifest(Header):
    """The header, how much there is, the statistics per level, and the tolerance of all units."""

    items: int
    failed: int
    units: int
    statistics: tuple[Statistics, ...]
    tolerance: tuple[Tolerance, ...] | None = None


def level_file(level: int, unit: int, part: Part = "mean") -> str:
    folder = f"level_{level}" if part == "mean" else f"level_{level}_std"
    return f"{folder}/{unit:05d}.safetensors"


def unit_file(unit: int) -> str:
    return f"{UNITS}/{unit:05d}.json"


def scale_key(name: str) -> str:
    """Of the scales of an int8 tensor; the name of an item never starts like this."""
    return f"/scale/{name}"


def on_disk(values: Any, causal: int | None) -> Any:
    """`[C, *axes]` in memory -> as on disk, where time comes first."""
    return values if causal is None else values.movedim(1 + causal, 0)


def in_memory(values: Any, causal: int | None) -> Any:
    """The inverse of `on_disk`."""
    return values if causal is None else values.movedim(0, 1 + causal)


def read_manifest(place: Place) -> Manifest:
    """The manifest of the data set at `place`.

    Raises:
        ValueError: there is none, or not one this program can read.
    """
    if not place.exists(MANIFEST):
        if place.exists(UNITS):
            raise ValueError(
                f"{place.url} is not complete yet: `stlatent jobs show {place.url}` says how far "
                f"it is, and the command that began it goes on"
            )
        raise ValueError(f"{place.url} is no data set of latents: it has no {MANIFEST}")
    values = read_json(place, MANIFEST)
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise ValueError(f"{place / MANIFEST} is not the manifest of a data set of latents")
    return parse(Manifest, values, place / MANIFEST)


def read_units(place: Place, units: Sequence[int]) -> Iterator[UnitRecord]:
    """The records of finished units."""
    names = [unit_file(unit) for unit in units]
    for name, content in zip(names, place.read_all(names), strict=True):
        yield parse(UnitRecord, parse_json(content, place / name), place / name)


def read_json(place: Place, name: str) -> Any:
    """What a JSON file holds; ValueError if it is missing or broken."""
    return parse_json(place.read(name), place / name)


def parse_json(content: bytes, source: str) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        raise ValueError(f"{source} cannot be read: {error}") from None


def write_json(place: Place, name: str, values: Strict, indent: int | None = None) -> None:
    """Write a record to a JSON file that is complete or not there."""
    text = json.dumps(values.model_dump(mode="json"), indent=indent) + "\n"
    place.put(name, [text.encode()])
