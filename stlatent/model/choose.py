"""How a latent is chosen in the top-down pass: `choose(site, posterior, prior) -> z`.

Training, encoding, decoding and sampling run the same pass and differ only in what they put here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Distribution(Protocol):
    """Of the latents of one group: a Gaussian, or codes of a codebook."""

    @property
    def mean(self) -> Tensor:
        """`[B, C, *grid]`"""

    def sample(self, generator: torch.Generator | None = None, temperature: float = 1.0) -> Tensor:
        """`[B, C, *grid]`"""

    def near(self, z: Tensor, strength: float, generator: torch.Generator | None = None) -> Tensor:
        """A draw near `z` `[B, C, *grid]`: 0 is `z`, 1 a draw that knows nothing of it; what is
        drawn near draws of this is itself distributed like this."""

    def walk(self, pick: Pick) -> Tensor:
        """Choose all `[B, C, *grid]` part by part, each where those before it are known."""

    def given(self, z: Tensor) -> Distribution:
        """Of every part as it is when those before it in `z` `[B, C, *grid]` are known."""


def whole(x: Tensor) -> Tensor:
    """The part that is all of it."""
    return x


class Site(NamedTuple):
    """Where in the ladder a latent is chosen; level 0 is the coarsest."""

    level: int
    group: int


Cut = Callable[[Tensor], Tensor]  # of `[B, C, *grid]` the part that is chosen together
Pick = Callable[[Distribution, Cut], Tensor]  # that part, from its distribution
Choose = Callable[[Site, Distribution | None, Distribution], Tensor]


def mean(site: Site, posterior: Distribution | None, prior: Distribution) -> Tensor:
    """The most likely latent: the posterior's mean, or the prior's where there is no input."""
    return (posterior or prior).mean


@dataclass(frozen=True)
class Draw:
    """A draw from the posterior, or from the prior where there is no input.

    Attributes:
        temperature: scales the standard deviation; 1 is the model's own.
        generator: source of the noise; None is torch's global one.

    Raises:
        ValueError: the temperature is negative, infinite or NaN.
    """

    temperature: float = 1.0
    generator: torch.Generator | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"temperature is {self.temperature}; give a number from 0 on")

    def __call__(self, site: Site, posterior: Distribution | None, prior: Distribution) -> Tensor:
        return (posterior or prior).sample(self.generator, self.temperature)


@dataclass(frozen=True)
class Held:
    """Given latents at some levels, `rest` at the others.

    Attributes:
        levels: level -> latents `[B, groups * latent, *grid]`, groups side by side.
        rest: how the other levels are chosen.
    """

    levels: Mapping[int, Tensor]
    rest: Choose = mean

    def __call__(self, site: Site, posterior: Distribution | None, prior: Distribution) -> Tensor:
        if site.level not in self.levels:
            return self.rest(site, posterior, prior)
        return _given(self.levels, site, prior)


@dataclass(frozen=True)
class Near:
    """Draws near given latents at some levels, draws of their own at the others.

    Attributes:
        levels: level -> latents `[B, groups * latent, *grid]`, groups side by side.
        draw: how the other levels are drawn.
        strength: from 0, the given ones, to 1, draws that know nothing of them.

    Raises:
        ValueError: the strength is not in [0, 1].
    """

    levels: Mapping[int, Tensor]
    draw: Draw
    strength: float

    def __post_init__(self) -> None:
        check_strength(self.strength)

    def __call__(self, site: Site, posterior: Distribution | None, prior: Distribution) -> Tensor:
        if site.level not in self.levels:
            return self.draw(site, posterior, prior)
        z = _given(self.levels, site, prior)
        return prior.near(z, self.strength, self.draw.generator)


def _given(levels: Mapping[int, Tensor], site: Site, prior: Distribution) -> Tensor:
    """The latents of one group `[B, latent, *grid]`, of levels whose groups are side by side."""
    width = prior.mean.shape[1]
    return levels[site.level].narrow(1, site.group * width, width)


def redrawn(
    z: Tensor, drawn: Tensor, share: float, generator: torch.Generator | None = None
) -> Tensor:
    """`z` `[B, C, *grid]` with the values of `drawn` at a share of the positions, by chance."""
    shape = len(z), 1, *z.shape[2:]
    anew = torch.rand(shape, generator=generator, device=z.device) < share
    return torch.where(anew, drawn, z)


def check_strength(strength: float) -> None:
    """ValueError unless it is from 0 to 1."""
    if not 0 <= strength <= 1:
        raise ValueError(
            f"strength is {strength:g}; give a number from 0 (what is there) to 1 (a free draw)"
        )


@dataclass(frozen=True)
class Prefix:
    """Each sample keeps its first levels; its finer ones are the prior's mean.

    Attributes:
        keep: number of levels that each sample keeps `[B]`.
        kept: how the kept levels are chosen.
    """

    keep: Tensor
    kept: Choose

    def __call__(self, site: Site, posterior: Distribution | None, prior: Distribution) -> Tensor:
        z = self.kept(site, posterior, prior)
        keeps = (self.keep > site.level).view(-1, *[1] * (z.ndim - 1))
        return torch.where(keeps, z, prior.mean)
