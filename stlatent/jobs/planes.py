"""Planes that are data through the network, into the items of a unit and back to files."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ..media.planes.data import normalise, restore, write_planes
from ..media.video.coder import whole_codes
from ..model import choose as choosing
from ..model.choose import Choose
from ..model.config import ModelConfig, Scaling
from ..model.ladder import Ladder
from ..store.reader import LatentStore
from ..store.records import Failure
from .decode import planned
from .device import autocast
from .inputs import Input
from .reader import Done, Piece
from .unit import About, UnitWriter

SUFFIX = ".npy"

log = logging.getLogger(__name__)


class PlaneUnit:
    """Encodes the files of planes of one unit, one after the other."""

    def __init__(self, model: Ladder, unit: UnitWriter) -> None:
        self.model, self.unit = model, unit

    def take(self, event: Piece | Done | Failure) -> int:
        """The next thing that the reader says; how many assets it holds."""
        if isinstance(event, Failure):
            self._fail(event.name, event.stage, event.reason)
        elif isinstance(event, Piece):
            try:
                self._encode(event.source, torch.from_numpy(event.values.copy()))
                return 1
            except ValueError as error:
                self._fail(event.source.name, "encode", str(error))
        return 0

    def finish(self) -> None:
        """Nothing waits."""

    def _encode(self, source: Input, planes: Tensor) -> None:
        config = self.model.config
        if len(planes) != config.channels:
            raise ValueError(f"has {len(planes)} channels; the model has {config.channels}")
        x = normalise(planes.to(next(self.model.parameters()).device), scaling(config))[None]
        item = self.unit.item(About(source.name, source.name, 0, "planes"))
        item.append([code.sample(0) for code in whole_codes(self.model, x, self.unit.header.std)])
        item.end(planes.shape[1:])

    def _fail(self, name: str, stage: str, reason: str) -> None:
        log.warning("left out %s: %s", name, reason)
        self.unit.fail(name, stage, reason)


def scaling(model: ModelConfig) -> Scaling:
    """Of planes in their own range; they are read as they are where a model has none."""
    count = model.channels
    return model.scaling or Scaling(offset=(0.0,) * count, scale=(1.0,) * count)


def decode_planes(
    model: Ladder,
    store: LatentStore,
    out: str | Path,
    levels: int | None = None,
    draw: Choose = choosing.mean,
    precision: str | None = None,
    replace: bool = False,
) -> list[Path]:
    """Decode every item of a data set from its first `levels` levels (all by default) to planes
    `[3, C, n, n]` in their own range, one `.npy` each; names are those of the sources.

    Returns:
        The files made, in the order of the items.

    Raises:
        ValueError: the latents come from another model, there are not so many levels, or an output
            file exists and `replace` is not given.
    """
    kept, targets = planned(model, store, out, levels, lambda _: SUFFIX, replace)
    device = next(model.parameters()).device
    with torch.inference_mode(), autocast(device, precision):
        for item, path in tqdm(targets, disable=None):
            latents = store.read(item.name, kept).to(device)
            x = model.decode(latents, draw=draw)[0].float()
            path.parent.mkdir(parents=True, exist_ok=True)
            write_planes(path, restore(x, scaling(model.config)))
    return [path for _, path in targets]
