"""Which sample is trained on when: a function of seed and step, so that runs resume exactly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ..data import (
    ClipDataset,
    FrameCache,
    Read,
    Source,
    UnreadableError,
    check_sources,
    collate,
    find_sources,
)
from .config import RunConfig


@dataclass(frozen=True)
class Order:
    """The batches of one process, from any step on.

    Attributes:
        reads: reads of files per batch, by kind of data.
        photo_share: part of the batches that are photos.
        accumulate: batches per step.
        rank, processes: which of how many processes this is.
    """

    reads: Mapping[str, int]
    photo_share: float
    accumulate: int
    seed: int
    rank: int = 0
    processes: int = 1

    def batches(self, step: int) -> Iterator[list[tuple[str, int]]]:
        """Endless batches of (kind, read), from optimiser step `step` on."""
        number = step * self.accumulate
        while True:
            draw = np.random.default_rng((self.seed, number)).random()
            kind = "photos" if draw < self.photo_share else "clips"
            first = (number * self.processes + self.rank) * self.reads[kind]
            yield [(kind, first + i) for i in range(self.reads[kind])]
            number += 1


class Mixture(Dataset):
    """Clips and photos under one roof, indexed by (kind, read)."""

    def __init__(self, kinds: Mapping[str, ClipDataset]) -> None:
        self.kinds = kinds

    def __getitem__(self, key: tuple[str, int]) -> Read:
        kind, read = key
        return self.kinds[kind][read]


@dataclass(frozen=True)
class Data:
    """What a run reads.

    Attributes:
        mixture: training samples.
        held_out: sources that are measured and never trained on.
        bad: sources that cannot be read, with their reasons.
    """

    mixture: Mixture
    held_out: list[Source]
    bad: list[UnreadableError]


def open_data(config: RunConfig) -> Data:
    """Find and check the sources of a run.

    Raises:
        ValueError: a folder is missing or holds nothing readable, or a held-out name is unknown.
    """
    data, names = config.data, config.data.validation.names
    still = config.model.axes.causal is None
    # to an image model, a folder of frames is so many pictures
    sources = find_sources(data.root, frame_folders=not still)
    found = {source.name: source for source in sources}
    if unknown := [name for name in names if name not in found]:
        raise ValueError(
            f"data.validation.names lists '{unknown[0]}', which is not in {data.root}; "
            f"give names relative to data.root"
        )
    good, bad = check_sources([s for name, s in found.items() if name not in names])
    cache = FrameCache(data.cache) if data.cache else None

    def dataset(sources: list[Source], frames: int) -> ClipDataset:
        return ClipDataset(
            sources,
            frames,
            data.crop,
            data.frame_step if frames > 1 else (1, 1),
            data.scale,
            seed=config.seed,
            cache=cache,
            crops_per_read=data.crops_per_read,
        )

    kinds = {"clips": dataset(good, 1 if still else data.frames)}
    if data.photos is not None:
        photos, unreadable = check_sources(find_sources(data.photos, frame_folders=False))
        kinds["photos"] = dataset(photos, 1)
        bad = bad + unreadable
    return Data(Mixture(kinds), [found[name] for name in names], bad)


def loader(mixture: Mixture, order: Order, step: int, workers: int) -> DataLoader:
    """Batches from `step` on, each with uint8 clips `[B, T, H, W, 3]`."""
    return DataLoader(
        mixture,
        batch_sampler=order.batches(step),
        collate_fn=collate,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=4 if workers else None,
    )
