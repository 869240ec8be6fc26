"""Distributions, choices, losses, schedules: closed forms."""

import math

import pytest
import torch
from domains import STRIDES, batch, ladder

from stlatent import DOMAINS
from stlatent.losses.adversarial import PatchDiscriminator, discriminator_loss, generator_loss
from stlatent.losses.elbo import LossConfig, draw_prefixes, objective
from stlatent.model import transform
from stlatent.model.choose import Draw, Held, Prefix, Site, mean
from stlatent.model.gaussian import Gaussian
from stlatent.train.config import OptimiserConfig
from stlatent.train.loss import batch_loss
from stlatent.train.optimiser import StepGuard, learning_rate
from stlatent.train.task import Moment


def gaussian(seed: int) -> Gaussian:
    generator = torch.Generator().manual_seed(seed)
    return Gaussian(*(torch.randn(2, 3, 4, generator=generator) for _ in range(2)))


def test_kl_against_torch_and_against_draws():
    q, p = gaussian(0), gaussian(1)
    normal = torch.distributions.Normal
    exact = torch.distributions.kl_divergence(normal(q.mean, q.std), normal(p.mean, p.std))
    assert torch.allclose(q.kl(p), exact, rtol=1e-4, atol=1e-5)
    assert torch.equal(q.kl(q), torch.zeros_like(q.mean))
    z = torch.stack([q.sample(torch.Generator().manual_seed(s)) for s in range(4000)])
    drawn = (normal(q.mean, q.std).log_prob(z) - normal(p.mean, p.std).log_prob(z)).mean(0)
    assert (drawn - exact).abs().max() < 0.1 * exact.max()


def test_kl_is_finite_at_the_limits():
    extreme = Gaussian(torch.tensor([1e3, -1e3]), torch.tensor([6.0, -6.0])).kl(gaussian_unit())
    assert torch.isfinite(extreme).all()


def gaussian_unit() -> Gaussian:
    return Gaussian(torch.zeros(2), torch.zeros(2))


def test_choices():
    q, p, site = gaussian(0), gaussian(1), Site(1, 1)
    assert torch.equal(mean(site, q, p), q.mean) and torch.equal(mean(site, None, p), p.mean)
    cold = Draw(temperature=0.0)
    assert torch.equal(cold(site, q, p), q.mean) and torch.equal(cold(site, None, p), p.mean)
    given = torch.arange(2 * 6 * 4.0).view(2, 6, 4)
    held = Held({1: given}, mean)
    assert torch.equal(held(site, q, p), given[:, 3:]) and torch.equal(
        held(Site(0, 0), q, p), q.mean
    )
    cut = Prefix(torch.tensor([1, 2]), mean)(site, q, p)
    assert torch.equal(cut[0], p.mean[0]) and torch.equal(cut[1], q.mean[1])


def test_prefixes_have_the_share_asked_for():
    keep = draw_prefixes(20000, 3, 0.3, torch.Generator().manual_seed(0), torch.device("cpu"))
    shares = [float((keep == k).float().mean()) for k in (1, 2, 3)]
    assert shares == pytest.approx([0.15, 0.15, 0.7], abs=0.02)
    flat = draw_prefixes(100, 1, 0.3, torch.Generator().manual_seed(0), torch.device("cpu"))
    assert (flat == 1).all()


def test_prefixes_come_on_top_of_whole_samples():
    """Each sample is decoded whole; half of the second decodings are cut, and weigh as much."""
    model, x, loss = ladder("image"), batch("image"), LossConfig.model_validate(
        {"rate": {"weight": 0}, "prefix": {"share": 1, "preview": 0}}
    )  # fmt: skip
    chosen = []

    def watched(x, choose, again):
        chosen.append((choose.keep, again))
        return model(x, choose, again)

    generator = torch.Generator().manual_seed(0)
    result, passed = batch_loss(watched, model, x, loss, Moment(0, 0.0, generator))
    (keep, again), seen = chosen[0], torch.cat([x, x])
    count, levels = len(x), len(model.levels)
    assert again.all() and torch.equal(passed.inputs, seen) and passed.x.shape == seen.shape
    assert (keep[:count] == levels).all() and (keep[count:] < levels).all()
    with torch.no_grad():
        out = model(seen, Prefix(keep, Draw(generator=torch.Generator().manual_seed(0))))
        once = model(x, Prefix(keep, Draw(generator=torch.Generator().manual_seed(0))), again)
    assert torch.allclose(once.parameters, out.parameters, atol=1e-5)
    whole = model.likelihood(out.parameters, seen)[:count].mean()
    assert float(result.distortion) == pytest.approx(float(whole), rel=0.2)
    assert float(result.total) > float(result.distortion)  # the prefixes are added, not mixed in


