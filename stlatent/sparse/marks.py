"""Marks say of every cell whether anything finer is there: the second kind of latent of a level.

They follow from the input alone, so the posterior is certain, and what they cost is minus the
logarithm of what the prior gave them. The prior knows all latents of its own level.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..model.choose import redrawn

# The chance from which on there is a cell where nobody says: one that is missing is a hole in the
# surface, one too many costs its time alone.
LEAST = 0.2
# The same below levels that were drawn: from a draw, what hangs in the air is taken afterwards
# (`media/shape/crumbs.py`).
LEAST_DRAWN = 0.02


@dataclass(frozen=True)
class MarkPrior:
    """Independent, each of its own probability.

    Attributes:
        logits: float32 `[N, 1]`.
    """

    logits: Tensor

    @property
    def mean(self) -> Tensor:
        """Whether there had better be a cell, bool `[N, 1]`."""
        return self.likelier(LEAST)

    def likelier(self, chance: float) -> Tensor:
        """Whether a cell is likelier than that, bool `[N, 1]`."""
        return self.logits > math.log(chance / (1 - chance))

    def sample(self, generator: torch.Generator | None = None, temperature: float = 1.0) -> Tensor:
        """The mean, and by chance other cells, at temperature 0 none, bool `[N, 1]`: draws of marks
        that do not know of each other would tear holes."""
        if temperature == 0:
            return self.mean
        chance = torch.rand(self.logits.shape, generator=generator, device=self.logits.device)
        return self.mean | (chance < torch.sigmoid(self.logits / temperature))

    def near(
        self, marks: Tensor, strength: float, generator: torch.Generator | None = None
    ) -> Tensor:
        """Marks of which so large a part is as they had better be."""
        return redrawn(marks, self.mean, strength, generator)

    def given(self, marks: Tensor) -> MarkPrior:
        """See `Distribution.given`: one tells nothing of another."""
        return self


@dataclass(frozen=True)
class Marks:
    """Those that an input has.

    Attributes:
        mean: bool `[N, 1]`.
    """

    mean: Tensor

    def sample(self, generator: torch.Generator | None = None, temperature: float = 1.0) -> Tensor:
        """The same."""
        return self.mean

    def kl(self, prior: MarkPrior) -> Tensor:
        """KL(self || prior) in nats `[N, 1]`."""
        return F.softplus(torch.where(self.mean, -prior.logits, prior.logits))
