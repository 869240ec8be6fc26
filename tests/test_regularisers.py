"""Spectral penalty against the singular value decomposition, and balancing against its formula."""

import pytest
import torch
from domains import VARIANTS, ladder
from torch import nn

from stlatent.losses.elbo import LossConfig, RateConfig, balance
from stlatent.losses.regularisers import SpectralConfig, SpectralPenalty
from stlatent.model.config import parse
from stlatent.model.domains import DOMAINS
from stlatent.model.layers import Conv


def largest(weight: torch.Tensor, groups: int) -> float:
    matrices = weight.detach().flatten(1).view(groups, len(weight) // groups, -1)
    return float(torch.linalg.matrix_norm(matrices, ord=2).max())


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv1d(6, 9, 5),
        nn.Conv2d(8, 12, 3, stride=2, groups=4),
        nn.Conv3d(4, 8, (3, 1, 3), stride=(1, 2, 2)),
        Conv(DOMAINS["video"], 8, 8, 3, 3, depthwise=True),
        Conv(DOMAINS["triplane"], 8, 24, 5),
    ],
    ids=lambda conv: f"{type(conv).__name__}-{list(conv.weight.shape)}",
)
def test_the_penalty_is_the_largest_singular_value(conv):
    torch.manual_seed(0)
    penalty = SpectralPenalty(conv, SpectralConfig(first_iterations=400))
    value = penalty()
    assert value.item() == pytest.approx(largest(conv.weight, conv.groups), rel=1e-3)
    (gradient,) = torch.autograd.grad(value, conv.weight)
    norms = gradient.flatten(1).unflatten(0, (conv.groups, -1)).norm(dim=(1, 2))
    assert float(norms.max()) == pytest.approx(1, rel=1e-2)  # u vᵀ


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_layers_of_a_ladder_count(variant):
    model = ladder(variant).requires_grad_(True)
    penalty = SpectralPenalty(model, SpectralConfig(first_iterations=300))
    expected = sum(largest(m.weight, m.groups) for m in model.modules() if isinstance(m, Conv))
    gains = sum(p.abs().max().item() for n, p in model.named_parameters() if n.endswith(".gain"))
    assert float(penalty()) == pytest.approx(expected + gains, rel=1e-2)
    assert not list(penalty.parameters())


def test_a_few_iterations_follow_a_weight_that_moves():
    torch.manual_seed(0)
    conv = nn.Conv2d(16, 16, 3)
    penalty = SpectralPenalty(conv, SpectralConfig())
    for _ in range(60):
        penalty()
        with torch.no_grad():
            conv.weight += 0.01 * torch.randn_like(conv.weight)
    assert float(penalty()) == pytest.approx(largest(conv.weight, 1), rel=0.05)


def test_the_vectors_survive_saving():
    conv = nn.Conv2d(8, 8, 3)
    first, second = (SpectralPenalty(conv, SpectralConfig(first_iterations=1)) for _ in range(2))
    for _ in range(3):
        first()
    second.load_state_dict(first.state_dict())
    assert float(first()) == float(second())


def test_the_weight_is_annealed_in_the_logarithm():
    config = SpectralConfig(weight=1e-2, start=1.0)
    weights = [config.weight_at(warm) for warm in (0.0, 0.5, 1.0)]
    assert weights == pytest.approx([1, 0.1, 0.01])
    assert SpectralConfig(weight=0.3).weight_at(0.0) == pytest.approx(0.3)


def test_nvae_balancing_is_its_formula():
    """alpha = positions / groups over the least of them; gamma ~ (KL + 0.01) / alpha, mean 1."""
    nats = [torch.tensor([[2.0], [4.0]]), torch.tensor([[10.0, 0.0], [30.0, 0.0]])]
    alpha = [1.0, 4.0 / 2]
    raw = [3.01 / alpha[0], 20.01 / alpha[1], 0.01 / alpha[1]]
    mean = sum(raw) / 3
    coarse, fine = balance(nats, [1, 4], "nvae")
    assert [*coarse, *fine] == pytest.approx([r / mean for r in raw])


def test_gamma_balancing_is_proportional_to_the_rate_per_position():
    coarse, fine = balance([torch.tensor([[2.0]]), torch.tensor([[8.0, 0.0]])], [1, 4], "gamma")
    assert [*coarse, *fine] == pytest.approx([1.5, 1.5, 0.0])


@pytest.mark.parametrize(
    "kind, steps",
    [("nvae", [True, True, False]), ("gamma", [True, False, False]), (None, [False] * 3)],
)
def test_groups_are_balanced_early_only(kind, steps):
    rate = RateConfig(warmup_steps=100, balance=kind, balance_steps=50)
    assert [rate.balances(step) for step in (0, 60, 99)] == steps


def test_wrong_settings_are_explained():
    with pytest.raises(ValueError, match="nearest valid key is 'iterations'"):
        parse(LossConfig, {"spectral": {"iteration": 4}}, "test")
    with pytest.raises(ValueError, match="rate.balance"):
        parse(LossConfig, {"rate": {"balance": "vae"}}, "test")
