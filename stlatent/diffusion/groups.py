"""Windows of a data set whose items differ in size and length, and batches of equal ones.

A folder of videos and pictures holds frames of many sizes, long videos, short ones, and ends of
videos that were cut into clips. Every batch holds windows of one size; which size is drawn for
each batch anew, as often as there are windows of it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from torch.utils.data import ConcatDataset, Dataset

from ..store.dataset import LatentDataset

STEPS = 3  # of level 0, where lengths differ: 17 frames at stride 8
TURNS = 1024  # drawn at a time


class Group(NamedTuple):
    """Windows of one size, which lie next to each other in a data set.

    Attributes:
        indices: of the data set.
        positions: of level 0, in one window.
    """

    indices: range
    positions: int


class Windows(ConcatDataset):
    """The windows of several data sets of one store, each of windows of one size.

    Attributes:
        datasets: most windows first.
    """

    datasets: list[LatentDataset]

    @property
    def groups(self) -> list[Group]:
        ends = [0, *self.cumulative_sizes]
        positions = (math.prod(data.shape(data.names[0])) for data in self.datasets)
        return [Group(range(*r), n) for r, n in zip(itertools.pairwise(ends), positions)]


def usual_steps(whole: LatentDataset) -> int:
    """Steps of level 0 in a window: those of a whole item if all that move are of one length, else
    `STEPS`, or those of the longest item."""
    lengths = {whole.length(name) for name in whole.names}
    moving = lengths - {1} or lengths
    return moving.pop() if len(moving) == 1 else min(STEPS, max(moving))


def open_windows(whole: LatentDataset, names: Sequence[str], steps: int | None, **how) -> Windows:
    """Windows of `steps` steps of level 0 of the items `names`; those that are shorter are windows
    by themselves.

    Args:
        whole: the data set, its items uncut, with the levels that are wanted.
        steps: None where there is no time.
        how: further arguments of `LatentDataset`.
    """
    alike: dict[tuple, list[str]] = {}
    for name in names:
        length = None if steps is None else min(steps, whole.length(name))
        grids = whole.store.items[name].grids
        kept = tuple(whole.domain.of_space(grids[level]) for level in whole.levels)
        alike.setdefault((length, kept), []).append(name)
    place = whole.store.place.url
    parts = [
        LatentDataset(place, whole.levels, length, names=some, **how)
        for (length, _), some in alike.items()
    ]
    return Windows(sorted(parts, key=len, reverse=True))


def groups(data: Dataset) -> list[Group]:
    """Of any data set: one of them, unless it knows better."""
    return data.groups if isinstance(data, Windows) else [Group(range(len(data)), 1)]


def batches(
    data: Dataset, batch: int, seed: int, first: int, rank: int = 0, processes: int = 1
) -> Iterator[list[int]]:
    """Endless batches of indices of windows of one size, from batch number `first` on.

    All processes have windows of one size at a time. Windows larger than those of the first group
    come in smaller batches, so that no batch needs more memory than one of these, or one window.
    """
    found = groups(data)
    counts = np.array([len(group.indices) for group in found])
    turns = _turns(counts / counts.sum(), seed)
    taken = np.bincount(list(itertools.islice(turns, first)), minlength=len(found))
    walks = [
        order(len(group.indices), _batch(batch, found, group), seed, int(n), rank, processes)
        for group, n in zip(found, taken, strict=True)
    ]
    for k in turns:
        yield [found[k].indices[i] for i in next(walks[k])]


def in_turn(data: Dataset, batch: int, most: int) -> Iterator[list[int]]:
    """Batches of indices of windows of one size that go once through the first `most` windows."""
    found = groups(data)
    for group in found:
        indices = [i for i in group.indices if i < most]
        size = _batch(batch, found, group)
        yield from (indices[at : at + size] for at in range(0, len(indices), size))


def order(
    count: int, batch: int, seed: int, first: int, rank: int = 0, processes: int = 1
) -> Iterator[list[int]]:
    """Endless batches of indices below `count`, from batch number `first` on.

    Every epoch has an order of its own, and the batches of all processes together are one walk
    through the epochs: a function of the seed alone, so that runs resume exactly.
    """
    at = (first * processes + rank) * batch
    epoch, shuffled = -1, np.empty(0, int)
    while True:
        found = []
        for place in range(at, at + batch):
            if place // count != epoch:
                epoch = place // count
                shuffled = np.random.default_rng((seed, epoch)).permutation(count)
            found.append(int(shuffled[place % count]))
        yield found
        at += batch * processes


def describe_groups(data: Dataset) -> str:
    """How many windows there are of each size, in words; nothing if all are equal."""
    if not isinstance(data, Windows) or len(data.datasets) == 1:
        return ""
    lines = [f"# windows of {len(data.datasets)} sizes, each batch of one of them:"]
    for part in data.datasets:
        items = f"{part.names[0]} and {len(part.names) - 1} more"
        items = items if len(part.names) > 1 else part.names[0]
        grid = "x".join(map(str, part.shape(part.names[0])))
        lines.append(f"#   {len(part)} of {grid} at level 0: {items}")
    return "\n".join(lines) + "\n"


def _batch(batch: int, found: Sequence[Group], group: Group) -> int:
    return max(1, min(batch, batch * found[0].positions // group.positions))


def _turns(shares: np.ndarray, seed: int) -> Iterator[int]:
    """Endless draws of a group."""
    for block in itertools.count():
        generator = np.random.default_rng((seed, block, len(shares)))
        yield from generator.choice(len(shares), TURNS, p=shares).tolist()
