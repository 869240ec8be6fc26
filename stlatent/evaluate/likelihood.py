"""How likely a ladder finds an input: its bound, and the tighter one by importance weighting."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..model.choose import Draw
from ..model.gaussian import BITS_PER_NAT
from ..model.ladder import Ladder


@dataclass(frozen=True)
class LogLikelihood:
    """Of a batch; nats per sample `[B]`.

    Attributes:
        elbo: mean of the bound over the draws.
        weighted: importance-weighted bound (Burda et al. 2016, equation 8), at least as high in
            expectation, and the log-likelihood itself with endless draws.
        values: input values per sample.
    """

    elbo: Tensor
    weighted: Tensor
    values: int

    @property
    def bits_per_dimension(self) -> float:
        """Of the weighted bound: mean bits per input value."""
        return -float(self.weighted.mean()) * BITS_PER_NAT / self.values


@torch.no_grad()
def log_likelihood(
    model: Ladder,
    x: Tensor,
    draws: int,
    generator: torch.Generator | None = None,
    at_a_time: int = 50,
) -> LogLikelihood:
    """log p(x) of `x` `[B, C, *axes]` in [-1, 1], estimated with `draws` draws from the posterior.

    An exact ladder's is that of 8-bit values, whatever its likelihood, see `model/exact.py`.

    Args:
        at_a_time: draws that go through the network together.

    Raises:
        ValueError: the model's likelihood is an error and no density, it is a sparse model, or
            there are no draws.
    """
    if model.domain.sparse:
        raise ValueError("the log-likelihood of a sparse model is not measured; leave out --draws")
    if not (model.likelihood.density or model.config.exact):
        raise ValueError(
            f"likelihood '{model.config.likelihood.kind}' is an error, no density, so nothing "
            f"has a log-likelihood; use bernoulli, logistic_mixture, gaussian, laplace or fitted, "
            f"or `exact: true`"
        )
    if draws < 1:
        raise ValueError(f"{draws} draws were asked for; at least 1 is needed")
    weights = [
        _log_weights(model, x, min(at_a_time, draws - start), generator)
        for start in range(0, draws, at_a_time)
    ]
    log_weights = torch.cat(weights)
    weighted = log_weights.logsumexp(0) - math.log(draws)
    return LogLikelihood(log_weights.mean(0), weighted, x[0].numel())


def _log_weights(model: Ladder, x: Tensor, draws: int, generator: torch.Generator | None) -> Tensor:
    """log p(x, z) - log q(z | x) for so many draws of z, `[draws, B]`, in float64."""
    many = x.repeat(draws, *[1] * (x.ndim - 1))
    out = model(many, Draw(generator=generator))
    log_p = torch.zeros((), dtype=torch.float64)
    if not model.config.exact:  # whose last step is the likelihood
        log_p = -model.likelihood(out.parameters, many).double() * x[0].numel()
    for step in out.latents.steps:
        ratio = step.posterior.log_ratio(step.prior, step.z)
        log_p = log_p + ratio.flatten(1).double().sum(1)
    return log_p.view(draws, len(x))
