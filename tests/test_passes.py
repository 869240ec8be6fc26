"""What a pass says of its latents: the same from encoding as from the whole pass, per level."""

from __future__ import annotations

import pytest
import torch
from domains import VARIANTS, batch, ladder

from stlatent import Draw, Latents
from stlatent.model import choose, stream
from stlatent.model.kinds import EmaCodebook


@pytest.mark.parametrize("variant", VARIANTS)
def test_encoding_knows_what_the_whole_pass_knows(variant):
    model, x = ladder(variant), batch(variant)
    alone, whole = model.encode(x), model(x).latents
    for name in ("levels", "log_stds", "stds", "rates", "kl", "group_kl"):
        pairs = zip(getattr(alone, name), getattr(whole, name), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs), name
    assert alone.indices == (None,) * 3 and alone.size == tuple(x.shape[2:])


@pytest.mark.parametrize("variant", VARIANTS)
def test_rates_add_up_and_have_the_shape_of_their_level(variant):
    model, x = ladder(variant), batch(variant)
    found = model.encode(x)
    parts = zip(found.levels, found.rates, found.kl, found.group_kl, found.stds, strict=True)
    for level, (z, rate, kl, group_kl, std) in enumerate(parts):
        assert rate.shape == (len(z), 1, *z.shape[2:]) and std.shape == z.shape
        assert kl.shape == z.shape[:2] and group_kl.shape == (len(z), model.levels[level].groups)
        for total in (kl.sum(1), group_kl.sum(1)):
            assert torch.allclose(rate.flatten(1).sum(1), total, rtol=1e-4)


def test_codes_have_indices_and_no_deviation():
    pytest.importorskip("vector_quantize_pytorch")
    model = ladder("image")
    config = model.config
    coarse = config.levels[0].model_copy(update={"codebook": EmaCodebook(size=16)})
    levels = (coarse, *config.levels[1:])
    coded = type(model)(config.model_copy(update={"levels": levels})).eval()
    found = coded.encode(batch("image"))
    assert found.stds[0] is None and found.indices[1] is None
    assert found.indices[0].shape == (2, 1, *found.levels[0].shape[2:])
    assert found.indices[0].dtype == torch.int64 and found.stds[1] is not None


def test_latents_that_were_moved_are_the_means_of_what_is_recentred():
    model, x = ladder("image"), batch("image")
    generator = torch.Generator().manual_seed(0)
    drawn = model.encode(x, Draw(generator=generator))
    moved = drawn.recentred()
    for step, z in zip(moved.steps, (s.z for s in drawn.steps), strict=True):
        assert torch.equal(step.posterior.mean, z)
    assert all(torch.equal(a, b) for a, b in zip(moved.stds, drawn.stds, strict=True))
    assert not torch.equal(moved.rates[0], drawn.rates[0])


def test_a_chunk_says_the_same():
    model, x = ladder("video"), batch("video", (9, 20, 18), 1)
    found, _ = stream.encode_chunk(model, x)
    for a, b in zip(found.rates, model.encode(x).rates, strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-4)


def test_latents_are_a_value_of_their_own_once_they_are_moved():
    """What is known of latents does not outlive them."""
    found = ladder("image").encode(batch("image"))
    assert type(found.to("cpu")) is Latents
    assert torch.equal(
        ladder("image").decode(found, draw=choose.mean), ladder("image").decode(found.to("cpu"))
    )
