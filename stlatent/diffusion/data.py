"""Which latents a run of diffusion sees, and in which order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..checkpoint import load
from ..model.documents import from_json
from ..model.ladder import Ladder
from ..store.dataset import LatentDataset
from ..store.labels import VectorFile, folder_classes
from ..store.reader import LatentStore, made_by
from ..store.windows import LatentWindow, collate
from ..train.interrupts import left_to_the_trainer
from .config import DiffusionRun
from .groups import open_windows, usual_steps
from .text import captions_file


@dataclass(frozen=True)
class LatentData:
    """What a run of diffusion needs to know.

    Attributes:
        train: a map-style data set of `LatentWindow`, whitened, one tensor per level.
        held_out: the same, measured and never trained on; may be empty.
        ladder: that decodes.
        size: of the axes of a sample of the ladder's input, such as (17, 256, 256).
        mean, std: that the latents were whitened by, per channel, coarsest level first.
        classes: names of the classes, in the order of their numbers, where they have names.
    """

    train: Dataset
    held_out: Dataset
    ladder: Ladder
    size: tuple[int, ...]
    mean: Sequence[float]
    std: Sequence[float]
    classes: Sequence[str] = ()


class LatentTensors(Dataset):
    """Latents in memory as a data set: whitened levels `[N, C_l, *grid_l]`, labels `[N]` or
    `[N, D]`; with whole groups at every step of time, see `Packing.unfold(..., started=True)`."""

    def __init__(self, levels: Sequence[Tensor], labels: Tensor | None = None) -> None:
        self.levels, self.labels = tuple(levels), labels

    def __len__(self) -> int:
        return len(self.levels[0])

    def __getitem__(self, index: int) -> LatentWindow:
        label = () if self.labels is None else self.labels[index]
        if isinstance(label, Tensor) and not label.ndim:
            label = int(label)
        latents = tuple(level[index] for level in self.levels)
        return LatentWindow(latents, (), (), (), 0, str(index), label)


def open_data(config: DiffusionRun) -> LatentData:
    """Open the data set of a run, and the ladder that made it.

    Raises:
        ValueError: these are not there or do not fit the run.
    """
    data, levels = config.data, config.diffusion.levels
    manifest = LatentStore(data.root).manifest
    manifest.check_one_rate()
    if levels > len(manifest.levels):
        raise ValueError(f"the stages make {levels} levels; {data.root} has {len(manifest.levels)}")
    whole = LatentDataset(data.root, range(levels))
    labels, classes = _labels(config, whole.names)
    sources = {name: whole.store.items[name].source for name in whole.names}
    train, held_out = _split(sources, data.held_out, config.seed)
    steps, axes, past = None, manifest.over, config.diffusion.past
    if past and data.frames is None:
        raise ValueError("diffusion.past is what comes before a window; give data.frames as well")
    stride = axes.of_time(manifest.levels[0].stride)
    if axes.has_time:
        steps = 1 + -(-(data.frames - 1) // stride) if data.frames else usual_steps(whole)
    how = {"past": past, "labels": labels}
    both = [
        open_windows(whole, names, steps, **how) if names else _Nothing()
        for names in (train, held_out)
    ]
    size = whole.store.items[both[0].datasets[0].names[0]].size
    if axes.has_time:
        frames = data.frames or 1 + (steps - 1) * stride
        size = axes.with_time(size, min(axes.of_time(size), frames))
    figures = [manifest.statistics[k] for k in range(levels)]
    mean, std = ([v for s in figures for v in getattr(s, name)] for name in ("mean", "std"))
    model = made_by(load(config.model or manifest.model), manifest, whole.store.place)
    return LatentData(*both, model.exported, size, mean, std, classes)


def loader(data: Dataset, batches: Iterator[list[int]], workers: int) -> DataLoader:
    """Batches of windows, by their numbers, read by so many processes; 0 reads in this one."""
    return DataLoader(
        data,
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=4 if workers else None,
        worker_init_fn=left_to_the_trainer,
    )


def _split(sources: Mapping[str, str], share: float, seed: int) -> tuple[list[str], list[str]]:
    """Names to train on and names held out, from the source of every name: what comes of one source
    is on one side, unless there is but one."""
    if len({*sources.values()}) == 1:
        sources = {name: name for name in sources}
    items = Counter(sources.values())
    order = np.random.default_rng(seed).permutation([*items]).tolist()
    wanted, held_out = round(share * len(sources)), set()
    while wanted > 0 and len(held_out) < len(items) - 1:
        held_out.add(source := order[len(held_out)])
        wanted -= items[source]
    names = [], []
    for name, source in sources.items():
        names[source in held_out].append(name)
    return names


def _labels(
    config: DiffusionRun, names: Sequence[str]
) -> tuple[Mapping[str, int | Tensor] | None, Sequence[str]]:
    """The label of every item, and what classes are called."""
    condition, file = config.diffusion.condition, config.data.labels
    if not condition.asked:
        return None, ()
    if condition.encoder:
        return VectorFile(captions_file(config.data.root, condition.encoder)), ()
    if file is None and condition.embedding:
        raise ValueError("embeddings are in no data set of latents: name their file as data.labels")
    if file is None:
        labels, classes = folder_classes(names)
        _check_classes(condition.classes, len(classes), f"items lie in {len(classes)} folders")
        return labels, classes
    if not file.is_file():
        raise ValueError(f"data.labels is {file}, which is not there")
    if condition.embedding:
        return VectorFile(file), ()
    said = from_json(file.read_bytes(), f"data.labels={file}, a file of classes,")
    kinds = {type(one) for one in said.values()} if isinstance(said, dict) else {}
    if kinds not in ({int}, {str}):
        raise ValueError(
            f'data.labels={file} holds no classes, such as {{"a.mp4": 0}} or {{"a.mp4": "dog"}}'
        )
    if kinds == {int}:
        most = condition.classes - 1
        if wrong := [name for name, kind in said.items() if not 0 <= kind <= most]:
            raise ValueError(
                f"data.labels={file}: {wrong[0]} is of class {said[wrong[0]]}, but "
                f"condition.classes says 0 to {most}"
            )
        return said, ()
    classes = sorted({*said.values()})
    _check_classes(condition.classes, len(classes), f"{file} names {len(classes)} classes")
    return {name: classes.index(kind) for name, kind in said.items()}, classes


def _check_classes(configured: int, needed: int, why: str) -> None:
    if needed > configured:
        raise ValueError(f"condition.classes is {configured}, but {why}")


class _Nothing(Dataset):
    def __len__(self) -> int:
        return 0
