"""What stands around a ladder whose own input is not what the model reads."""

from __future__ import annotations

from copy import copy
from typing import Any, TypeVar

import numpy as np
from torch import Tensor, nn

from .config import Level, ModelConfig
from .domain import Domain
from .inputs import as_input
from .ladder import Ladder

A = TypeVar("A", bound="AroundLadder")


class AroundLadder(nn.Module):
    """A model that reads and decodes other things than the ladder inside it: volumes, where that is
    one over planes, or pixels, where that is one over another autoencoder's latents.

    Its latents are the ladder's. All that has to do with them alone is the ladder's, too.

    Attributes:
        config: of the model; sizes and strides as whoever uses it counts them.
        ladder: the ladder inside.
        frozen: the autoencoder that it stands on, see `foundation/`; None is none.
    """

    frozen: Any = None
    config: ModelConfig
    ladder: Ladder

    @property
    def domain(self) -> Domain:
        """Of the ladder."""
        return self.config.axes

    @property
    def levels(self) -> tuple[Level, ...]:
        """Coarsest first."""
        return self.config.all_levels

    @property
    def cells(self) -> nn.ModuleList:
        """Of the ladder `[level][group]`."""
        return self.ladder.cells

    @property
    def top(self) -> nn.Parameter:
        """See `Ladder`; its type and device are those of the ladder."""
        return self.ladder.top

    @property
    def likelihood(self) -> nn.Module:
        """Of what the ladder decodes to."""
        return self.ladder.likelihood

    @property
    def exported(self) -> nn.Module:
        """What stands for this model in a pipeline of `diffusers`, see `Ladder.exported`."""
        self.ladder.check_usual_rate()
        return self

    @property
    def rate_weight(self) -> float | None:
        """λ of the ladder, see `dial.Dialled`."""
        return self.ladder.rate_weight

    def at_rate(self: A, weight: float) -> A:
        """The same model, weights shared, at another λ, see `dial.Dialled`."""
        other = copy(self)
        other._modules = self._modules | {"ladder": self.ladder.at_rate(weight)}
        return other

    def as_input(self, x: Tensor | np.ndarray) -> Tensor:
        """`x` as this model reads it, see `inputs.as_input`."""
        return as_input(x, self.config, self.top, bounded=True)

    def preview_target(self, inputs: Tensor, level: int) -> Tensor:
        """See `Ladder.preview_target`; of what the ladder has read. A target does not follow who
        aims at it, as inputs that are learned would."""
        return self.ladder.preview_target(inputs.detach(), level)


def ladder_in(model: Ladder | AroundLadder) -> Ladder:
    """The ladder itself, with or without something around it."""
    return model.ladder if isinstance(model, AroundLadder) else model
