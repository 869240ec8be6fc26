"""Where a model's figures of its latents come from, and what it is tried on."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoint import EXPORTED, about, locate
from ..evaluate.latents import LatentFigures, known_figures, level_channels, measure_latents
from ..media.options import Extent
from ..media.registry import medium_of
from ..model.documents import from_json
from ..model.ladder import Ladder
from ..model.strict import parse, read
from .autoencoder import Exported

SAMPLES, EXTENT = 64, Extent(17, (256, 256))  # of a folder: at most so many, at most this large

Data = str | Path | Iterable[Tensor] | None


def figures_of(
    model: Ladder, levels: int, data: Data, reference: str | Path | None
) -> tuple[LatentFigures, Tensor]:
    """The figures of the latents of a model's first levels, and a batch to try it on.

    Args:
        data: batches, or a folder, to measure them on. None is those that lie in the model's file,
            or exported folder, or else measured on what the run `reference` was trained on.

    Raises:
        ValueError: nothing is known, or the folder does not suit the model.
    """
    known = None
    if data is None and reference is not None:
        known = _known(model, locate(reference), levels)
    if known is not None:
        return known, trial(model)
    batches = _batches(model, data, reference)
    first = next(batches, None)
    given = () if first is None else itertools.chain([first], batches)
    return measure_latents(model, given), first


def _known(model: Ladder, path: Path, levels: int) -> LatentFigures | None:
    """The figures that lie beside a model's weights, of at least so many levels."""
    if path.name != EXPORTED:
        return known_figures(model, about(path), str(path))
    file = path.with_name("config.json")
    values = from_json(file.read_bytes(), str(file))
    own = {name: values[name] for name in Exported.model_fields if name in values}
    told = parse(Exported, own, str(file))
    if told.levels < levels:
        raise ValueError(
            f"{path.parent} was exported with {told.levels} levels, and of no others the latents' "
            f"mean and deviation are known: give --levels 0..{told.levels - 1}, or --data"
        )
    at = [0, *itertools.accumulate(level_channels(model)[: told.levels])]
    mean, std = (
        tuple(flat[a:b] for a, b in itertools.pairwise(at))
        for flat in (told.measured_mean, told.measured_std)
    )
    return LatentFigures(mean=mean, std=std)


def trial(model: Ladder) -> Tensor:
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
