"""What lies in a data set of multi-level latents, as records.

    latents/
      manifest.json                 model, fingerprint, dtype, levels, statistics; written last
      failed.jsonl                  sources that could not be read, with the reason; only if any
      shards/00000.json             the items of shard 0 and its own statistics
      level_0/00000.safetensors     their coarsest latents: one tensor per item, key = item name
      level_1/00000.safetensors     ...

Every level lies in a folder of its own, so that whoever wants the coarse levels reads, or copies,
only those. On disk a video's tensor is `[T, C, H, W]`, time first: it can be written while it is
encoded, and any span of time is one run of bytes. In memory it is `[C, T, H, W]`, as everywhere.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from ..checkpoint import fingerprint
from ..config import Strict, parse
from ..domain import DOMAINS
from ..ladder import Ladder

MANIFEST, FAILED, SHARDS = "manifest.json", "failed.jsonl", "shards"
FORMAT = "stlatent-latents"


class StoredLevel(Strict):
    """Stride per axis and number of channels of one level."""

    stride: tuple[int, ...]
    channels: int


class Statistics(Strict):
    """Over all positions of all items, per channel; `std` is that of the whole population."""

    count: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Item(Strict):
    """One source.

    Attributes:
        name: its path below the encoded folder, with `/`; the key of its tensors.
        kind: `video`, `image` or `frames` (a folder of numbered pictures).
        size: of the input along the axes of the domain, such as `[T, H, W]`.
        fps: frames per second; None where the source has none.
        grids: sizes of its latents along the same axes, per level.
    """

    name: str
    kind: Literal["video", "image", "frames"]
    size: tuple[int, ...]
    fps: float | None
    grids: tuple[tuple[int, ...], ...]


class Header(Strict):
    """What the latents of a data set have in common.

    Attributes:
        model: as it was given to whoever encoded: a name or a path.
        fingerprint: of the model's config and weights.
        axes: order of the axes of a tensor on disk.
        dtype: of all tensors.
    """

    format: Literal["stlatent-latents"] = FORMAT
    version: Literal[1] = 1
    model: str
    fingerprint: str
    domain: str
    axes: tuple[str, ...]
    dtype: Literal["float16", "bfloat16", "float32"]
    levels: tuple[StoredLevel, ...]

    @staticmethod
    def of(model: Ladder, reference: str, dtype: str = "float16") -> Header:
        """The header of latents made by `model`, which the user calls `reference`.

        float16 by default: it rounds to 1 part in 2048, far below what the latents' own posterior
        leaves open, where bfloat16 rounds to 1 in 256; their range does not ask for more.
        """
        levels = [
            StoredLevel(stride=level.stride, channels=level.latent * level.groups)
            for level in model.levels
        ]
        axes = ["channel", *(axis.name for axis in model.domain.axes)]
        if model.domain.causal is not None:
            axes.insert(0, axes.pop(1 + model.domain.causal))
        return Header(
            model=reference,
            fingerprint=fingerprint(model),
            domain=model.domain.name,
            axes=tuple(axes),
            dtype=dtype,
            levels=tuple(levels),
        )


class Manifest(Header):
    """The header, how much there is, and the statistics per level."""

    items: int
    shards: int
    statistics: tuple[Statistics, ...]


def level_folder(level: int) -> str:
    return f"level_{level}"


def level_file(level: int, shard: int) -> str:
    return f"{level_folder(level)}/{shard:05d}.safetensors"


def shard_file(shard: int) -> str:
    return f"{SHARDS}/{shard:05d}.json"


def on_disk(values: Any, domain: str) -> Any:
    """`[C, *axes]` in memory -> as on disk, where time comes first."""
    causal = DOMAINS[domain].causal
    return values if causal is None else values.movedim(1 + causal, 0)


def in_memory(values: Any, domain: str) -> Any:
    """The inverse of `on_disk`."""
    causal = DOMAINS[domain].causal
    return values if causal is None else values.movedim(0, 1 + causal)


def read_manifest(path: Path) -> Manifest:
    """The manifest of the data set at `path`.

    Raises:
        ValueError: there is none, or not one this program can read.
    """
    file = path / MANIFEST
    if not file.is_file():
        raise ValueError(f"{path} is no data set of latents: it has no {MANIFEST}")
    values = read_json(file)
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise ValueError(f"{file} is not the manifest of a data set of latents")
    return parse(Manifest, values, str(file))


def check_free(out: Path, replace: bool) -> None:
    """ValueError unless a data set may be put at `out`; says what is there already."""
    if not out.exists():
        return
    entries = sorted(p.name for p in out.iterdir()) if out.is_dir() else [out.name]
    if not entries:
        return
    try:
        manifest = read_manifest(out)
    except ValueError:
        raise ValueError(
            f"{out} holds other things ({_some(entries)}); give a new folder"
        ) from None
    levels = range(len(manifest.levels))
    foreign = {*entries} - {MANIFEST, FAILED, SHARDS, *(level_folder(k) for k in levels)}
    if foreign:
        raise ValueError(f"{out} holds more than latents ({_some(sorted(foreign))}); move it away")
    if not replace:
        raise ValueError(
            f"{out} holds the latents of {manifest.items} sources, by model '{manifest.model}'; "
            f"give another folder, or --replace to put new ones in their place"
        )


def read_json(path: Path) -> Any:
    """What a JSON file holds; ValueError if it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None


def write_json(path: Path, values: Any, indent: int | None = None) -> None:
    """Write a JSON file that is complete or not there."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(values, indent=indent) + "\n", encoding="utf-8")
    os.replace(partial, path)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
