"""Likelihoods: densities and masses that they claim to be, and gradients that stay finite."""

import math

import pytest
import torch
from domains import SIZES, STRIDES

from stlatent import Ladder, ModelConfig, Stage
from stlatent.model.config import parse
from stlatent.model.likelihoods import KINDS, make_likelihood


def likelihood(kind: str, channels: int = 3, domain: str = "image", **changes):
    *levels, stem = STRIDES[domain]
    level = {"stride": levels[-1], "width": 8, "latent": 2}
    config = {"domain": domain, "channels": channels, "levels": [level], "likelihood": kind}
    config["stem"] = Stage(stride=stem, width=8, blocks=0).model_dump()
    parsed = parse(ModelConfig, config | changes, "test")
    return make_likelihood(parsed.likelihood, parsed.channels)


@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize(
    "kind, family",
    [("gaussian", torch.distributions.Normal), ("laplace", torch.distributions.Laplace)],
)
def test_scaled_kinds_are_densities(kind, family, scale):
    measure = likelihood(kind, scale=scale)
    x, y = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8)
    nats = -family(y, measure.log_scale.exp()).log_prob(x).flatten(1).mean(1)
    assert torch.allclose(measure(y, x), nats, rtol=1e-5)
    assert len(list(measure.parameters())) == (scale is None)


def test_fitted_scale_is_the_best_one():
    x, y = torch.randn(1, 3, 8, 8), torch.randn(1, 3, 8, 8)
    best, scaled = likelihood("fitted")(y, x), likelihood("gaussian")
    for log_scale in torch.linspace(-1, 1, 21):
        scaled.log_scale.data = log_scale
        assert best <= scaled(y, x) + 1e-3


def test_bernoulli_is_a_mass():
    measure, logits = likelihood("bernoulli", 1), torch.randn(1, 1, 8, 8)
    p = torch.exp(-measure.values(logits, torch.ones_like(logits)))
    assert torch.allclose(p + torch.exp(-measure.values(logits, -torch.ones_like(p))), p * 0 + 1)
    assert torch.allclose(measure.mean(logits), 2 * p - 1, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2])
def test_logistic_mixture_sums_to_one_over_its_256_values(channels):
    measure = likelihood("logistic_mixture", channels)
    torch.manual_seed(0)
    parameters = torch.randn(1, measure.parameter_channels, 1, 1)
    parameters[:, measure.channels * 10 : 2 * measure.channels * 10] *= 3  # wide and narrow ones
    values = torch.arange(256.0) / 127.5 - 1
    x = torch.cartesian_prod(*[values] * channels).view(-1, channels, 1, 1)
    nats = channels * measure.values(parameters.expand(len(x), -1, -1, -1), x)
    assert float(torch.exp(-nats).sum()) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_finite_at_extremes(kind):
    channels = 1 if kind == "bernoulli" else 3
    measure = likelihood(kind, channels)
    for x in (torch.ones(1, channels, 8, 8), -torch.ones(1, channels, 8, 8)):
        for far in (-1e4, -30.0, 0.0, 30.0, 1e4):
            parameters = torch.full((1, measure.parameter_channels, 8, 8), far, requires_grad=True)
            value = measure(parameters, x)
            value.sum().backward()
            assert torch.isfinite(value).all() and torch.isfinite(parameters.grad).all(), (
                far,
                x[0, 0],
            )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("domain", SIZES)
def test_a_ladder_begins_near_its_input_whatever_the_likelihood(kind, domain):
    """The decoded sample follows a smooth input from the start, and the loss falls towards it."""
    *strides, stem = STRIDES[domain]
    level = {"stride": strides[-1], "width": 64, "latent": 16, "blocks": 1}
    config = {"domain": domain, "channels": 4, "levels": [level], "likelihood": kind}
    config["stem"] = {"stride": stem, "width": 64, "blocks": 1}
    torch.manual_seed(0)
    model = Ladder(parse(ModelConfig, config, "test"))
    size = SIZES[domain]
    ramp = torch.linspace(-1, 1, size[-1]).expand(2, 4, *size)
    out = model(ramp)
    assert out.parameters.shape[1] == model.likelihood.parameter_channels
    together = torch.stack([out.x.flatten(), ramp.flatten()])
    assert torch.corrcoef(together)[0, 1] > 0.9
    nats = model.likelihood(out.parameters, ramp)
    nats.mean().backward()
    assert nats.shape == (2,) and nats.dtype == torch.float32
    assert torch.isfinite(model.head.conv.weight.grad).all()


def test_sdf_asks_for_the_sign_alone_beyond_the_truncation():
    measure = likelihood("sdf", 1, "voxel")
    x = torch.ones(1, 1, 4, 4, 4)
    x[..., 0] = 0.2
    good = x.clone()
    assert measure(good, x) == 0
    assert measure(good * 1.0001, x) < 1e-3
    outside, band = good.clone(), good.clone()
    outside[0, 0, 0, 0, 3] -= 0.5
    band[0, 0, 0, 0, 0] -= 0.5
    assert measure(band, x) > measure(outside, x) > 0


def test_occupancy_counts_colours_inside_only():
    measure = likelihood("occupancy", 4, "voxel")
    x = torch.ones(1, 4, 2, 2, 2)
    x[:, 0] = -1
    parameters = torch.full_like(x, -50.0)
    assert measure(parameters, x) < 1e-6
    x[:, 0, 0], parameters[:, 0, 0] = 1, 50
    assert measure(parameters, x) == pytest.approx(51 * 3 * 4 / 32)
    assert math.isclose(float(measure.mean(parameters)[0, 0, 0, 0, 0]), 1)
