"""The importance-weighted bound, where the truth is known and where it is not; and `fit`."""

import math

import pytest
import torch
from test_family import family

from stlatent import Ladder, Latents, ModelConfig
from stlatent.evaluate.likelihood import log_likelihood
from stlatent.losses.elbo import LossConfig
from stlatent.model.config import parse
from stlatent.model.kinds import PlainLikelihood, ScaledLikelihood
from stlatent.train.config import OptimiserConfig
from stlatent.train.fit import fit


def linear() -> Ladder:
    """One latent number, decoded linearly: x = w z + b + noise, a Gaussian in closed form."""
    level = {"stride": [2, 2], "width": 4, "latent": 1, "blocks": 0}
    config = {"domain": "image", "channels": 1, "levels": [level], "likelihood": "gaussian"}
    config["stem"] = {"stride": [2, 2], "width": 4, "blocks": 0}
    torch.manual_seed(0)
    return Ladder(parse(ModelConfig, config, "test")).requires_grad_(False).eval()


def test_it_is_the_truth_where_the_truth_is_known():
    model = linear()
    unit, zero = torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)

    def decode(z):
        return model.decode(Latents((z,), (2, 2))).flatten()

    b, w = decode(zero), decode(unit) - decode(zero)
    prior = model(torch.zeros(1, 1, 2, 2)).latents.steps[0].prior
    noise = float(model.likelihood.log_scale.exp()) ** 2
    covariance = float(prior.std) ** 2 * w[:, None] * w + noise * torch.eye(4)
    exact = torch.distributions.MultivariateNormal(b + float(prior.mean) * w, covariance)
    x = torch.tensor([0.3, -0.2, 0.5, 0.1]).view(1, 1, 2, 2)
    generator = torch.Generator().manual_seed(0)
    found = log_likelihood(model, x, 4000, generator, at_a_time=1000)
    truth = float(exact.log_prob(x.flatten()))
    assert float(found.elbo) < truth
    assert float(found.weighted) == pytest.approx(truth, abs=0.1)
    assert found.bits_per_dimension == pytest.approx(-float(found.weighted) / math.log(2) / 4)


@pytest.mark.parametrize("kind", ["residual", "precision", "joint", "bottom_up", "ema"])
def test_more_draws_never_lower_the_bound(kind):
    model = family("image", "convnext", kind).eval().requires_grad_(False)
    config = model.config.model_copy(update={"likelihood": ScaledLikelihood(scale=1.0)})
    again = Ladder(config).eval().requires_grad_(False)
    again.load_state_dict(model.state_dict(), strict=False)
    x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    few, many = (
        torch.stack(
            [
                log_likelihood(again, x, draws, torch.Generator().manual_seed(i)).weighted
                for i in range(20)
            ]
        ).mean(0)
        for draws in (1, 40)
    )
    if kind == "ema":  # nothing is drawn
        assert torch.allclose(few, many, rtol=1e-4)
    else:
        assert (many > few).all()


def test_errors_have_no_likelihood():
    model = family("image", "convnext", "residual").eval()
    mse = Ladder(model.config.model_copy(update={"likelihood": PlainLikelihood(kind="mse")}))
    with pytest.raises(ValueError, match="'mse' is an error, no density"):
        log_likelihood(mse, torch.zeros(1, 3, 16, 16), 2)


def test_fit_learns_and_ends_when_told():
    torch.manual_seed(0)
    config = family("image", "nvae", "precision").config
    config = config.model_copy(update={"likelihood": PlainLikelihood(kind="bernoulli")})
    x = torch.where(torch.rand(8, 3, 2, 2) > 0.5, 1.0, -1.0)
    x = x.repeat_interleave(8, 2).repeat_interleave(8, 3)
    loss = LossConfig.model_validate(
        {
            "rate": {"weight": 1e-3, "warmup_steps": 10, "balance": "nvae"},
            "prefix": {"share": 0, "preview": 0},
            "spectral": {"weight": 1e-5},
        }
    )
    optimiser = OptimiserConfig(lr=3e-3, warmup_steps=5, ema=0.9)
    done = fit(Ladder(config), [x[:4], x[4:]], loss, optimiser, steps=60)
    assert len(done.losses) == 60 and done.losses[-1] < 0.8 * done.losses[0]
    assert not done.model.training
    again = fit(Ladder(config), [x], loss, optimiser, seconds=0.3)
    assert 0.3 <= again.seconds < 20 and again.losses
    with pytest.raises(ValueError, match="give steps, seconds"):
        fit(Ladder(config), [x], loss, optimiser)
