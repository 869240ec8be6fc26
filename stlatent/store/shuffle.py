"""An endless shuffled stream of batches of latents, for many workers and many processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, islice

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from .dataset import LatentDataset
from .windows import LatentWindow, collate

Key = tuple[str, int]  # name of an item, and the step at which a window begins


class LatentStream(IterableDataset):
    """Batches of the windows of a `LatentDataset`, without an end.

        stream = LatentStream(dataset, batch_size=32, step=resumed)
        for batch in DataLoader(stream, batch_size=None, num_workers=8): ...

    In every epoch a reader, which is one worker of one process, goes once through its own part of
    the units of the data set, in a new order; the windows of an item begin at a new offset. What is
    shuffled is which windows to read, not what was read: the buffer takes no memory to speak of,
    and resuming reads nothing twice. All of it is a function of the seed, the data set, and the
    number of processes and workers.

    The processes share the windows here, so `accelerate` is not to share them once more: do not
    `prepare` the loader.

    Args:
        batch_size: windows of equal shape in a batch.
        seed: of the order.
        buffer: among how many windows the next one is drawn.
        step: how many batches of this process to pass over: those of a run that is resumed.
        rank, processes: which of how many processes this is.

    Raises:
        ValueError: a number is out of range.
    """

    def __init__(
        self,
        dataset: LatentDataset,
        batch_size: int,
        seed: int = 0,
        buffer: int = 4096,
        step: int = 0,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        if min(batch_size, buffer) < 1 or min(seed, step) < 0:
            raise ValueError(
                f"batch_size ({batch_size}) and buffer ({buffer}) must be at least 1, "
                f"seed ({seed}) and step ({step}) at least 0"
            )
        if not 0 <= rank < processes:
            raise ValueError(f"rank is {rank} of {processes} processes; give 0 to {processes - 1}")
        self.dataset, self.batch_size, self.seed, self.buffer = dataset, batch_size, seed, buffer
        self.step, self.rank, self.processes = step, rank, processes
        units: dict[int, list[str]] = {}
        for name in dataset.names:
            units.setdefault(dataset.store.unit(name), []).append(name)
        self._units = list(units.values())

    def __iter__(self) -> Iterator[LatentWindow]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        # a loader takes one batch of each worker in turn, and begins with the first
        turn = (worker + self.step) % workers
        done = (self.step - turn + workers - 1) // workers
        reader, readers = self.rank * workers + turn, self.processes * workers
        for keys in islice(self._batches(reader, readers), done, None):
            yield collate([self.dataset.window(*key) for key in keys])

    def _batches(self, reader: int, readers: int) -> Iterator[list[Key]]:
        """Windows of equal shape, as many as a batch has; what is left waits for its like."""
        waiting: dict[tuple[int, ...], list[Key]] = {}
        for epoch in count():
            rng = np.random.default_rng((self.seed, 1, epoch, reader, readers))
            for key in self._shuffled(self._keys(epoch, reader, readers), rng):
                shape = self.dataset.shape(key[0])
                waiting.setdefault(shape, []).append(key)
                if len(waiting[shape]) == self.batch_size:
                    yield waiting.pop(shape)

    def _shuffled(self, keys: Iterator[Key], rng: np.random.Generator) -> Iterator[Key]:
        """Each takes the place of a random one in the buffer, which leaves."""
        kept = list(islice(keys, self.buffer))
        rng.shuffle(kept)
        for key in keys:
            place = int(rng.integers(self.buffer))
            kept[place], key = key, kept[place]
            yield key
        yield from kept

    def _keys(self, epoch: int, reader: int, readers: int) -> Iterator[Key]:
        """What a reader reads in an epoch, unit after unit. Where there are fewer units than
        readers, the windows of a unit are dealt out to several."""
        rng = np.random.default_rng((self.seed, 0, epoch))
        shared = -(-readers // len(self._units))
        offset = int(rng.integers(self.dataset.every))
        parts = rng.permutation(len(self._units) * shared)
        for part in parts[reader::readers]:
            unit, i = divmod(int(part), shared)
            yield from islice(self._windows(self._units[unit], offset), i, None, shared)

    def _windows(self, names: Sequence[str], offset: int) -> Iterator[Key]:
        """Of some items, beginning `offset` steps late, as far as there is room for that."""
        data = self.dataset
        for name in names:
            spare = max(0, data.length(name) - (data.steps or data.length(name)))
            first = offset % (spare + 1)
            yield from ((name, first + i * data.every) for i in range(data.windows(name, first)))
