"""What the latents of a data set have in common, as a record; FORMAT.md describes the files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator
from torch import Tensor

from ..bits.coding import Above0, Coding
from ..media.source import PLACED
from ..model.config import Positive, Strict
from ..model.domain import Domain
from ..model.domains import ALL_DOMAINS
from .codebooks import codebook_tables
from .records import Item, UnitRecord
from .stored import Dtype, StoredLevel

if TYPE_CHECKING:
    from ..model.ladder import Ladder

FORMAT = "stlatent-latents"
Part = Literal["mean", "std"]


class Header(Strict):
    """What the latents of a data set have in common.

    Attributes:
        format, version: of the data set.
        model: as it was given to whoever encoded: a name or a path.
        fingerprint: of the model's config and weights, but for what its priors remember.
        domain: over which the model is, such as `video`.
        channels: of the input.
        levels: how each lies on disk, coarsest first.
        resolution: of the volumes that planes were made of, in voxels per edge; None where the size
            of an item is that of its input.
        axes: order of the axes of a tensor on disk.
        std: whether the posteriors' standard deviations are there beside the means.
        tile: side in pixels of the tiles that larger frames were cut into; they decode best in the
            same ones. None of shapes.
        coding: where the latents are entropy-coded.
        rate_weight: λ, the price of the rate, at which a model that takes it as an input has made
            them, see `model/dial.py`; None of other models, and where every chunk has its own.
    """

    format: Literal["stlatent-latents"] = FORMAT
    version: Literal[2, 3] = 3  # 2 had neither codes nor coding
    model: str
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    domain: str
    channels: Positive = 3
    resolution: Annotated[int, Field(ge=1, le=2**16)] | None = None
    axes: tuple[str, ...]
    levels: Annotated[tuple[StoredLevel, ...], Field(min_length=1, max_length=1000)]
    std: bool = False
    tile: Positive | None
    coding: Coding | None = None
    rate_weight: Above0 | None = None

    @model_validator(mode="after")
    def _fits_its_domain(self) -> Header:
        if self.domain not in ALL_DOMAINS:
            raise ValueError(f"domain is '{self.domain}'; there are {', '.join(ALL_DOMAINS)}")
        domain, strides = ALL_DOMAINS[self.domain], [level.stride for level in self.levels]
        if self.axes != axes_on_disk(domain):
            said = f"axes are {' '.join(self.axes)}; of domain '{self.domain}' they are"
            raise ValueError(f"{said} {' '.join(axes_on_disk(domain))}")
        for stride in strides:
            domain.check_stride(stride)
        if any(a % b for coarse, fine in pairwise(strides) for a, b in zip(coarse, fine)):
            raise ValueError(f"levels have strides {strides}; each must be divided by the next")
        if self.tile and self.tile % math.lcm(*domain.of_space(strides[0])):
            raise ValueError(
                f"tile is {self.tile}, no multiple of the coarsest stride {strides[0]}"
            )
        return self

    @model_validator(mode="after")
    def _codes_and_bits(self) -> Header:
        for k, level in enumerate(self.levels):
            if (level.dtype == "bits") != (self.coding is not None):
                raise ValueError(f"level {k} is {level.dtype}, but coding is {self.coding}")
        if self.coding and len(self.coding.step) != len(self.levels):
            raise ValueError(f"coding has {len(self.coding.step)} steps, not one per level")
        if self.std and (self.coding or any(level.codes for level in self.levels)):
            raise ValueError("std is true, but codes and bits have no deviations")
        return self

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
        from ..model.fingerprint import fingerprint  # whoever only reads does without the network

        count = len(model.levels)
        if len(dtypes) not in (1, count):
            raise ValueError(
                f"{len(dtypes)} dtypes are given, but the model has {count} levels; "
                f"give one for all, or {count}"
            )
        codes = [k for k, level in enumerate(model.levels) if level.codebook]
        if std and codes:
            raise ValueError(f"level {codes[0]} is made of codes, which have no --std")
        if std and model.config.exact:
            raise ValueError("the finest level is exact, so it has no --std")
        if std and coding:
            raise ValueError("--entropy-code stores no standard deviations; leave out --std")
        levels = [
            StoredLevel.of(model, k, "bits" if coding else dtype)
            for k, dtype in enumerate([*dtypes] * (count // len(dtypes)))
        ]
        return Header(
            model=reference,
            fingerprint=fingerprint(model),
            domain=model.domain.name,
            channels=model.config.read_channels,
            resolution=model.config.field and model.config.field.resolution,
            axes=axes_on_disk(model.domain),
            levels=tuple(levels),
            std=std,
            tile=tile,
            coding=coding,
            rate_weight=None if coding and coding.rate_chosen else model.rate_weight,
        )

    def tables(self, model: Ladder) -> dict[int, Tensor]:
        """Vectors of the levels that are stored as indices, see `codebooks.py`."""
        return {} if self.coding else codebook_tables(model)

    def reached(self, item: Item) -> bool:
        """Whether an item is as it was to be, where there is a target."""
        if self.coding is None or self.coding.target is None:
            return True
        chunks, target = item.chunks or (), self.coding.target
        if target.psnr_db is not None:
            return all(c.psnr_db is None or c.psnr_db >= target.psnr_db for c in chunks)
        if target.size_bytes is not None:  # that of all items together
            return True
        bits = sum(sum(chunk.bits) for chunk in chunks)
        return bits <= target.bits_per_pixel * math.prod(item.size)

    @property
    def rate_chosen(self) -> bool:
        """Whether every chunk has a λ of its own."""
        return self.coding is not None and self.coding.rate_chosen

    def check_one_rate(self) -> None:
        """ValueError where no model at one λ decodes all of them."""
        if self.rate_chosen:
            raise ValueError(
                "every chunk of these latents has a λ of its own, but exports run at one alone: "
                "encode without a target, or with --rate-weight"
            )

    def values(self, size: Sequence[int]) -> int:
        """Numbers in the input of an item of this size, channels included."""
        return self.channels * (self.resolution**3 if self.resolution else math.prod(size))

    @property
    def over(self) -> Domain:
        """The domain that latents are stored over."""
        return ALL_DOMAINS[self.domain].whole

    def grids(self, size: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        """Sizes of the latents of an item of this size, per level, along the domain's axes."""
        domain, strides = self.over, [level.stride for level in self.levels]
        whole = domain.samples(domain.shape(size, strides[0]), strides[0])
        return tuple(domain.shape(whole, stride) for stride in strides)

    def tensor_shape(self, item: Item, level: int) -> tuple[int, ...]:
        """Of a tensor on disk that is no row of bytes."""
        shape = self.levels[level].numbers, *item.grids[level]
        return tuple(shape[i] for i in self.over.time_first)

    def check(self, unit: int, record: UnitRecord) -> None:
        """Whether what is said of a unit fits what is said of all.

        Raises:
            ValueError: it does not.
        """
        count, axes = len(self.levels), len(self.over.axes)
        if len({item.name for item in record.items}) < len(record.items):
            raise ValueError("two of its items have one name")
        for item in record.items:
            if len(item.size) != axes or item.grids != self.grids(item.size):
                raise ValueError(
                    f"'{item.name}' has size {item.size} and grids {item.grids}, which do not fit "
                    f"a level's stride"
                )
            if len(item.bits) != count:
                raise ValueError(f"'{item.name}' has {len(item.bits)} bits, not one per level")
            if any({len(c.step), len(c.bits)} != {count} for c in item.chunks or ()):
                raise ValueError(f"'{item.name}' has a chunk of other than {count} levels")
            if self.rate_chosen and not all(c.rate_weight for c in item.chunks or (None,)):
                raise ValueError(f"'{item.name}' does not say at which λ its chunks were made")
            if (item.shape is not None) != (item.kind in PLACED):
                raise ValueError(f"'{item.name}' is a {item.kind}, but shape is {item.shape}")
        files = {name for *_, name in self.files(unit)} if record.items else set()
        if record.files.keys() != files:
            raise ValueError(f"its files are {sorted(record.files)}, not {sorted(files)}")
        channels = [level.channels for level in self.levels]
        moments = [(len(m.mean), len(m.m2)) for m in record.moments]
        if moments != [(c, c) for c in channels]:
            raise ValueError(f"moments are of {moments} channels, not {channels}")
        if record.tolerance is not None and len(record.tolerance) != count:
            raise ValueError(f"tolerance has {len(record.tolerance)} entries, not one per level")

    def files(self, unit: int) -> Iterator[tuple[int, Part, str]]:
        """Level, part and name of every file of tensors that a unit has."""
        for part in ("mean", "std") if self.std else ("mean",):
            yield from ((k, part, level_file(k, unit, part)) for k in range(len(self.levels)))

    def dtype(self, level: int, part: Part) -> Dtype:
        """Of a file; deviations span too many magnitudes for int8."""
        dtype = self.levels[level].dtype
        return "float16" if part == "std" and dtype == "int8" else dtype


def axes_on_disk(domain: Domain) -> tuple[str, ...]:
    """The order of the axes of a tensor: time first, where there is time."""
    axes = ["channel", *(axis.name for axis in domain.axes)]
    return tuple(axes[i] for i in domain.time_first)


def level_file(level: int, unit: int, part: Part = "mean") -> str:
    """The name, below the folder of a data set, of the file of a level and a unit."""
    folder = f"level_{level}" if part == "mean" else f"level_{level}_std"
    return f"{folder}/{unit:05d}.safetensors"


def scale_key(name: str) -> str:
    """Of the scales of an int8 tensor; the name of an item never starts like this."""
    return f"/scale/{name}"


def on_disk(values: Tensor, domain: Domain) -> Tensor:
    """`[C, *axes]` in memory -> as on disk, where time comes first."""
    return values.permute(domain.time_first)


def in_memory(values: Tensor, domain: Domain) -> Tensor:
    """The inverse of `on_disk`."""
    order = domain.time_first
    return values.permute([order.index(i) for i in range(len(order))])
