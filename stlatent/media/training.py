"""What a run trains on: all about it that differs between media."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Container, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, Protocol

import torch
from pydantic import Field
from torch import Tensor
from torch.utils.data import Dataset

from ..model.config import Positive, Strict
from ..model.domain import Domain

Rate = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]


FEWEST, MOST = 4, 16  # files of which one is held out by default; files that are


class HeldOut(Strict):
    """What is measured during training and never trained on.

    Attributes:
        names: file names in `data.root`.
        share: part of the files that is held out where no names are given: those whose names have
            the lowest hashes, so that a file stays on its side when others come and go. At least
            one of four or more files, at most 16; 0 holds out nothing. A new run takes 0.05.
        every: steps between two measurements.
    """

    names: tuple[str, ...] = ()
    share: Annotated[float, Field(ge=0, lt=1)] | None = None
    every: Positive = 500

    def chosen(self, readable: Iterable[str]) -> tuple[str, ...]:
        """Which files are held out, of those that can be read."""
        if self.names or not self.share:
            return self.names
        ranked = sorted(readable, key=_place)
        if len(ranked) < FEWEST:
            return ()
        return tuple(name for name in ranked if _place(name) < self.share)[:MOST] or (ranked[0],)


def _place(name: str) -> float:
    """Of a name among all names, 0 to 1."""
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


class DataConfig(Strict):
    """Where samples come from and how they are cut: `data` in the config of a run. Every medium has
    its own, with more settings.

    Attributes:
        root: folder that is searched recursively.
        batch_size: samples per process and step.
        workers: processes that read; 0 reads in the training process itself.
        validation: samples that are measured.
    """

    former: ClassVar[Mapping[str, str]] = {"batch": "batch_size"}

    root: Path
    batch_size: Positive = 4
    workers: Count = 2
    validation: HeldOut = HeldOut()

    @abstractmethod
    def size(self, domain: Domain) -> tuple[int, ...]:
        """Axes of one sample."""

    def check_names(self, found: Container[str], bad: Mapping[str, str] | None = None) -> None:
        """ValueError unless all names that are held out are among those `found`; `bad` says why
        others are not."""
        for name in self.validation.names:
            if name not in found:
                relative = f"which is not in {self.root}; give names relative to data.root"
                raise ValueError(
                    f"data.validation.names lists '{name}', {(bad or {}).get(name, relative)}"
                )

    def check_left(self, left: Sized, what: str, bad: Mapping[str, str]) -> None:
        """ValueError unless something is left to train on; `bad` says why it may not be."""
        if not left:
            some = "".join(f"; {name}: {why}" for name, why in [*bad.items()][:1])
            raise ValueError(f"no {what} to train on in {self.root}{some}")


class ReadBatch(Protocol):
    """What is read for one forward pass. `failed`: reason by name of what turned out unreadable."""

    failed: Mapping[str, str]


class SampleRead(NamedTuple):
    """values: one sample `[C, *axes]` as the model reads it. failed: (name, reason) of files that
    turned out unreadable on the way."""

    values: Tensor
    failed: tuple[tuple[str, str], ...] = ()


class SampleReads(NamedTuple):
    """Several of them. values: `[B, C, *axes]`. failed: reason by name."""

    values: Tensor
    failed: dict[str, str]


def collate(reads: Sequence[SampleRead]) -> SampleReads:
    """Samples of one size as a batch."""
    failed = {name: why for one in reads for name, why in one.failed}
    return SampleReads(torch.stack([one.values for one in reads]), failed)


def entered(batch: SampleReads, device: torch.device) -> Tensor:
    """What is read as the model reads it."""
    return batch.values.to(device)


@dataclass(frozen=True)
class TrainingSet:
    """Samples to train on and samples held out.

    Attributes:
        kinds: data sets of reads, a function of (seed, index) and the files alone: a common one,
            and perhaps a rare one.
        reads: of a batch, for each of these.
        held_out: by name, `[1, C, *axes]` in [-1, 1].
        bad: reason by name of what cannot be read, as far as it is known from the start.
        share: part of the batches that are of the rare one.
        collate: makes a batch of its reads.
        enter: what the model reads `[B, C, *axes]` of a batch, finite and in [-1, 1].
    """

    kinds: Mapping[str, Dataset]
    reads: Mapping[str, int]
    held_out: Mapping[str, Tensor]
    bad: Mapping[str, str]
    share: float = 0.0
    collate: Callable[[Sequence[Any]], ReadBatch] = collate
    enter: Callable[[Any, torch.device], Tensor] = entered
