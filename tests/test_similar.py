"""Draws near something real: by ladders' own priors, and by diffusion that begins with it."""

from __future__ import annotations

import math

import pytest
import torch
from domains import VARIANTS, batch, ladder
from test_latent_diffusion import SIZES, config, latents

from stlatent.diffusion import train
from stlatent.model.choose import redrawn
from stlatent.model.gaussian import Gaussian
from stlatent.sparse.marks import MarkPrior


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_what_is_near_a_draw_is_a_draw() -> None:
    """Means and deviations of the prior stay, whatever the strength; the correlation falls."""
    prior = Gaussian(torch.full((200_000,), 3.0), torch.full((200_000,), -0.5))
    z, last = prior.sample(generator()), 1.0
    for strength in (0.0, 0.3, 0.7, 1.0):
        near = prior.near(z, strength, torch.Generator().manual_seed(1))
        assert float(near.mean()) == pytest.approx(3.0, abs=0.01)
        assert float(near.std()) == pytest.approx(float(prior.std[0]), rel=0.02)
        alike = float(torch.corrcoef(torch.stack([z, near]))[0, 1])
        assert alike == pytest.approx((1 - strength**2) ** 0.5, abs=0.01)
        assert strength == 0 or alike < last
        last = alike
    assert torch.equal(prior.near(z, 0.0), z)


def test_so_large_a_part_of_marks_and_codes_is_drawn_anew() -> None:
    prior, marks = MarkPrior(torch.full((100_000, 1), -40.0)), torch.ones(100_000, 1).bool()
    for strength in (0.0, 0.25, 1.0):
        gone = ~prior.near(marks, strength, generator())
        assert float(gone.float().mean()) == pytest.approx(strength, abs=0.01)
    z, other = torch.zeros(2, 3, 50, 50), torch.ones(2, 3, 50, 50)
    part = redrawn(z, other, 0.5, generator())
    assert float(part.mean()) == pytest.approx(0.5, abs=0.02)
    assert torch.equal(part, part[:, :1].expand_as(part))  # a code is drawn as a whole


def test_drawn_marks_tear_no_holes() -> None:
    """Where there had better be a cell, there is one at any temperature; others come by chance."""
    likely, unlikely = (torch.full((20_000, 1), math.log(p / (1 - p))) for p in (0.3, 0.1))
    for temperature in (0.0, 0.3, 1.0):
        assert MarkPrior(likely).sample(generator(), temperature).all()
    share = MarkPrior(unlikely).sample(generator()).float().mean()
    assert float(share) == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_ladder_draws_between_what_is_held_and_what_is_free(variant: str) -> None:
    model, x = ladder(variant), batch(variant, count=1)
    levels = model.encode(x).levels

    def drawn(strength: float) -> torch.Tensor:
        return model.sample(x.shape[2:], 1, {0: levels[0]}, 0.0, generator(), strength)

    still = drawn(0.0)
    torch.testing.assert_close(drawn(1e-6), still, atol=1e-4, rtol=1e-4)
    away, free = [float((drawn(s) - still).std()) for s in (0.3, 0.6, 0.9)], drawn(1.0)
    assert 0 < away[0] < away[1] < away[2]
    assert torch.equal(drawn(0.5), drawn(0.5))
    levels = tuple(-z for z in levels)  # of which nothing is left at the end
    torch.testing.assert_close(drawn(1.0), free, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match=r"strength is 1.5; give a number from 0"):
        drawn(1.5)


@pytest.mark.parametrize("noise", [{}, {"kind": "ddpm"}])
@pytest.mark.parametrize("domain", SIZES)
def test_diffusion_begins_with_a_sample_and_noise(domain: str, noise: dict, tmp_path) -> None:
    """At strength 0 its levels come back, and finer stages are drawn; at 1 it is forgotten."""
    data, x = latents(domain, 2), batch(domain, SIZES[domain], 8)[:1]
    pipeline = train(config(tmp_path, (1, 1), noise=noise, steps=1), data)
    whole = [level[:1] for level in data.train.levels]

    def drawn(**how: object) -> tuple[torch.Tensor, ...]:
        how = {"num_inference_steps": 4, "output_type": "latent"} | how
        pipeline.set_progress_bar_config(disable=True)
        return pipeline(generator=generator(), **how).frames

    same = drawn(similar_to=x, strength=0.0, levels=2)
    kept = pipeline.denoiser.trimmed(whole)
    for level, wanted in zip(same, kept, strict=True):
        torch.testing.assert_close(level, wanted, atol=1e-5, rtol=1e-5)
    coarse, free = drawn(similar_to=x, strength=0.0), drawn()
    torch.testing.assert_close(coarse[0], same[0])
    assert not torch.allclose(coarse[1], same[1], atol=1e-3)
    torch.testing.assert_close(drawn(similar_to=x, strength=1.0)[0], free[0], atol=2e-3, rtol=2e-3)
    away = [float((drawn(similar_to=x, strength=s)[0] - same[0]).std()) for s in (0.25, 0.75)]
    assert 0 < away[0] < away[1]


def test_wrong_wishes_say_what_is_allowed(tmp_path) -> None:
    pipeline = train(config(tmp_path, (2,), steps=1), latents("voxel", 2))
    x = batch("voxel", SIZES["voxel"], 2)
    for wrong, said in (
        ({"levels": 1, "batch_size": 2}, "levels is 1; the stages .* first 2 levels: give 2"),
        ({"strength": -0.1, "batch_size": 2}, "strength is -0.1; give a number from 0"),
        ({"size": (16, 16, 16)}, "similar_to is of size"),
        ({"batch_size": 3}, "3 samples"),
        ({"windows": 2}, "trained without a past"),
    ):
        with pytest.raises(ValueError, match=said):
            pipeline(similar_to=x, **wrong)
    assert (
        pipeline(similar_to=x, batch_size=2, num_inference_steps=2, output_type="pt").frames.shape[
            0
        ]
        == 2
    )