def test_objective_adds_up():
    """Two samples, the second cut after level 0: it pays no rate for level 1."""
    loss = LossConfig.model_validate(
        {"rate": {"weight": [1.0, 2.0], "warmup_steps": 4, "free_bits": [0.0, 0.0]},
         "prefix": {"preview": 0.5}}
    )  # fmt: skip
    kl = [torch.tensor([[10.0], [20.0]]), torch.tensor([[3.0, 4.0], [100.0, 100.0]])]  # groups
    result = objective(
        torch.tensor([1.0, 5.0]), kl, [torch.tensor(0.2), torch.tensor(0.4)],
        torch.tensor([2, 1]), 100, [1, 4], loss, step=1,
    )  # fmt: skip
    warm = 0.5
    expected = 3.0 + warm * (1.0 * 15 + 2.0 * 3.5) / 100 + 0.5 * 0.3
    assert float(result.total) == pytest.approx(expected)
    assert float(result.distortion) == 1.0
    bits = [15 / 100 / math.log(2), 7 / 100 / math.log(2)]
    assert [float(b) for b in result.rate_bits] == pytest.approx(bits)


def test_free_bits_stop_the_pull_on_a_level():
    loss = LossConfig.model_validate({"rate": {"weight": 1.0, "free_bits": 10.0}})
    for nats, pulled in [(5.0, False), (9.0, True)]:  # 10 bits are 6.93 nats
        kl = [torch.full((1, 1), nats, requires_grad=True)]
        objective(
            torch.zeros(1), kl, [torch.zeros(())], torch.tensor([1]), 10, [1], loss, 0
        ).total.backward()
        assert bool(kl[0].grad.abs().sum() > 0) == pulled


def test_guard_skips_what_is_far_off_but_never_locks_out():
    guard = StepGuard(factor=10.0)
    assert all(guard.allows(1.0) for _ in range(50))
    assert not guard.allows(float("nan")) and not guard.allows(float("inf"))
    assert not guard.allows(100.0)
    assert guard.allows(2.0) and guard.skipped == 3
    assert any(guard.allows(500.0) for _ in range(300))


def test_schedule():
    options = OptimiserConfig(lr=1.0, warmup_steps=10, final=0.1)
    assert learning_rate(options, 0, 0.0) == pytest.approx(0.1)
    assert learning_rate(options, 99, 0.5) == pytest.approx(0.55)
    assert learning_rate(options, 99, 1.0) == pytest.approx(0.1)


def test_cosines_are_orthonormal_and_decorrelate():
    basis = transform.cosines(8)
    assert torch.allclose(basis @ basis.T, torch.eye(8).double(), atol=1e-12)
    variance = transform.variances(8, 0.95)
    assert float(variance.sum()) == pytest.approx(8) and (variance.diff() < 0).all()


@pytest.mark.parametrize("name", DOMAINS)
def test_discriminator_learns_to_tell_over_every_domain(name):
    """Smooth against noisy samples; one verdict per patch, any size."""
    torch.manual_seed(0)
    critic = PatchDiscriminator(DOMAINS[name], 3, STRIDES[name][-1], width=8)
    optimiser = torch.optim.Adam(critic.parameters(), 3e-3)
    noisy = batch(name)
    smooth = noisy.mean(tuple(range(2, noisy.ndim)), keepdim=True).expand_as(noisy)
    first = discriminator_loss(critic(smooth), critic(noisy)).item()
    for _ in range(30):
        loss = discriminator_loss(critic(smooth), critic(noisy))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.5 * first
    assert generator_loss(critic(smooth)) < generator_loss(critic(noisy))
