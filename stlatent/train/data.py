"""What a run trains on, and how a model is measured on it. The loop knows no more of it than this;
what differs between media is in `media`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..checkpoint import Model
from ..media.base import Medium
from ..media.registry import medium_of
from ..media.training import ReadBatch
from ..media.walk import name_archives
from ..model.choose import Draw
from ..model.config import load
from ..model.gaussian import BITS_PER_NAT
from ..triplane.autoencoder import as_volume
from .config import RunConfig
from .folder import CONFIG, STATE
from .order import Mixture, Order, loader

Figures = dict[str, list[float]]
SHARE = 0.05  # of the files, held out in a new run that does not say which
SHOWN = 4  # held-out samples in a picture
LOSS = "loss"


def with_data(config: RunConfig) -> RunConfig:
    """The run with what its model has to know of its data in the model's config."""
    config = _with_share(config)
    known = medium_of(config.model).known(config.data)
    return config.model_copy(update={"model": config.model.model_copy(update=known)})


def _with_share(config: RunConfig) -> RunConfig:
    """The run with a share of its files held out, unless it says what is, or began before there
    was such a share."""
    data, asked = config.data, config.data.validation
    if asked.names or asked.share is not None:
        return config
    began = config.out / CONFIG
    if (config.out / STATE).is_file() and began.is_file():
        before = load(RunConfig, began).data.validation
        if before.share is None and not before.names:
            return config
    validation = asked.model_copy(update={"share": SHARE})
    return config.model_copy(update={"data": data.model_copy(update={"validation": validation})})


def open_data(config: RunConfig) -> TrainingData:
    """Find and check what a run trains on.

    Raises:
        ValueError: a folder is missing or holds nothing readable, or a held-out name is unknown.
    """
    return TrainingData(config)


class TrainingData:
    """Samples to train on and samples held out, opened from a run's config.

    Attributes:
        held_out: by name, `[1, C, *axes]` in [-1, 1].
        bad: reason by name of what cannot be read, as far as it is known from the start.
        notice: what is held out, in words.
    """

    def __init__(self, config: RunConfig) -> None:
        self.config, self.medium = config, medium_of(config.model)
        self.set = self.medium.training_set(config.data, config.seed)
        name_archives(config.data.root)
        self.held_out, self.bad = self.set.held_out, self.set.bad
        self.mixture = Mixture(self.set.kinds)

    @property
    def notice(self) -> str:
        asked = self.config.data.validation
        if not self.held_out:
            return (
                "nothing is held out: no measurements, no pictures, no best weights; "
                "give data.validation.names, or data.validation.share of four files or more"
            )
        what = "data.validation.names" if asked.names else f"data.validation.share={asked.share:g}"
        return f"held out for validation: {', '.join(self.held_out)} ({what})"

    def batches(self, step: int, rank: int = 0, processes: int = 1) -> Iterable[ReadBatch]:
        """Endless batches of one process from optimiser step `step` on, a function of the run's
        seed and the step alone."""
        config, found = self.config, self.set
        accumulate, seed = config.optimiser.accumulate, config.seed
        order = Order(found.reads, found.share, accumulate, seed, rank, processes)
        return loader(self.mixture, order, step, config.data.workers, found.collate)

    def enter(self, batch: ReadBatch, device: torch.device) -> Tensor:
        """What the model reads `[B, C, *axes]`, finite and in [-1, 1]."""
        return self.set.enter(batch, device)

    def measure(self, model: Model, step: int) -> Figures | None:
        """Figures of the held-out samples, each a list with one value per prefix or level, coarse
        to fine; leaves a picture in the run's folder. None where nothing is held out."""
        if not self.held_out:
            return None
        figures, picture = measured(self.medium, model, self.held_out)
        if model.config.rate:
            figures[LOSS] = loss_over_rates(model, self.held_out)
        write_picture(self.config.out, step, picture)
        return figures

    def quality(self, figures: Figures) -> float:
        """By which the best weights are kept, higher is better: the first figure of all levels, or
        the loss of a model for a range of rates, of which that figure favours the most bits."""
        losses = figures.get(LOSS)
        return -fmean(losses) if losses else figures[self.medium.figures[0].key][-1]


@torch.no_grad()
def loss_over_rates(model: Model, held_out: Mapping[str, Tensor]) -> list[float]:
    """What is trained, distortion and rate at the lowest λ, the middle and the highest one of a
    model's range, weighed as `losses.elbo.objective` does it; means over samples."""
    rates, device = model.config.rate, next(model.parameters()).device
    rows = []
    for x in held_out.values():
        x, row = x.to(device), []
        for weight in (rates.range[0], rates.middle, rates.range[1]):
            out = model(x, Draw(), rate_weights=torch.tensor([weight], device=device))
            target = model.target(out, x)
            distortion = model.likelihood(out.parameters, target).mean()
            nats = sum(groups.sum() for groups in out.latents.group_kl) / target.numel()
            row.append(float(rates.middle / weight * distortion + rates.middle * nats))
        rows.append(row)
    return [round(float(loss), 6) for loss in np.mean(rows, 0)]


@torch.no_grad()
def measured(
    medium: Medium, model: Model, held_out: Mapping[str, Tensor]
) -> tuple[Figures, np.ndarray]:
    """The medium's first figure of every prefix of levels, an exact one left out, and the bits per
    input value of every level, means over samples; and a picture, uint8 `[H, W, 3]`: a row per
    sample, the original and then each prefix."""
    quality, bits, rows = [], [], []
    device = next(model.parameters()).device
    for x in held_out.values():
        latents = model.encode(x.to(device))
        bits.append([float(kl.sum()) * BITS_PER_NAT / x.numel() for kl in latents.kl])
        prefixes = range(1, 1 + len(model.config.levels))
        decoded = [as_volume(model, model.decode(latents, k)).to(x.device) for k in prefixes]
        quality.append([medium.quality(x, y) for y in decoded])
        if len(rows) < SHOWN:
            rows.append(np.concatenate([medium.frames(y)[-1] for y in (x, *decoded)], 1))
    width = max(row.shape[1] for row in rows)
    rows = [np.pad(r, [(0, 0), (0, width - r.shape[1]), (0, 0)], constant_values=128) for r in rows]
    figures = {
        medium.figures[0].key: [round(float(q), 4) for q in np.mean(quality, 0)],
        "bits_per_value": [round(float(b), 6) for b in np.mean(bits, 0)],
    }
    return figures, np.concatenate(rows)


def write_picture(out: Path, step: int, picture: np.ndarray) -> None:
    """Keep a picture of held-out samples, uint8 `[H, W, 3]`, with the run in `out`."""
    folder = out / "reconstructions"
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(folder / f"{step:07d}.png")
