"""Mean and deviation of every channel of the latents, measured on data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
import yaml
from torch import Tensor

from ..checkpoint import locate
from ..media.options import Extent
from ..media.registry import medium_of
from ..model.ladder import Ladder
from ..store.tensors import Moments
from .packing import level_channels
from .posterior import log_vars

SAMPLES, EXTENT = 64, Extent(17, (256, 256))  # of a folder: at most so many, at most this large

Data = str | Path | Iterable[Tensor] | None


@torch.no_grad()
def measure(
    model: Ladder, batches: Iterable[Tensor], levels: int
) -> tuple[list[float], list[float]]:
    """Means and deviations per channel of the first `levels` levels, coarsest first.

    Of the latents as they are drawn: the variance is that of the posterior's means, plus the mean
    of its variances. A channel that holds nothing but noise so keeps a deviation to divide by.

    Args:
        batches: `[B, C, *axes]` in [-1, 1].

    Raises:
        ValueError: there are no batches.
    """
    device = next(model.parameters()).device
    means = [Moments.none(n) for n in level_channels(model)[:levels]]
    noise = list(means)
    for x in batches:
        found = model.encode(x.to(device))
        for k, log_var in enumerate(log_vars(found, levels)):
            means[k] = means[k].merge(_moments(found.levels[k]))
            noise[k] = noise[k].merge(_moments(log_var.exp()))
    if means[0].count == 0:
        raise ValueError("there is no data to measure the latents' mean and deviation on")
    std = [(m.std.square() + n.mean).sqrt() for m, n in zip(means, noise)]
    return torch.cat([m.mean for m in means]).tolist(), torch.cat(std).tolist()


def batches_of(model: Ladder, data: Data, reference: str | Path | None) -> Iterator[Tensor]:
    """What to measure on: batches as they are given, or the clips of a folder.

    Args:
        data: None is the folder that the run `reference` was trained on.

    Raises:
        ValueError: the folder is not known or does not suit the model.
    """
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
            config = yaml.safe_load((folder / "config.yaml").read_text())
            root = config["data"].get("root")
            if root and Path(root).is_dir():
                return Path(root)
            raise ValueError(f"{reference} was trained on {root}, which is not there: {ask}")
    raise ValueError(f"{model} does not say what it was trained on: {ask}")


def _moments(values: Tensor) -> Moments:
    """Per channel of `[B, C, *grid]`."""
    return Moments.of(values.transpose(0, 1).cpu())
