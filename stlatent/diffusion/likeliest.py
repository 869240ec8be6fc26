"""Of several draws of a sample, the likeliest; of a shape, the likeliest that is whole."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..checkpoint import Model
from ..export.noise import Generators, one_each
from ..geometry.flaws import Flaws
from ..media.registry import medium_of
from ..sparse.blocks import Blocks, joined
from ..triplane.autoencoder import as_volume
from .sparse import Autoencoder


def of_each(given: Any, tries: int) -> Any:
    """What is given for each sample, or for all of them, for each of their draws."""
    if isinstance(given, Tensor):
        return given.repeat_interleave(tries, 0)
    if isinstance(given, Sequence):
        return [one for one in given for _ in range(tries)]
    return given


def first_whole(model: Model, drawn: Iterable[Tensor | Blocks]) -> Tensor | Blocks:
    """The first shape `[1, C, *axes]` that is whole, see `Flaws`, or the one whose gravest flaw is
    least; of what is no shape, the first."""
    medium, best, least = medium_of(model), None, math.inf
    for x in drawn:
        field = medium.solid(as_volume(model, x))
        gravest = 0.0 if field is None else Flaws.of_field(field).gravest
        if gravest < least:
            best, least = x, gravest
        if gravest <= 1:
            break
    return best


@dataclass(frozen=True)
class Draws:
    """Samples, as many times as there were tries.

    Attributes:
        levels: whitened latents `[samples * tries, C_l, *grid_l]`, the tries of a sample together.
        order: `[samples, tries]`, which of these are those of a sample, likeliest first.
    """

    levels: Sequence[Tensor]
    order: Tensor

    @classmethod
    def once(cls, levels: Sequence[Tensor]) -> Draws:
        """Of one try each."""
        return cls(levels, torch.arange(len(levels[0]))[:, None])

    @classmethod
    def ranked(cls, levels: Sequence[Tensor], surprise: Tensor, tries: int) -> Draws:
        """By how unlikely each is `[samples * tries]`."""
        order = surprise.cpu().view(-1, tries).argsort(1)
        return cls(levels, order + tries * torch.arange(len(order))[:, None])

    @property
    def likeliest(self) -> tuple[Tensor, ...]:
        """Latents `[samples, C_l, *grid_l]`."""
        return tuple(z[self.order[:, 0]] for z in self.levels)

    def decoded(
        self, vae: Autoencoder, size: tuple[int, ...] | None, generator: Generators
    ) -> Tensor | Blocks:
        """What they say `[samples, C, *axes]`: of shapes, the first that is whole.

        Args:
            size: of a sample's axes; None is that of its latents.
            generator: of what is drawn below these levels; one, or one per sample.
        """
        samples, tries = self.order.shape
        if tries == 1:
            return _decoded(vae, self.levels, size, generator)
        given = generator if isinstance(generator, Sequence) else [generator]
        each = zip(self.order.tolist(), one_each(given, samples), strict=True)
        whole = [first_whole(vae.ladder, self._each(vae, *draws, size)) for draws in each]
        return joined(whole) if isinstance(whole[0], Blocks) else torch.cat(whole)

    def _each(
        self, vae: Autoencoder, order: Sequence[int], generator: Generators, size: Any
    ) -> Iterator[Tensor | Blocks]:
        for k in order:
            yield _decoded(vae, [z[[k]] for z in self.levels], size, generator)


def _decoded(
    vae: Autoencoder, levels: Sequence[Tensor], size: Any, generator: Generators
) -> Tensor | Blocks:
    packed = vae.packing.fold(levels)
    x = vae.decode(packed, generator=generator, size=size, return_dict=False)[0]
    return medium_of(vae.ladder).tidied(x)
