"""What a data set, or the part of it that is done, holds in all."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch

from .header import Header
from .records import Failure, MomentsRecord, UnitRecord
from .tensors import Moments


@dataclass
class Total:
    """Sums over units.

    Attributes:
        values: numbers of the input: pixels or voxels times channels.
        numbers, bits, bytes: of the latents (or codes) per level: how many, their rate, their size
            on disk.
        moments: of the latents per level.
        tolerance: the least of all units, per level; None where nothing is entropy-coded.
        missed: items that are not as they were to be, see `Header.reached`.
        psnr_db: of the chunk where it is lowest; None without a target, or where all are equal to
            what they were made of.
    """

    items: int = 0
    frames: int = 0
    values: int = 0
    numbers: list[int] = field(default_factory=list)
    bits: list[float] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    moments: list[Moments] = field(default_factory=list)
    tolerance: tuple[float, ...] | None = None
    missed: list[str] = field(default_factory=list)
    psnr_db: float | None = None


@dataclass(frozen=True)
class LevelSummary:
    """What one level holds, over all items.

    Attributes:
        numbers: latent numbers, or codes.
        per_value: latent numbers per input value.
        bits_per_value: rate per input value, see `manifest.Item`.
        bytes: on disk.
    """

    stride: tuple[int, ...]
    channels: int
    dtype: str
    numbers: int
    per_value: float
    bits_per_value: float
    bytes: int


def merged(records: Iterable[UnitRecord], header: Header) -> Total:
    """The sums over `records`, in their order."""
    count = len(header.levels)
    moments = [Moments.none(level.channels) for level in header.levels]
    files = [level.codes.file if level.codes else None for level in header.levels]
    sizes = [file.bytes if file else 0 for file in files]
    total = Total(numbers=[0] * count, bits=[0.0] * count, bytes=sizes, moments=moments)
    for record in records:
        total.failed += record.failed
        for item in record.items:
            total.items += 1
            total.missed += [] if header.reached(item) else [item.name]
            found = [total.psnr_db, *(chunk.psnr_db for chunk in item.chunks or ())]
            total.psnr_db = min((one for one in found if one is not None), default=None)
            total.frames += header.over.of_time(item.size)
            total.values += header.values(item.size)
            for k, (level, grid) in enumerate(zip(header.levels, item.grids, strict=True)):
                total.numbers[k] += level.numbers * math.prod(grid)
                total.bits[k] += item.bits[k]
        for k, own in enumerate(record.moments):
            total.moments[k] = total.moments[k].merge(_moments(own))
        if record.tolerance:
            least = zip(total.tolerance or record.tolerance, record.tolerance, strict=True)
            total.tolerance = tuple(map(min, least))
        for name, file in record.files.items():
            level = int(name.partition("/")[0].split("_")[1])
            total.bytes[level] += file.bytes
    return total


def level_summaries(total: Total, header: Header) -> tuple[LevelSummary, ...]:
    """Per level, coarsest first."""
    values = max(total.values, 1)
    return tuple(
        LevelSummary(
            stride=level.stride,
            channels=level.channels,
            dtype=level.dtype,
            numbers=total.numbers[k],
            per_value=total.numbers[k] / values,
            bits_per_value=total.bits[k] / values,
            bytes=total.bytes[k],
        )
        for k, level in enumerate(header.levels)
    )


def table(levels: tuple[LevelSummary, ...]) -> str:
    """One line per level, and one for all."""
    rows = [
        ["level", "stride", "channels", "numbers per value", "bits per value", "dtype", "bytes"]
    ]
    for k, level in enumerate(levels):
        stride = "x".join(map(str, level.stride))
        about = [str(k), stride, str(level.channels)]
        rows.append([*about, *_sizes([level]), level.dtype, f"{level.bytes:,}"])
    rows.append(["all", "", "", *_sizes(levels), "", f"{sum(lv.bytes for lv in levels):,}"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(cells))
        for cells in ([*zip(row, widths, strict=True)] for row in rows)
    )


def _sizes(levels: Iterable[LevelSummary]) -> tuple[str, str]:
    per_value, bits = (sum(x) for x in zip(*((v.per_value, v.bits_per_value) for v in levels)))
    return f"1/{1 / per_value:.0f}" if per_value else "-", f"{bits:.4f}"


def _moments(record: MomentsRecord) -> Moments:
    mean, m2 = (torch.tensor(values, dtype=torch.float64) for values in (record.mean, record.m2))
    return Moments(record.count, mean, m2)
