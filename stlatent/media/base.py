"""A kind of data: all that differs between clips, shapes, planes and whatever comes next.

A medium is one folder beside this file, with a class like this one, and a line in `registry.py`.
Whatever lies above asks `medium_of(model)` and never what a sample is:

    files ── find, plan ──► pieces ── encoder ──► latents ── decode ──► parts ── write ──► files
                                                                          └───── picture
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..checkpoint import Model
from ..files import UnreadableError
from ..geometry.field import Field
from ..model import choose as choosing
from ..model.choose import Choose
from ..model.config import ModelConfig, Strict
from ..model.device import chunk_units
from .coder import CoderFor, TiledDecoder
from .encoder import Named, Sink, SourceEncoder
from .figures import Bands, Figure
from .options import WORDS, Extent, SourceOptions
from .output import Output
from .sample import ReadPlan, Sample, Stored
from .source import Kind, Source
from .tiles import LARGEST, check_side
from .training import DataConfig, TrainingSet

Part = TypeVar("Part")
log = logging.getLogger(__name__)


class Medium(ABC, Generic[Part]):
    """A kind of data, for models of one config.

    `Part` is what decoding gives, piece by piece, and writing takes.

    Attributes:
        what: sources in words, for messages.
        parts: what one source holds one or many of.
        kinds: of sources, by the suffix of their files.
        shipped: the model that comes with the library.
        options: those of `SourceOptions` that mean something here, as a class of their own.
        extents: which of `Extent` mean something here, the usual one first.
        sides: of a size, at most.
        largest: side of what goes through the network in one piece, unless one asks.
        formats: in which samples are written, the usual one first.
        shaped: which of `Output`, beside the format, mean something here.
        coded, pictured: whether latents can be entropy-coded, and sources be shown as they are.
        data: the config of what is trained on.
        noun, definitions: what a report calls a sample, and what its figures mean, in words.
        space_bands, time_bands: in which changes along these axes are told apart.
    """

    what: ClassVar[str]
    parts: ClassVar[str]
    kinds: ClassVar[Mapping[str, Kind]]
    shipped: ClassVar[str]
    options: ClassVar[type[Strict]] = Strict
    extents: ClassVar[tuple[str, ...]] = ()
    sides: ClassVar[int] = 2
    largest: ClassVar[int] = LARGEST
    formats: ClassVar[tuple[str, ...]]
    shaped: ClassVar[frozenset[str]] = frozenset()
    coded: ClassVar[bool] = False
    pictured: ClassVar[bool] = True
    data: ClassVar[type[DataConfig]]
    noun: ClassVar[str]
    definitions: ClassVar[Mapping[str, str]] = {}
    space_bands: ClassVar[Bands] = Bands("px", (64, 32, 16, 8, 4))
    time_bands: ClassVar[Bands] = Bands("frames", (16, 8, 4))

    def __init__(self, config: ModelConfig) -> None:
        self.config = config

    @classmethod
    @abstractmethod
    def reads(cls, domain: str, field: bool) -> bool:
        """Whether models of this domain, with or without a field of their own, are for this."""

    # sources to latents -------------------------------------------------------------------------

    @abstractmethod
    def find(self, root: Path) -> list[Source]:
        """What lies below a folder of this machine, ordered by name; or that one file. ValueError
        where nothing lies there, or it does not suit the model."""

    def check(self, root: str | Path, sources: Sequence[Named]) -> None:
        """ValueError where the model cannot encode these sources."""

    def asked(self, **words: object) -> dict[str, object]:
        """What `resolution` and `axes` say on the command line, as values of `SourceOptions`."""
        self._refuse({word for word, value in words.items() if value is not None})
        return {}

    def resolve(self, options: SourceOptions) -> dict[str, object]:
        """Values for the options that are left open.

        Raises:
            ValueError: an option means nothing here.
        """
        self._refuse({WORDS.get(n, n) for n in options.given() - {*self.options.model_fields}})
        return {}

    @abstractmethod
    def plan(self, options: SourceOptions, device: torch.device) -> ReadPlan:
        """How sources are read for a model on `device`."""

    @abstractmethod
    def encoder(
        self,
        model: Model,
        options: SourceOptions,
        sink: Sink,
        std: bool,
        coder: CoderFor | None,
    ) -> SourceEncoder:
        """What puts sources through `model` into `sink`.

        Args:
            std: whether standard deviations are stored, too.
            coder: what entropy-codes a sample of some size; None where latents are stored
                themselves.
        """

    # latents to files ---------------------------------------------------------------------------

    def decode(
        self,
        model: Model,
        latents: Stored,
        sample: Sample,
        draw: Choose = choosing.mean,
        how: Output = Output(),  # noqa: B008
    ) -> Iterator[Part]:
        """An item from its latents, in pieces along time, in constant memory. `draw` chooses the
        levels that are not given."""
        size = self.config.axes.of_space(sample.size)
        decoder = TiledDecoder(model, size, draw, self.tile(how.tile))
        units = self.units(decoder.device, size)
        for x in decoder.pieces(latents, sample.size, units):
            yield self.take(model, x, sample)

    def units(self, device: torch.device, size: Sequence[int]) -> int:
        """Steps of the coarsest level, of a `size` in space, that go through at a time."""
        return chunk_units(device, size, self.config.axes.of_time(self.config.levels[0].stride))

    def tile(self, side: int | None) -> int | None:
        """The side of tiles that is asked for, or usual; None where samples are not cut."""
        if "tile" not in self.shaped:
            return None
        unit = self.config.axes.of_space(self.config.levels[0].stride)
        return check_side(side, unit, self.config.exact, self.largest)

    @abstractmethod
    def take(self, model: Model, x: Tensor, sample: Sample) -> Part:
        """What `model` has decoded `[1, C, *axes]`, or drawn, as it is written."""

    @abstractmethod
    def write(self, path: Path, parts: Iterable[Part], sample: Sample, how: Output) -> int:
        """Write the parts of one sample to a file that is complete or not there. How many there
        were; of a sample that holds nothing, 0, and no file."""

    def ending(self, kind: Kind, how: Output) -> str:
        """What the name of a written file, or folder, of a source of this kind ends in."""
        return f".{self.format(how)}"

    def check_output(self, how: Output) -> None:
        """ValueError where samples cannot be written like this."""
        if how.format not in (None, *self.formats):
            legal = ", ".join(self.formats)
            raise ValueError(f"format is '{how.format}'; {self.what} are written as {legal}")
        given = {name for name in ("resolution", "tile", "texture") if getattr(how, name)}
        self._refuse(given - self.shaped)
        self.tile(how.tile)

    def format(self, how: Output) -> str:
        """What is asked for, or the usual one."""
        return how.format or self.formats[0]

    # pictures -----------------------------------------------------------------------------------

    def beginning(self, sample: Sample, start: int) -> int:
        """How much of a source has to be read to show the item that begins at `start`, in what its
        reader counts; 0 where that is too much, or there is nothing to show."""
        return 0 if start else 1

    @abstractmethod
    def read_picture(
        self, pieces: Iterable[tuple[Mapping[str, Any], np.ndarray]], start: int
    ) -> np.ndarray | None:
        """The beginning of an item, as its reader gives it: uint8 `[H, W, 3]`, None if it cannot be
        read. All pieces must be taken."""

    @abstractmethod
    def part_picture(self, parts: Iterable[Part], sample: Sample) -> np.ndarray:
        """The same as it is decoded."""

    # samples ------------------------------------------------------------------------------------

    @abstractmethod
    def blank(self, extent: Extent) -> Sample:
        """What is drawn, where nothing else is known of it.

        Raises:
            ValueError: the model draws nothing of this extent.
        """

    @abstractmethod
    def open(self, path: Path, sample: Sample) -> tuple[Tensor, Sample]:
        """The beginning of a file as a model reads it `[1, C, *axes]`, as large as `sample`, and
        what it is.

        Raises:
            ValueError: it cannot be read, or has not so much to give.
        """

    def samples(self, root: Path, count: int, extent: Extent) -> Iterator[tuple[str, Tensor]]:
        """Names and beginnings `[1, C, *axes]` of `count` sources below `root`, spread evenly over
        all, at most of this extent; those that cannot be read are named in the log.

        Raises:
            ValueError: nothing that suits the model lies there.
        """
        extent.check_size(self.what, self.sides)
        sources = self.beginning_sources(root)
        count = min(count, len(sources))
        for source in (sources[i * len(sources) // count] for i in range(count)):
            try:
                x = self.beginning_of(source, extent)
            except UnreadableError as error:
                log.warning("left out %s: %s", source.name, error.reason)
                continue
            yield source.name, x

    def beginning_sources(self, root: Path) -> list[Source]:
        """What lies below a folder and has a beginning, see `find`."""
        return self.find(root)

    @abstractmethod
    def beginning_of(self, source: Source, extent: Extent) -> Tensor:
        """The beginning of a source `[1, C, *axes]`, at most of this extent; UnreadableError where
        it cannot be read."""

    # measuring ----------------------------------------------------------------------------------

    @property
    @abstractmethod
    def figures(self) -> tuple[Figure, ...]:
        """Of what is decoded, by their keys in `compare`; the first is the higher the better."""

    @abstractmethod
    def quality(self, x: Tensor, y: Tensor) -> float:
        """The first figure of a sample `[1, C, *axes]` as decoded, `y`, against itself, `x`."""

    def compare(self, x: Tensor, y: Tensor) -> dict[str, float]:
        """All figures by their keys; NaN where there is none."""
        return {self.figures[0].key: self.quality(x, y)}

    @abstractmethod
    def frames(self, x: Tensor) -> np.ndarray:
        """A sample `[1, C, *axes]` to look at, uint8 `[T, H, W, 3]`."""

    def check_report(self) -> None:
        """ValueError where samples of this config cannot be shown."""

    # training -----------------------------------------------------------------------------------

    @abstractmethod
    def training_set(self, data: DataConfig, seed: int) -> TrainingSet:
        """Find and check what a run trains on.

        Raises:
            ValueError: a folder is missing or nothing in it can be read, or a name is unknown.
        """

    def check_data(self, data: DataConfig) -> None:
        """ValueError where these data are not what a model of this config reads."""

    def known(self, data: DataConfig) -> dict[str, object]:
        """What a model has to know of the data it is trained on, as values of its config."""
        return {}

    # shapes, and objects of any kind ------------------------------------------------------------

    def tidied(self, x: Tensor) -> Tensor:
        """What was drawn, without what nobody would keep; here, as it is."""
        return x

    def check_solid(self) -> None:
        """ValueError unless samples are shapes, which `solid` gives."""
        raise ValueError(f"{self.what} are no shapes: of nothing else is known what is whole")

    def solid(self, x: Tensor) -> Field | None:
        """The field of a shape `[1, C, *axes]`, or of a solid around an open one; else None."""
        return None

    def surface(self, x: Tensor) -> Any:
        """Its surface in the cube, a `trimesh.Trimesh`, where it is a shape; else None."""
        return None

    @property
    @abstractmethod
    def object_type(self) -> str:
        """The name that pipelines have for what `objects` gives."""

    @abstractmethod
    def objects(self, model: Model, x: Tensor) -> Any:
        """Decoded samples `[B, C, *axes]` as people look at them, one object each."""

    def _refuse(self, names: set[str]) -> None:
        if names:
            shown = " and ".join(f"--{name.replace('_', '-')}" for name in sorted(names))
            raise ValueError(f"{shown}: not for {self.what}, which this model is for; leave it out")
