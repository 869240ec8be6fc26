"""What a sample of a medium is, and how sources and latents of it are come by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch import Tensor

from ..geometry.whereabouts import Scan, Shape
from ..model.latents import Latents
from .source import Kind


class ReadPlan(Protocol):
    """How sources are read: a dataclass of plain values.

    Attributes:
        module: of this package, whose function `read` is called for each source, in a process of
            its own, with the plan's values, the source's `path`, and `first`: how much of it is
            asked for at most. It gives, piece by piece, what is known of it and an array.
    """

    module: ClassVar[str]


class Stored(Protocol):
    """The latents of an item of a data set, read when they are asked for."""

    def whole(self) -> Latents:
        """All of them."""

    def stream(self, steps: int) -> Iterator[Sequence[Tensor]]:
        """`[1, C_l, ...]` per level, `steps` steps of level 0 at a time, see `LatentReader`."""

    def rate_weights(self, steps: int) -> Iterator[float | None]:
        """λ of each piece of `stream`, or of the whole; None is the model's."""


@dataclass(frozen=True)
class Sample:
    """What a sample is, beside its values: what `store.manifest.Item` says of an item.

    Attributes:
        size: along the axes of the model's domain.
    """

    kind: Kind
    size: tuple[int, ...]
    fps: float | None = None
    shape: Shape | None = None
    scan: Scan | None = None
