"""What lies where a model on a foundation is to encode: pixels, latents in files, or a data set of
ours whose levels are what that foundation encodes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from ..checkpoint import Model, build
from ..foundation.autoencoder import FoundationAutoencoder
from ..media.base import Medium
from ..media.latents.child import LatentPlan
from ..media.latents.medium import CachedLatents
from ..media.options import SourceOptions
from ..media.registry import medium_of
from ..media.source import Source
from ..media.walk import files_below
from ..model.fingerprint import fingerprint
from ..model.ladder import Ladder
from ..model.torch_modules import closed
from ..store.header import level_file
from ..store.manifest import MANIFEST
from ..store.place import Place
from ..store.reader import LatentStore
from .latents_child import __name__ as CHILD


def source_medium(model: Model, root: str | Path) -> Medium:
    """The medium of what lies at `root`: that of the model, or, where this stands on a foundation,
    latents of that, if `root` is a data set of them or a folder of their files alone.

    Raises:
        ValueError: the data set cannot be read as the foundation's latents.
    """
    pixels, place = medium_of(model), Place(root)
    if model.frozen is None:
        return pixels
    if place.exists(MANIFEST):
        return StoredLatents(model, place)
    names = place.fs.find(place.root) if place.local is None else files_below(place.local)
    ends = {Path(name).suffix.lower() for name in names}
    files = ends & {*CachedLatents.kinds} and not ends & {*pixels.kinds}
    return CachedLatents(model.config) if files else pixels


@dataclass(frozen=True)
class StoredPlan(LatentPlan):
    """How latents are read from a data set of ours.

    Attributes:
        packing: how its levels make latents of the foundation, as values of `Packing`.
    """

    module: ClassVar[str] = CHILD

    packing: Mapping[str, Any] | None = None


class StoredLatents(CachedLatents):
    """The items of a data set that was made by the ladder that is the foundation of a model.

    Raises:
        ValueError: it was made by another model, cannot be read without it, or lies elsewhere.
    """

    def __init__(self, model: FoundationAutoencoder, place: Place) -> None:
        super().__init__(model.config)
        if place.local is None:
            raise ValueError(f"{place.url} is a data set of latents; copy it to this machine first")
        header, below = LatentStore(place.local).header, model.foundation
        packing = getattr(below, "packing", None)
        if packing is None:
            raise ValueError(
                f"{place.url} holds levels of a ladder, and the model stands on a "
                f"{type(below).__name__}: give its latents as .safetensors or .pt, or the pixels"
            )
        if header.fingerprint != (own := _fingerprint(below.ladder)):
            raise ValueError(
                f"{place.url} was made by model '{header.model}' ({header.fingerprint}), which is "
                f"not the ladder that this model stands on ({own})"
            )
        if header.coding:
            raise ValueError(f"{place.url} is entropy-coded: encode it without --entropy-code")
        self.packing = {
            "strides": [level.stride for level in header.levels[: below.config.levels]],
            "level_channels": packing.level_channels,
            "mean": packing.mean,
            "std": packing.std,
        }

    def find(self, root: Path) -> list[Source]:
        store = LatentStore(root)
        files = {name: root / level_file(0, store.unit(name)) for name in store.items}
        (kind,) = {*self.kinds.values()}
        return [Source(file, name, kind) for name, file in files.items()]

    def plan(self, options: SourceOptions, device: torch.device) -> StoredPlan:
        return StoredPlan(**vars(super().plan(options, device)), packing=self.packing)


def _fingerprint(opened: Ladder) -> str:
    """Of the ladder that an exported one was made from, whose weights had their own names."""
    plain = build(opened.config)
    plain.load_state_dict(closed(opened.state_dict(), len(opened.domain.axes)))
    return fingerprint(plain)
