"""Data sets of latents as PyTorch data sets, to train on."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from ..media.walk import shown
from ..model.packing import Packing
from .reader import LatentStore, under
from .windows import Label, LatentWindow, lengthened, split

log = logging.getLogger(__name__)


class LatentDataset(Dataset):
    """`dataset[i]` is window i; windows are in the order of the items, and of time in each.

    Which window is which depends on the data set alone, so that any sampler may shuffle them. Only
    the bytes of a window are read; workers of a `DataLoader` share nothing.

    Args:
        path: of the data set, a folder or a URL.
        levels: which, coarsest first; all by default.
        steps: length of a window in steps of level 0; None is the whole item. Items that are
            shorter are left out, and named in the log.
        every: steps of level 0 from a window to the next one.
        past: per level of `levels`, how many of its own steps before the window come with it.
            Coarse levels are small, so that they can remember long: a pyramid of context.
        whiten: (z - mean) / std per channel, by the statistics of the data set.
        packed: the levels as one tensor on the grid of the coarsest, as `AutoencoderLadder` has it.
        labels: class or vector by name of an item, by its source or its caption; see `labels.py`.
        names: only these items, in this order; all by default.
        pad: items that are shorter than a window are not left out: their last step is repeated to
            fill one, and `mask` is False there.

    Attributes:
        store: what is read.
        names: items that windows are taken from.
        left_out: items that are shorter than a window.

    Raises:
        ValueError: no complete data set is there, or these do not fit it.
    """

    def __init__(
        self,
        path: str | Path,
        levels: Sequence[int] | None = None,
        steps: int | None = None,
        every: int = 1,
        past: Sequence[int] = (),
        whiten: bool = True,
        packed: bool = False,
        labels: Mapping[str, Label] | None = None,
        names: Sequence[str] | None = None,
        pad: bool = False,
    ) -> None:
        self.store = LatentStore(path)
        self.levels = tuple(range(len(self.store.header.levels)) if levels is None else levels)
        self.steps, self.every, self.past, self.packed = steps, every, tuple(past), packed
        self.labels, self.whiten, self.pad = labels, whiten, pad
        self.domain = self.store.header.over
        self._check()
        self.packing = self._packing()
        self._finer = [self._factor(level) for level in self.levels]
        wanted = list(self.store.items if names is None else names)
        if unknown := [name for name in wanted if name not in self.store.items]:
            raise ValueError(f"{path} has no item '{unknown[0]}'")
        counts = np.array([self.windows(name) for name in wanted])
        self.names = [name for name, count in zip(wanted, counts) if count]
        self.left_out = [name for name, count in zip(wanted, counts) if not count]
        if not self.names:
            raise ValueError(f"no item of {path} has {steps} steps at level 0; ask for fewer")
        if self.left_out:
            log.warning(
                "left out %d of %d items of %s, shorter than %s steps of level 0, such as %s",
                *(len(self.left_out), len(wanted), path, steps, shown(self.left_out[0])),
            )
        for name in self.names if labels is not None else ():
            self._label_key(name)
        self._ends = np.cumsum(counts[counts > 0])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> LatentWindow:
        if not 0 <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        which = int(np.searchsorted(self._ends, index, "right"))
        before = int(self._ends[which - 1]) if which else 0
        return self.window(self.names[which], (index - before) * self.every)

    def windows(self, name: str, first: int = 0) -> int:
        """How many windows an item has, one every `every` steps from step `first` on."""
        if self.steps is None:
            return 1
        found = max(0, (self.length(name) - self.steps - first) // self.every + 1)
        return max(found, int(self.pad and not first))

    def length(self, name: str) -> int:
        """Steps of an item at level 0; 1 where there is no time."""
        return self.domain.of_time(self.store.items[name].grids[0])

    def shape(self, name: str) -> tuple[int, ...]:
        """Size of the windows of an item at level 0: those of equal size make a batch."""
        return self.domain.with_time(
            self.store.items[name].grids[0], self.steps or self.length(name)
        )

    def window(self, name: str, start: int = 0) -> LatentWindow:
        """The window of an item that begins at a step of level 0.

        Raises:
            ValueError: it is not inside the item.
        """
        label = () if self.labels is None else self.labels[self._label_key(name)]
        steps = self.length(name) if self.steps is None else self.steps
        there = min(steps, self.length(name) - start) if self.pad else steps
        spans = [(under(start, f), under(start + there, f)) for f in self._finer]
        past = self.past or [0] * len(self.levels)
        read = [
            self.store.read_level(name, level, max(0, first - remembered), last)
            if self.domain.has_time
            else self.store.read_level(name, level)
            for level, remembered, (first, last) in zip(self.levels, past, spans)
        ]
        latents = self.packing.whiten(read) if self.whiten else read
        mask, before, past_mask = (), (), ()
        if self.domain.has_time:
            parts = [
                split(self.domain, z, (last - first, there * f), remembered)
                for z, f, remembered, (first, last) in zip(latents, self._finer, past, spans)
            ]
            latents, mask, before, past_mask = zip(*parts)
            longer = [
                lengthened(self.domain, z, known, steps * f)
                for z, known, f in zip(latents, mask, self._finer)
            ]
            latents, mask = zip(*longer)
        packed = self.packing.fold(latents, started=True)[0] if self.packed else None
        return LatentWindow(
            latents=tuple(z[0] for z in latents) if packed is None else packed,
            mask=mask,
            past=tuple(z[0] for z in before) if self.past else (),
            past_mask=past_mask if self.past else (),
            start=start,
            name=name,
            label=label,
            caption=self.store.items[name].caption or "",
        )

    def restore(
        self, latents: Tensor | Sequence[Tensor], start: int | Sequence[int] = 0
    ) -> tuple[Tensor, ...]:
        """Latents of a batch, or others in their likeness, as a ladder decodes them: per level
        `[B, C_l, t_l, *space]`, on the ladder's own scale, without repetitions.

        Args:
            start: of the batch; all windows begin at the beginning of a video, or none does.

        Raises:
            ValueError: some do and some do not.
        """
        begins = {int(step) == 0 for step in ([start] if isinstance(start, int) else start)}
        if len(begins) > 1:
            raise ValueError(
                "some of these windows begin at step 0, where the first step covers one frame, and "
                "some do not; restore the two kinds apart"
            )
        parts = self.packing.unfold(latents, started=True) if self.packed else latents
        levels = self.packing.unwhiten(parts)
        if begins == {False}:
            return levels
        axes = self.domain
        return tuple(
            axes.steps(z, f - 1, axes.of_time(z.shape[2:])) for z, f in zip(levels, self._finer)
        )

    def _factor(self, level: int) -> int:
        """How many steps of a level lie under one of level 0."""
        levels = self.store.header.levels
        coarsest, own = (self.domain.of_time(levels[k].stride) for k in (0, level))
        return coarsest // own

    def _label_key(self, name: str) -> str:
        item = self.store.items[name]
        for key in (name, item.source, item.caption):
            if key in self.labels:
                return key
        raise ValueError(f"there is no label for {name}; give one, or leave it out by `names`")

    def _packing(self) -> Packing:
        manifest = self.store.manifest
        chosen = [manifest.levels[k] for k in self.levels]
        channels = [level.channels for level in chosen]
        mean, std = [0.0] * sum(channels), [1.0] * sum(channels)
        if self.whiten:
            found = [manifest.statistics[k] for k in self.levels]
            mean, std = [v for s in found for v in s.mean], [v for s in found for v in s.std]
        strides = [level.stride for level in chosen]
        return Packing(self.domain, strides, channels, mean, std)

    def _check(self) -> None:
        there, chosen = len(self.store.header.levels), list(self.levels)
        if not chosen or chosen != sorted({*chosen} & {*range(there)}):
            raise ValueError(f"levels is {chosen}; give some of 0 to {there - 1}, in rising order")
        if self.every < 1 or (self.steps is not None and self.steps < 1):
            raise ValueError(f"steps is {self.steps} and every is {self.every}; give 1 or more")
        if not self.domain.has_time and self.steps is not None:
            raise ValueError(
                f"steps is {self.steps}, but domain '{self.store.header.domain}' has no time"
            )
        if self.past and self.steps is None:
            raise ValueError("past is what comes before a window; give its length, steps")
        if self.past and (len(self.past) != len(chosen) or min(self.past) < 0):
            raise ValueError(
                f"past is {list(self.past)}; give a number from 0 on for each of the "
                f"{len(chosen)} levels"
            )
