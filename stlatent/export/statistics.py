"""Where a model's figures of its latents come from, and what it is tried on."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoint import about, locate
from ..evaluate.latents import LatentFigures, known_figures, measure_latents
from ..media.options import Extent
from ..media.registry import medium_of
from ..model.ladder import Ladder
from ..model.strict import read

SAMPLES, EXTENT = 64, Extent(17, (256, 256))  # of a folder: at most so many, at most this large

Data = str | Path | Iterable[Tensor] | None


def figures_of(
    model: Ladder, data: Data, reference: str | Path | None
) -> tuple[LatentFigures, Tensor]:
    """The figures of a model's latents, and a batch to try it on.

    Args:
        data: batches, or a folder, to measure them on. None is those that lie in the model's file,
            or else measured on what the run `reference` was trained on.

    Raises:
        ValueError: nothing is known, or the folder does not suit the model.
    """
    known = None
    if data is None and reference is not None:
        known = known_figures(model, about(reference), str(locate(reference)))
    if known is not None:
        return known, _noise(model)
    batches = _batches(model, data, reference)
    first = next(batches, None)
    given = () if first is None else itertools.chain([first], batches)
    return measure_latents(model, given), first


def _noise(model: Ladder) -> Tensor:
    """Something that any model reads: a step of level 0 and one more along every axis."""
    stride = model.levels[0].stride
    size = [axis.size or 1 + step for axis, step in zip(model.domain.axes, stride, strict=True)]
    generator = torch.Generator().manual_seed(0)
    return 2 * torch.rand(1, model.config.channels, *size, generator=generator) - 1


def _batches(model: Ladder, data: Data, reference: str | Path | None) -> Iterator[Tensor]:
    if data is None:
        data = _trained_on(reference)
    if isinstance(data, str | Path):
        found = medium_of(model).samples(Path(data), SAMPLES, EXTENT)
        return (sample for _, sample in found)
    return iter(data)


def _trained_on(reference: str | Path | None) -> Path:
    """`data.root` of the run that made a model."""
    ask = "name a folder to measure the latents' mean and deviation on"
    if reference is None:
        raise ValueError(f"no data is given: {ask}")
    model = locate(reference)
    for folder in (model.parent, model.parent.parent):
        if (folder / "config.yaml").is_file():
            data = read(folder / "config.yaml").get("data")
            root = data.get("root") if isinstance(data, dict) else None
            if isinstance(root, str) and Path(root).is_dir():
                return Path(root)
            raise ValueError(f"{reference} was trained on {root}, which is not there: {ask}")
    raise ValueError(f"{model} does not say what it was trained on: {ask}")
