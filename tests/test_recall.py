"""Priors that remember: what they change and what they leave alone, in every domain with time."""

import copy
import io

import pytest
import torch
from domains import SIZES, batch, config, ladder
from test_bitstream import read, written
from test_train import TINY, metrics, options
from test_train import videos as _videos

import stlatent
from stlatent import Draw, Ladder, Latents, train
from stlatent.bits.bitstream import make_coding
from stlatent.bits.decoder import read_clip
from stlatent.bits.quantise import STEP
from stlatent.media.video.clips import centre_clip
from stlatent.model import stream
from stlatent.model.choose import whole
from stlatent.model.domains import DOMAINS
from stlatent.model.fingerprint import priors_fingerprint
from stlatent.model.gaussian import Gaussian
from stlatent.model.passes import Encoded
from stlatent.model.past import Past

videos = _videos  # a fixture
IN_TIME = [name for name in SIZES if DOMAINS[name].causal is not None]
LENGTH = {"video": 25, "audio": 65, "volumes": 13}  # a first step and three units or more


def pair(domain: str, threshold: float = 0.0) -> tuple[Ladder, Ladder]:
    """The same model without memory and with."""
    forgetful = ladder(domain)
    torch.manual_seed(0)
    memory = {"recall": 2, "recall_threshold": threshold}
    remembering = Ladder(config(domain, **memory)).eval().requires_grad_(False)
    remembering.load_state_dict({**remembering.state_dict(), **forgetful.state_dict()})
    for part in remembering.recalls.parameters():
        part += 0.02 * torch.randn_like(part)
    return forgetful, remembering


def clip(domain: str, count: int = 1, still: bool = False) -> torch.Tensor:
    x = batch(domain, (LENGTH[domain], *SIZES[domain][1:]), count)
    return x[:, :, :1].expand_as(x).clone() if still else x


