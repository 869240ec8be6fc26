"""Any cell with any posterior, Gaussian or of codes, over any domain."""

import itertools

import pytest
import torch
from domains import SIZES, STRIDES, batch

from stlatent import Draw, Ladder, Latents, Level, ModelConfig, Stage
from stlatent.model import stream
from stlatent.model.codebook import vectors
from stlatent.model.config import parse
from stlatent.model.gaussian import Gaussian
from stlatent.model.kinds import (
    CellConfig,
    EmaCodebook,
    FsqCodebook,
    GaussianConfig,
    LfqCodebook,
)
from stlatent.model.posteriors import KINDS
from stlatent.model.strict import kinds_of

BOOKS = {
    "ema": EmaCodebook(size=16),
    "deep": EmaCodebook(size=8, depth=3),
    "fsq": FsqCodebook(steps=(3, 4, 5)),
    "lfq": LfqCodebook(size=16),
}
CELLS = kinds_of(CellConfig)
COMBINATIONS = list(itertools.product(SIZES, CELLS, [*KINDS, "ema"]))


def family(domain: str, cell: str, kind: str) -> Ladder:
    """Two levels, the finer one of two groups, with weights that are anything but zero."""
    coarse, fine, stem = STRIDES[domain][1:]
    level = {"width": 16, "latent": 4, "blocks": 1, "codebook": BOOKS.get(kind)}
    config = ModelConfig(
        domain=domain,
        stem=Stage(stride=stem, width=12, blocks=1),
        levels=(Level(stride=coarse, **level), Level(stride=fine, groups=2, **level)),
        cell=cell,
        posterior=kind if kind in KINDS else "residual",
    )
    torch.manual_seed(0)
    model = Ladder(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


@pytest.mark.parametrize("domain, cell, kind", COMBINATIONS)
def test_it_codes_and_learns(domain, cell, kind):
    model, x = family(domain, cell, kind), batch(domain)
    out = model(x, Draw())
    loss = out.x.square().mean() + sum(kl.mean() for kl in out.latents.kl) + out.latents.penalty
    loss = loss + sum(p.square().mean() for p in out.previews)
    loss.backward()
    missing = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing and torch.isfinite(loss)
    model.eval().requires_grad_(False)
    latents = model.encode(x)
    assert torch.equal(model.decode(latents), model(x).x)
    coarse = model.decode(latents, 1)
    assert coarse.shape == x.shape and not torch.allclose(coarse, model.decode(latents))
    noisy = Latents((latents.levels[0], latents.levels[1] + 1), latents.size)
    assert torch.equal(coarse, model.decode(noisy, 1))
    assert model.sample(x.shape[2:], 1, generator=torch.Generator().manual_seed(0)).isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_posterior_is_as_noisy_as_asked_for(kind):
    """And where it is as noisy as its prior, its deviation costs no bits."""
    spread = {}
    for log_noise in (None, -3.0, 0.0):
        torch.manual_seed(0)
        config = family("image", "convnext", kind).config
        noise = {} if log_noise is None else {"log_noise": log_noise}
        update = {"posterior": GaussianConfig(kind=kind, **noise)}
        steps = Ladder(config.model_copy(update=update))(batch("image")).latents.steps
        ratios = [step.posterior.log_std - step.prior.log_std for step in steps]
        spread[log_noise] = torch.cat([ratio.flatten() for ratio in ratios]).mean().item()
    assert spread[None] == spread[-3.0] == pytest.approx(-2.8, abs=0.3)
    assert spread[0.0] == pytest.approx(-0.35 if kind == "precision" else 0.0, abs=0.15)


@pytest.mark.parametrize("cell, kind", list(itertools.product(CELLS, [*KINDS, "ema"])))
def test_it_streams(cell, kind):
    """So nothing looks ahead, be it by squeezing, by batch statistics or by a neighbour."""
    model, x = family("video", cell, kind).eval().requires_grad_(False), batch("video", count=1)
    state, pieces = None, []
    for start in range(0, x.shape[2], 5):
        latents, state = stream.encode_chunk(model, x[:, :, start : start + 5], state)
        pieces.append(latents.levels)
    pieces.append(stream.encode_end(model, state)[0].levels)
    for parts, whole in zip(zip(*pieces, strict=True), model.encode(x).levels, strict=True):
        assert (torch.cat(parts, 2) - whole).abs().max() < 1e-4


@pytest.mark.parametrize("kind", BOOKS)
def test_codes_are_what_the_table_says(kind):
    model, x = family("image", "convnext", kind), batch("image")
    model.eval().requires_grad_(False)
    for step in model(x).latents.steps:
        book = model.cells[step.site.level][step.site.group].posterior.codebook
        table = book.table()
        assert table.shape == (book.depth, book.size, 4)
        assert torch.allclose(vectors(step.posterior.indices, table), step.z, atol=1e-5)
        assert step.posterior.indices.shape[1] == book.depth
        # a prior's probabilities of all codes sum to one, and its mean is their mean
        p = step.prior.logits.softmax(2)
        assert torch.allclose(p.sum(2), torch.ones_like(p.sum(2)))
        draws = [step.prior.sample(torch.Generator().manual_seed(i)) for i in range(400)]
        spread = torch.stack(draws).std(0) / 20
        offset = (torch.stack(draws).mean(0) - step.prior.mean).abs()
        assert (offset <= 6 * spread + 1e-4).all()
        cold = step.prior.sample(temperature=0)
        assert torch.equal(cold, vectors(p.argmax(2), table))


def test_codes_cost_what_the_prior_thinks_of_them():
    model, x = family("image", "convnext", "deep"), batch("image")
    out = model(x)
    for step in out.latents.steps:
        log_p = step.prior.logits.log_softmax(2)
        expected = -log_p.gather(2, step.posterior.indices.unsqueeze(2)).squeeze(2)
        assert torch.allclose(step.posterior.kl(step.prior), expected, atol=1e-5)
    assert [kl.shape for kl in out.latents.kl] == [(2, 3), (2, 6)]


def test_a_codebook_learns_and_restarts_what_lies_idle():
    torch.manual_seed(0)
    model, x = family("image", "convnext", "ema"), batch("image", (64, 64), 4)
    book = model.cells[0][0].posterior.codebook
    before = book.table().clone()
    used = set()
    for _ in range(30):
        codes = model(x).latents.steps[0].posterior
        used |= set(codes.indices.unique().tolist())
    assert not torch.allclose(before, book.table())
    assert len(used) > 8  # of 16, on 16 positions an image


def test_dropped_paths_leave_the_stream_alone():
    config = family("video", "convnext", "residual").config
    model = Ladder(config.model_copy(update={"drop_path": 0.999999}))
    with torch.no_grad():
        for p in model.parameters():
            p += 0.1 * torch.randn_like(p)
    linear = Ladder(config)
    linear.load_state_dict(model.state_dict())
    with torch.no_grad():  # a branch of zero is a dropped one
        for name, p in linear.named_parameters():
            if ".narrow." in name or "attention" in name:
                p.zero_()
    x = batch("video", (9, 16, 16))
    assert torch.allclose(model.train()(x).x, linear.eval()(x).x, atol=1e-5)
    assert not torch.allclose(model.eval()(x).x, linear(x).x, atol=1e-3)


def test_the_precision_weighted_merge_is_the_product_of_two_densities():
    a, b = (Gaussian(torch.randn(64), torch.randn(64)) for _ in range(2))
    z = torch.linspace(-3, 3, 7)[:, None].expand(-1, 64)
    ratio = a.log_prob(z) + b.log_prob(z) - (a * b).log_prob(z)
    assert torch.allclose(ratio, ratio[:1].expand_as(ratio), atol=1e-3 * ratio.abs().max())
    normal = torch.distributions.Normal(a.mean, a.std)
    assert torch.allclose(a.log_prob(z), normal.log_prob(z), rtol=1e-4, atol=1e-4)
    # where one says nothing, the other stands
    vague = Gaussian(torch.zeros(64), torch.full((64,), 6.0))
    assert torch.allclose((a * vague).mean, a.mean, atol=0.02)


@pytest.mark.parametrize(
    "book, words",
    [
        ({"kind": "fsq", "depth": 2}, "codebook.depth is 2, but nothing"),
        ({"kind": "lfq", "size": 100}, "such as 64"),
        ({"kind": "vq"}, "'vq' is none of ema, fsq, lfq"),
        ({"sise": 4}, "nearest valid key is 'size'"),
    ],
)
def test_a_wrong_codebook_is_explained(book, words):
    level = {"stride": [8, 8], "width": 8, "latent": 4, "codebook": book}
    config = {"domain": "image", "levels": [level], "stem": {"stride": [4, 4], "width": 8}}
    with pytest.raises(ValueError, match=words):
        parse(ModelConfig, config, "test")
