"""q(packed latents | x), as `diffusers` wants to see it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from torch import Tensor

from ..model.packing import CERTAIN, Packing
from ..model.passes import Encoded
from .noise import Generators


@dataclass
class LadderEncoderOutput(AutoencoderKLOutput):
    """What encoding gives.

    Attributes:
        latent_dist: the posterior, a `LadderPosterior`.
    """

    latent_dist: LadderPosterior

    @property
    def latent(self) -> Tensor:
        """The means, as pipelines ask for them whose autoencoder has no posterior."""
        return self.latent_dist.mode()


class LadderPosterior:
    """Has what `DiagonalGaussianDistribution` has, and counts every axis.

    A ladder's posterior is a chain: what a finer level holds depends on what the coarser ones were
    chosen to be. `mean` and `logvar` are those of every level given the means of the coarser ones.
    `sample` goes down the chain anew and draws at every level given what was drawn above, which is
    exact, and costs a pass over the network each time.

    Attributes:
        mean, logvar, std: `[B, C, *grid]`, float32.
        size: of the input's axes; `decode(z, size=...)` comes out at it.
        dtype: of `mode()` and `sample()`.
    """

    def __init__(
        self,
        mean: Tensor,
        logvar: Tensor,
        packing: Packing,
        redraw: Callable[[Generators], Tensor],
        size: tuple[int, ...],
        dtype: torch.dtype,
    ) -> None:
        self._packing, self._redraw, self.size, self.dtype = packing, redraw, size, dtype
        self._whole = mean, logvar  # of all steps under the last one of level 0
        self.mean, self.logvar = self._shown(mean), self._shown(logvar)

    @property
    def parameters(self) -> Tensor:
        """Means and log-variances side by side `[B, 2 C, *grid]`."""
        return torch.cat([self.mean, self.logvar], 1)

    @property
    def std(self) -> Tensor:
        return (0.5 * self.logvar).exp()

    @property
    def var(self) -> Tensor:
        return self.logvar.exp()

    def mode(self) -> Tensor:
        """The means."""
        return self.mean.to(self.dtype)

    def sample(self, generator: Generators = None) -> Tensor:
        """A draw from the whole chain; one generator, or one per sample."""
        return self._shown(self._redraw(generator)).to(self.dtype)

    def nll(self, sample: Tensor, dims: Sequence[int] | None = None) -> Tensor:
        """-log q(sample) in nats, of each level given the means of the coarser ones.

        Args:
            sample: packed latents `[B, C, *grid]`.
            dims: that are summed over, as `diffusers` has it: repeated latents count each time. By
                default all but the batch, `[B]`, and they count once.
        """
        offset = (sample.float() - self.mean).square() * torch.exp(-self.logvar)
        nats = 0.5 * (offset + self.logvar + math.log(2 * math.pi))
        if dims is None:
            return self._total(self._packing.completed(nats))
        return nats.sum(tuple(dims))

    def _shown(self, packed: Tensor) -> Tensor:
        """The steps that latents of so many frames have."""
        domain = self._packing.domain
        return domain.steps(packed, 0, domain.of_time(self._packing.grid(self.size)))

    def kl(self, other: LadderPosterior | None = None) -> Tensor:
        """KL to a standard normal, or to another posterior, in nats `[B]`: summed over all axes
        but the batch, with the repeated latents of the first step counted once."""
        mine, (mean, logvar) = self._whole, (0.0, 0.0) if other is None else other._whole
        ratio = mine[1] - logvar
        offset = (mine[0] - mean).square() * (torch.exp(-logvar) if other else 1.0)
        nats = 0.5 * (offset + torch.expm1(ratio) - ratio)
        return self._total(nats)

    def _total(self, nats: Tensor) -> Tensor:
        """Of packed values, the sum for each sample, repeated latents counted once."""
        return sum(level.flatten(1).sum(1) for level in self._packing.unfold(nats))


def log_vars(encoded: Encoded, levels: int) -> list[Tensor]:
    """Log-variances of the posteriors of the first levels `[B, C_l, *grid_l]`."""
    log_stds = encoded.log_stds or [None] * levels  # in a stream there may be no latents yet
    pairs = zip(encoded.levels[:levels], log_stds[:levels], strict=True)
    return [torch.full_like(z, CERTAIN) if s is None else 2 * s for z, s in pairs]