def by_unit(model: Ladder, latents: Encoded) -> torch.Tensor:
    """Nats of each unit of a stream."""
    unit, total = model.levels[0].stride[0], 0
    for level, rates in zip(model.levels, latents.rates, strict=True):
        later = (
            rates[:, :, 1:].unflatten(2, (-1, unit // level.stride[0])).flatten(3).sum((0, 1, 3))
        )
        total = total + torch.cat([rates[:, :, :1].sum()[None], later])
    return total


@pytest.mark.parametrize("domain", IN_TIME)
@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_latents_decoder_and_fingerprint_are_those_of_the_model_without(domain, threshold):
    (forgetful, remembering), x = pair(domain, threshold), clip(domain)
    first, second = forgetful.encode(x), remembering.encode(x)
    assert all(map(torch.equal, first.levels, second.levels))
    assert all(map(torch.equal, first.stds, second.stds))
    for levels in (1, 2, 3):
        assert torch.equal(forgetful.decode(first, levels), remembering.decode(first, levels))
    assert stlatent.fingerprint(forgetful) == stlatent.fingerprint(remembering)
    assert priors_fingerprint(forgetful) is None
    before = priors_fingerprint(remembering)
    remembering.recalls[0][0].out.bias += 1
    assert priors_fingerprint(remembering) not in (None, before)
    assert stlatent.fingerprint(forgetful) == stlatent.fingerprint(remembering)
    assert priors_fingerprint(pair(domain, 0.25)[1]) not in (None, before)
    remembering.top += 1
    assert stlatent.fingerprint(forgetful) != stlatent.fingerprint(remembering)


@pytest.mark.parametrize("domain", IN_TIME)
@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_what_is_walked_is_what_is_given_in_one_pass(domain, threshold):
    """The prior of every unit is the same, whether the units come one by one or all at once."""
    _, model = pair(domain, threshold)
    walked = []

    def walking(site, posterior, prior):
        parts = []

        def pick(part, cut):
            parts.append(part)
            return cut(posterior.mean)

        z = prior.walk(pick)
        assert len(parts) > 3 and torch.equal(z, posterior.mean)
        walked.append((torch.cat([p.mean for p in parts], 2), torch.cat([p.std for p in parts], 2)))
        return z

    for (mean, std), step in zip(walked, model.encode(clip(domain), walking).steps, strict=True):
        assert ((mean - step.prior.mean).abs() < 1e-4 * (1 + mean.abs())).all()
        assert ((std - step.prior.std).abs() < 1e-4 * step.prior.std).all()


@pytest.mark.parametrize("domain", IN_TIME)
@pytest.mark.parametrize(("length", "threshold"), [(1, 0.0), (5, 0.0), (9, 0.0), (5, 0.5)])
def test_rates_and_draws_of_a_stream_are_those_of_one_piece(domain, length, threshold):
    _, model = pair(domain, threshold)
    x = clip(domain)
    whole, state, pieces = model.encode(x), None, []
    for start in range(0, x.shape[2], length):
        part, state = stream.encode_chunk(model, x[:, :, start : start + length], state)
        pieces += [part.rates] if part.steps else []
    pieces += [end.rates] if (end := stream.encode_end(model, state)[0]).steps else []
    for rates, parts in zip(whole.rates, zip(*pieces, strict=True), strict=True):
        assert (torch.cat(parts, 2) - rates).abs().max() < 1e-3 * rates.abs().max()
    coldest = Draw(0.0)  # no noise, but every unit follows from those before
    expected = model.decode(Latents(whole.levels[:1], whole.size), draw=coldest)
    assert not torch.allclose(expected, model.decode(Latents(whole.levels[:1], whole.size)))
    state, frames = None, []
    for start in range(0, whole.levels[0].shape[2], length):
        piece = [whole.levels[0][:, :, start : start + length]]
        more, state = stream.decode_chunk(model, piece, x.shape[3:], state, coldest)
        frames.append(more)
    decoded = torch.cat(frames, 2)[:, :, : x.shape[2]]
    assert (decoded - expected).abs().max() < 1e-3 * expected.abs().max()


@pytest.mark.parametrize("domain", IN_TIME)
def test_a_prior_sees_the_units_before_and_nothing_else_of_its_level(domain):
    _, model = pair(domain)
    latents = model.encode(clip(domain))
    axis, h = (
        2,
        [
            torch.randn(1, level.width, *z.shape[2:])
            for level, z in zip(model.levels, latents.levels)
        ],
    )
    for level, (features, recalls) in enumerate(zip(h, model.recalls)):
        recall, unit = recalls[0], model.levels[0].stride[0] // model.levels[level].stride[0]
        prior = Gaussian(*torch.randn(2, 1, model.levels[level].latent, *features.shape[2:]))
        z = torch.randn_like(prior.mean)
        changed = z.clone()
        changed[:, :, 1 + unit : 1 + 2 * unit] += 1  # the second whole unit
        told = [recall(prior, features, Past()).given(one).mean for one in (z, changed)]
        moved = [
            not torch.equal(a, b)
            for a, b in zip(*(m.narrow(axis, 1, m.shape[axis] - 1).split(unit, axis) for m in told))
        ]
        assert moved[:4] == [False, False, True, True][: len(moved)]
        assert torch.equal(told[0][:, :, 0], told[1][:, :, 0])


@pytest.mark.parametrize("domain", IN_TIME)
def test_what_stands_still_is_cheaper_from_the_first_step_on(domain):
    torch.manual_seed(0)
    model = Ladder(config(domain, recall=2)).eval().requires_grad_(False)
    twin = Ladder(config(domain)).eval().requires_grad_(False)
    twin.load_state_dict({k: v for k, v in model.state_dict().items() if "recalls" not in k})
    with_memory, without = (by_unit(m, m.encode(clip(domain, still=True))) for m in (model, twin))
    assert with_memory[-1] < 0.9 * without[-1]
    assert abs(with_memory[0] - without[0]) < 0.02 * without[0]  # of the first nothing is known


@pytest.mark.parametrize("domain", IN_TIME)
def test_a_mean_that_hardly_changes_is_what_the_unit_before_ended_with(domain):
    """To the last digit, or what is told in rounded steps would drift."""
    _, model = pair(domain)
    for level, recalls in zip(model.levels, model.recalls, strict=True):
        unit = model.levels[0].stride[0] // level.stride[0]
        grid = (1 + 3 * unit, *[2] * (len(level.stride) - 1))
        prior = Gaussian(*torch.randn(2, 1, level.latent, *grid))
        h, z = torch.randn(1, level.width, *grid), torch.randn_like(prior.mean)
        drifting = recalls[0](prior, h, Past()).given(z).cut(whole)
        recalls[0].threshold = 0.5
        held = recalls[0](prior, h, Past()).given(z)
        before = z[:, :, [i // unit * unit for i in range(3 * unit)]]
        change, least = drifting.mean[:, :, 1:] - before, 0.5 * drifting.std[:, :, 1:]
        expected = before + change.sign() * (change.abs() - least).clamp(min=0)
        assert torch.allclose(held.mean[:, :, 1:], expected, atol=1e-5)
        still = held.mean[:, :, 1:] == before
        assert torch.equal(still, change.abs() <= least) and 0 < still.float().mean() < 1
        assert torch.equal(held.log_std, drifting.log_std)
        assert torch.equal(held.mean[:, :, 0], drifting.mean[:, :, 0])  # nothing was before


def test_a_threshold_without_memory_is_refused():
    with pytest.raises(ValueError, match="no prior remembers: give recall"):
        config("video", recall_threshold=0.5)


def test_bits_are_those_of_priors_that_remember():
    """Read back exactly, at the size that the priors promise; a still clip is told in fewer bits
    than by a model without memory."""
    pytest.importorskip("constriction")
    forgetful, model = pair("video")
    x = clip("video")
    codes = written(model, x, cuts=(9, 3))
    for k in range(1, 4):
        found = read(model, codes[:k], x.shape[2:])
        assert all(map(torch.equal, found, [code.latents for code in codes[:k]]))
    for code in codes:
        assert 0.9 * code.bits < 8 * len(code.stream) < 1.1 * code.bits + 4000
    with pytest.raises(ValueError, match="priors that remember.*give the model that encoded"):
        read_clip_of(forgetful, codes, make_coding(model, [STEP]), x)
    other = copy.deepcopy(model)
    other.recalls[1][0].out.bias += 0.1
    with pytest.raises(ValueError, match="priors that remember.*give the model that encoded"):
        read_clip_of(other, codes, make_coding(model, [STEP]), x)


def test_bits_of_a_model_without_memory_are_read_by_the_same_one_with_it():
    pytest.importorskip("constriction")
    forgetful, model = pair("video")
    x = clip("video")
    codes, coding = written(forgetful, x), make_coding(forgetful, [STEP])
    assert coding.priors is None
    for z, code in zip(read_clip_of(model, codes, coding, x), codes, strict=True):
        assert torch.equal(z, code.latents)


def read_clip_of(model, codes, coding, x):
    files = [io.BytesIO(code.stream) for code in codes]
    return [
        torch.cat(z, 2) for z in zip(*read_clip(model, coding, x.shape[2:], files), strict=True)
    ]


def test_memory_is_trained_alone_on_a_model_without(videos, tmp_path):
    """Latents, decoder and fingerprint stay; the rate falls."""
    recall = {"data.frames": 17, "data.validation.frames": 17, "model.recall": 2}
    train.run(TINY, options(videos, tmp_path / "first", steps=3))
    begun = stlatent.load(tmp_path / "first")
    begun.top[0] = -0.0  # which averaging could turn into 0
    stlatent.save(begun, tmp_path / "first" / "last" / "model.safetensors")
    (tmp_path / "first" / "best").rename(tmp_path / "first" / "other")
    more = {"start": tmp_path / "first", "only_recall": "true", "steps": 40} | recall
    train.run(TINY, options(videos, tmp_path / "second", **more, **{"optimiser.lr": 2e-3}))
    first, second = (stlatent.load(tmp_path / name / "last") for name in ("first", "second"))
    assert stlatent.fingerprint(first) == stlatent.fingerprint(second)
    assert priors_fingerprint(second) != priors_fingerprint(Ladder(second.config))
    lines = [line for line in metrics(tmp_path / "second") if "validation_psnr_db" in line]
    assert lines[0]["validation_psnr_db"] == lines[-1]["validation_psnr_db"]
    assert sum(lines[-1]["validation_bits_per_value"]) < sum(lines[0]["validation_bits_per_value"])
    train.run(TINY, options(videos, tmp_path / "third", **more | {"start": tmp_path / "second"}))
    claiming = {"start": tmp_path / "first", "only_decoder": "true", "steps": 1}
    train.run(TINY, options(videos, tmp_path / "sharper", **claiming))
    again = more | {"start": tmp_path / "sharper", "steps": 1}
    train.run(TINY, options(videos, tmp_path / "fourth", **again))
    found = [stlatent.load(tmp_path / name) for name in ("first", "sharper", "fourth")]
    assert len({*map(stlatent.fingerprint, found)}) == 1 and found[-1].config.recall
    with pytest.raises(ValueError, match="give both"):
        train.run(TINY, options(videos, tmp_path / "no", only_recall="true", **recall))


def test_memory_of_a_model_for_all_rates_is_trained_on_what_is_written(videos, tmp_path):
    """As it is entropy-coded, and at every λ: real bits fall, of a clip that it did not see."""
    model = {"model.rate.range": [0.003, 0.1], "model.posterior.kind": "rounded"}
    model |= {"model.recall": 2, "model.recall_threshold": 0.5, "data.frames": 17}
    train.run(TINY, options(videos, tmp_path / "first", steps=2, **model))
    more = {"start": tmp_path / "first", "only_recall": "true", "steps": 150, "seed": 1} | model
    train.run(TINY, options(videos, tmp_path / "second", **more, **{"optimiser.lr": 3e-3}))
    first, second = (stlatent.load(tmp_path / name / "last") for name in ("first", "second"))
    assert stlatent.fingerprint(first) == stlatent.fingerprint(second)
    x, _ = centre_clip(videos / "held.mp4", (13, 64, 64))
    for weight in (0.003, 0.1):
        codes = (written(model.at_rate(weight), x) for model in (first, second))
        found = [sum(code.bits.item() for code in one) for one in codes]
        assert found[1] < 0.99 * found[0]


@pytest.mark.parametrize("domain", [name for name in SIZES if name not in IN_TIME])
def test_without_time_there_is_nothing_to_remember(domain):
    with pytest.raises(ValueError, match="domain with time, so leave it out"):
        config(domain, recall=1)
