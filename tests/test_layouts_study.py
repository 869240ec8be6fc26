"""Parts of the studies of latents' layouts and tails that can be wrong without anyone noticing."""

from __future__ import annotations

import pytest
import torch
from domains import SIZES, config, ladder
from layouts import SOFT, Softening, statistics
from real_clips import sides
from tails import Noisy, Units, bounded_means, noisy
from test_codec import write_video

from stlatent.evaluate.latents import LatentFigures, level_channels


def heavy(domain: str) -> list[torch.Tensor]:
    """Latents `[4, C_l, *grid_l]` of heavy tails."""
    draws = torch.Generator().manual_seed(0)
    shapes = ladder(domain).latent_shape(SIZES[domain])
    return [torch.randn(4, *shape, generator=draws) ** 3 for shape in shapes]


def kurtosis(z: torch.Tensor) -> float:
    values = z.double().movedim(1, 0).flatten(1)
    values = (values - values.mean(1, keepdim=True)) / values.std(1, keepdim=True)
    return values.pow(4).mean().item()


@pytest.mark.parametrize("domain", SIZES)
def test_softened_latents_come_back_and_have_lighter_tails(domain):
    levels = heavy(domain)
    soft = Softening(levels, True)
    there = soft.there(levels)
    for z, softened, back in zip(levels, there, soft.back(there), strict=True):
        torch.testing.assert_close(back, z, rtol=1e-4, atol=SOFT * 1e-4)
        assert kurtosis(softened) < 4 < kurtosis(z)
    assert all(map(torch.equal, Softening(levels, False).there(levels), levels))


@pytest.mark.parametrize("change", [noisy, bounded_means])
def test_ways_of_training_keep_to_their_bounds(change):
    levels = [one.model_copy(update={"groups": 1}) for one in config("video").levels]
    model = ladder("video", levels=tuple(levels))  # as the shipped one, a group per level
    count = level_channels(model)
    figures = [tuple((v,) * n for n in count) for v in (0.1, 0.01)]  # so that all is beyond it
    units = Units(LatentFigures(mean=figures[0], std=figures[1]))
    x = torch.rand(1, 3, *SIZES["video"]) * 2 - 1
    before = model.encode(x).levels
    change(model, units)
    found = model.eval().encode(x).levels
    if change is noisy:
        assert all(isinstance(cell, Noisy) for cells in model.cells for cell in cells)
        assert all(map(torch.equal, before, found))  # what is in use has no noise
        assert not torch.equal(model.train()(x).x, model.eval()(x).x)
    else:
        assert max(z.abs().max() for z in map(units.of, range(3), before)) > 6
        assert max(z.abs().max() for z in map(units.of, range(3), found)) <= 6.001


def test_statistics_know_scales_and_grain():
    z = [torch.randn(3, 2, 4, 6, 6)]
    one, large = statistics(z), statistics([2 * z[0]])
    assert one.shape == (3, 4 * 2) and torch.allclose(large, 2 * one)
    smooth = statistics([z[0].mean(-1, keepdim=True).expand_as(z[0])])
    assert (smooth[:, 4:6] < 1e-6).all()


def test_held_out_videos_must_be_there(tmp_path):
    write_video(tmp_path / "another.mp4", (3, 32, 32))
    with pytest.raises(ValueError, match="none of the held-out videos"):
        sides(tmp_path)
