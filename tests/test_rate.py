"""λ as an input: one model for all rates, at the rate that is chosen, wherever its latents go."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from domains import batch, config, ladder
from PIL import Image
from test_jobs import content

from stlatent import Ladder, checkpoint
from stlatent.bits.bitstream import known_steps, make_coding
from stlatent.bits.coding import Target
from stlatent.bits.decoder import read_clip
from stlatent.bits.encoder import StreamEncoder
from stlatent.bits.quantise import STEP
from stlatent.bits.search import CANDIDATES
from stlatent.jobs.decode import decode_store
from stlatent.jobs.encode import encode_folder
from stlatent.jobs.options import EncodeOptions
from stlatent.jobs.verify import verify_store
from stlatent.losses.elbo import LossConfig
from stlatent.media.coder import TiledDecoder
from stlatent.media.metrics import psnr
from stlatent.media.video.clips import centre_clip
from stlatent.model.fingerprint import fingerprint
from stlatent.model.gaussian import Gaussian, Rounded
from stlatent.model.latents import Latents
from stlatent.model.rates import RateRange
from stlatent.model.stream import decode_chunk, encode_chunk, encode_end
from stlatent.store.reader import LatentStore
from stlatent.train.config import OptimiserConfig, RunConfig
from stlatent.train.fit import fit

RANGE = (0.002, 0.1)
RATES = RateRange(range=RANGE)
DOMAINS = ["image", "video", "audio", "voxel", "volumes", "triplane"]


def new(variant: str, **changes) -> Ladder:
    torch.manual_seed(0)
    return Ladder(config(variant, **changes)).eval().requires_grad_(False)


@pytest.mark.parametrize("cell", ["convnext", "nvae", "vdvae"])
@pytest.mark.parametrize("variant", DOMAINS)
def test_a_new_model_that_takes_it_is_the_one_that_does_not(variant, cell):
    plain, dialled = new(variant, cell=cell), new(variant, cell=cell, rate=RATES)
    x, weights = batch(variant), torch.tensor(RANGE)
    assert torch.equal(dialled(x, rate_weights=weights).x, plain(x).x)
    assert fingerprint(plain) != fingerprint(dialled)


@pytest.mark.parametrize("variant", DOMAINS)
def test_each_sample_is_told_its_own(variant):
    model, x = ladder(variant, rate=RATES, posterior="rounded"), batch(variant)
    both = model(x, rate_weights=torch.tensor(RANGE))
    for k, weight in enumerate(RANGE):
        alone = model.at_rate(weight)(x[k : k + 1])
        torch.testing.assert_close(both.x[k : k + 1], alone.x, rtol=1e-3, atol=1e-3)
    again = model(x, again=torch.tensor([False, True]), rate_weights=torch.tensor(RANGE))
    torch.testing.assert_close(again.x, both.x[[0, 1, 1]], rtol=1e-3, atol=1e-3)
    assert not torch.allclose(model.at_rate(RANGE[0])(x).x, model.at_rate(RANGE[1])(x).x)
    assert torch.equal(model(x).x, model.at_rate(RATES.middle)(x).x)


def test_streams_follow_it():
    model, x = ladder("video", rate=RATES).at_rate(RANGE[1]), batch("video", count=1)
    whole, state, pieces = model.encode(x), None, []
    for chunk in x.split(5, 2):
        encoded, state = encode_chunk(model, chunk, state)
        pieces += [encoded] if encoded.levels[0].shape[2] else []
    pieces.append(encode_end(model, state)[0])
    for k, level in enumerate(whole.levels):
        parts = torch.cat([piece.levels[k] for piece in pieces], 2)
        torch.testing.assert_close(parts, level, rtol=1e-3, atol=1e-3)
    frames, _ = decode_chunk(model, whole.levels, x.shape[3:])
    decoded = model.decode(whole)
    torch.testing.assert_close(frames[:, :, : x.shape[2]], decoded, rtol=1e-3, atol=1e-3)


def test_a_step_costs_what_the_prior_has_in_it():
    """The quadrature is near the mean over many draws, and far out it is still finite."""
    many = torch.zeros(1, 1, 20000)
    for offset, log_std in ((0.4, -1.0), (0.0, 0.5), (3.0, 0.0)):
        prior, rounded = Gaussian(many, many + log_std), Rounded(many + offset, many - 0.5)
        z = rounded.sample(torch.Generator().manual_seed(0))
        assert (z - offset).abs().max() <= rounded.std.max() * 12**0.5 / 2
        edges = z + rounded.std * 12**0.5 * torch.tensor([[[-0.5]], [[0.5]]])
        lower, upper = torch.special.ndtr(edges / prior.std[0]).double()
        mean = -(upper - lower).log().mean()
        assert rounded.kl(prior)[0, 0, 0] == pytest.approx(mean.item(), rel=0.15)
    far = torch.tensor([1e3], requires_grad=True)
    nats = Rounded(far, torch.zeros(1)).kl(Gaussian(torch.zeros(1), torch.zeros(1)))
    nats.backward()
    assert nats.isfinite() and far.grad > 100


def test_training_teaches_that_bits_cost_more_or_less():
    """One short fit, over the whole range; both ends read the same bits back."""
    torch.manual_seed(0)
    model, x = Ladder(config("image", rate=RATES, posterior="rounded", likelihood="mse")), []
    axes = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    for wave in range(3, 19):
        x.append(torch.stack([torch.sin((axes[0] * k + axes[1]) / wave) for k in range(3)]))
    x = 0.8 * torch.stack(x) + 0.2 * torch.rand(16, 3, 32, 32)
    loss = LossConfig(prefix={"share": 0.2})
    optimiser = OptimiserConfig(lr=3e-3, warmup_steps=5)
    found = fit(model, [x[:8], x[8:]], loss, optimiser, steps=60).model
    sizes, errors = [], []
    for weight in (RANGE[0], RATES.middle, RANGE[1]):
        at, coding = found.at_rate(weight), make_coding(found, [STEP])
        one = x[:1].clamp(-1, 1)
        codes = StreamEncoder(at, one.shape[2:], coding).push(one)
        files = [io.BytesIO(code.stream) for code in codes]
        (read,) = read_clip(at, coding, one.shape[2:], files)
        assert all(torch.equal(z, code.latents) for z, code in zip(read, codes, strict=True))
        sizes.append(sum(code.bits.item() for code in codes))
        decoded = at.decode(Latents(tuple(read), tuple(one.shape[2:])))
        errors.append(psnr(one, decoded).item())
    assert sizes[0] > 1.2 * sizes[1] > 1.44 * sizes[2]
    assert errors[0] > errors[1] > errors[2]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    for k in range(2):
        values = np.random.default_rng(k).integers(0, 255, (40, 56, 3), np.uint8)
        Image.fromarray(values).save(root / f"{k}.png")
    return root


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    model = new("image", rate=RATES, posterior="rounded")
    parts = ("heeded", "narrow")  # without which blocks are the identity
    for name, parameter in model.named_parameters():
        parameter += 0.1 * torch.randn_like(parameter) * any(part in name for part in parts)
    checkpoint.save(model, path)
    return path


@pytest.mark.parametrize("coded", [False, True])
def test_a_data_set_says_it_and_is_read_at_it(pictures, saved, coded, tmp_path):
    model = checkpoint.load(saved)
    options = EncodeOptions(rate_weight=RANGE[1], entropy_code=coded)
    encode_folder(model, pictures, tmp_path / "z", str(saved), options)
    store = LatentStore(tmp_path / "z")  # whose model is loaded, at the middle of its range
    assert store.manifest.rate_weight == RANGE[1] and not verify_store(tmp_path / "z")[2]
    if coded:
        *coarser, finest = store.manifest.coding.step
        assert {*coarser} == {STEP} and finest > STEP
    made = decode_store(model, store, tmp_path / "out", format="npy", precision="fp32")
    at = model.at_rate(RANGE[1])
    for name, path in zip(store.items, made, strict=True):
        shown = at.decode(store.read(name))
        assert np.abs(np.load(path)[0] - _uint8(shown)).max() <= 1
        assert np.abs(_uint8(model.decode(store.read(name))) - _uint8(shown)).max() > 1
    with pytest.raises(ValueError, match="rate-weight"):
        encode_folder(model, pictures, tmp_path / "z", str(saved), EncodeOptions())
    encode_folder(model, pictures, tmp_path / "usual", str(saved), EncodeOptions())
    assert LatentStore(tmp_path / "usual").manifest.rate_weight == pytest.approx(RATES.middle)


@pytest.mark.parametrize(
    "variant, posterior, psnr_db",
    [
        ("image", "rounded", 17.0),
        ("image", "residual", 15.0),
        ("video", "rounded", 17.0),
        ("video", "residual", 20.0),  # what moves is out of reach
        ("video-recall", "rounded", 17.0),
    ],
)
def test_a_target_chooses_it_chunk_by_chunk(variant, posterior, psnr_db, monkeypatch):
    """Of a still picture that begins to move, where there is time: what is decoded reaches it."""
    monkeypatch.setattr("stlatent.bits.bitstream.AIMED_PIXELS", 1)
    wide, target = RateRange(range=(0.002, 100.0)), Target(psnr_db=psnr_db)
    model = new(variant, rate=wide, posterior=posterior)
    x, axes = waves(model), model.domain
    coding = make_coding(model, [STEP], target, 2 if axes.has_time else None)
    encoder = StreamEncoder(model, axes.of_space(x.shape[2:]), coding)
    pieces = [piece for piece in (encoder.push(x), encoder.end()) if piece]
    codes = [encoder._together(parts) for parts in zip(*pieces, strict=True)]
    rates = [one.rate_weight for one in codes[0].told]
    assert {*rates} < {*wide.spaced(CANDIDATES)} and len({*rates}) > axes.has_time
    files = [io.BytesIO(code.stream) for code in codes]
    chunks = list(read_clip(model, coding, x.shape[2:], files, rates=rates))
    decoder = TiledDecoder(model, axes.of_space(x.shape[2:]))
    shown = [decoder.push(*pair) for pair in zip(chunks, rates, strict=True)]
    for code, level in zip(codes, zip(*chunks, strict=True), strict=True):
        assert torch.equal(axes.joined(level), code.latents)
    assert all(one.psnr_db >= psnr_db for one in codes[0].told if one.rate_weight > 0.002)
    shown = axes.joined(shown) if axes.has_time else shown[0]
    least = min(psnr_db, *(one.psnr_db for one in codes[0].told))
    assert psnr(x, axes.steps(shown, 0, 25) if axes.has_time else shown).item() >= least - 1e-3
    with pytest.raises(ValueError, match="its record lacks chunk|priors of level|a level ends"):
        files = [io.BytesIO(code.stream) for code in codes]
        list(read_clip(model, coding, x.shape[2:], files, rates=[wide.middle] * 2))


def waves(model: Ladder) -> torch.Tensor:
    """`[1, 3, *size]`: they stand still, and then they move."""
    size = (*[25] * model.domain.has_time, 40, 56)
    axes = [*torch.meshgrid(*map(torch.arange, size), indexing="ij")]
    if model.domain.has_time:
        axes[0] = (axes[0] - 8).clamp(min=0)
    return torch.stack([torch.sin(sum(axes) / wave) for wave in (15, 20, 30)])[None].float()


def test_a_data_set_of_chosen_rates_is_read_and_written_like_others(pictures, saved, tmp_path):
    model, aim = checkpoint.load(saved), EncodeOptions(bits_per_pixel=2.0, unit_files=1)
    result = encode_folder(model, pictures, tmp_path / "z", str(saved), aim)
    assert not result.missed and not verify_store(tmp_path / "z")[2]
    store = LatentStore(tmp_path / "z")
    assert store.manifest.rate_weight is None and store.manifest.coding.rate_chosen
    made = decode_store(model, store, tmp_path / "out", format="npy", precision="fp32")
    for name, path in zip(store.items, made, strict=True):
        original, shown = np.asarray(Image.open(pictures / name), float), np.load(path)[0]
        (chunk,) = store.items[name].chunks
        found = 10 * np.log10(255**2 / np.mean((original - shown) ** 2))
        assert found == pytest.approx(chunk.psnr_db, abs=0.01)
        assert RANGE[0] < chunk.rate_weight < RANGE[1]
        at = model.at_rate(chunk.rate_weight)
        assert np.abs(shown - _uint8(at.decode(store.read(name)))).max() <= 1
    for part in ((1, 2), (0, 2)):
        encode_folder(model, pictures, tmp_path / "parts", str(saved), aim, shard=part)
    assert content(tmp_path / "parts") == content(tmp_path / "z")
    with pytest.raises(ValueError, match="encode without a target, or with --rate-weight"):
        store.manifest.check_one_rate()
    for given in (RATES.middle, RANGE[1]):  # the first one is usual, but where there is a target
        options, out = aim.model_copy(update={"rate_weight": given}), tmp_path / f"{given:.3f}"
        encode_folder(model, pictures, out, str(saved), options)
        manifest = LatentStore(out).manifest
        assert manifest.rate_weight == given and not manifest.coding.rate_chosen
    record = tmp_path / "z" / "units" / "00000.json"
    record.write_text(re.sub(r', ?"rate_weight": ?[0-9.e-]+', "", record.read_text()))
    with pytest.raises(ValueError, match="does not say at which λ"):
        LatentStore(tmp_path / "z")


def test_the_codec_that_ships_takes_no_more_than_a_fixed_price():
    """Of those that reach a target, and is no worse than those that keep to as many bits."""
    model = checkpoint.load("codec")
    x, _ = centre_clip(Path(__file__).parents[1] / "assets" / "clips" / "wolf.mp4", (1, 64, 64))
    x, rates, fixed = x[:, :, 0], model.config.rate, []
    for rate in rates.spaced(CANDIDATES)[::8]:
        at = model.at_rate(rate)
        codes = StreamEncoder(at, x.shape[2:], make_coding(at, [STEP])).push(x)
        shown = at.decode(Latents(tuple(code.latents for code in codes), tuple(x.shape[2:])))
        fixed.append((psnr(x, shown).item(), sum(8 * len(code.stream) for code in codes)))

    def aimed(**target: float) -> tuple[float, int]:
        coding = make_coding(model, [STEP], Target(**target))
        told = [
            one for code in StreamEncoder(model, x.shape[2:], coding).push(x) for one in code.told
        ]
        assert rates.range[0] < told[0].rate_weight < rates.range[1]
        return told[0].psnr_db, sum(one.bits for one in told)

    for decibels, bits in fixed[1:-1]:
        found = aimed(psnr_db=decibels - 0.01)
        assert found[0] >= decibels - 0.01 and found[1] <= bits + 8 * len(model.levels)
        found = aimed(bits_per_pixel=bits / 64**2 + 0.01)
        assert found[0] >= decibels - 0.01 and found[1] <= bits + 0.01 * 64**2


def _uint8(x: torch.Tensor) -> np.ndarray:
    return ((x[0].clamp(-1, 1) + 1) * 127.5).round().int().movedim(0, -1).numpy()


def test_what_does_not_take_it_refuses_it(pictures, tmp_path):
    for model, weight, said in (
        (new("image"), 0.01, "this model is for one price alone"),
        (new("image", rate=RATES), 0.5, r"0\.002 \(most bits\) to 0\.1"),
    ):
        with pytest.raises(ValueError, match=said):
            options = EncodeOptions(rate_weight=weight)
            encode_folder(model, pictures, tmp_path / "z", "m", options)
    assert not (tmp_path / "z").exists()
    with pytest.raises(ValueError, match=r"run at 0\.0141"):
        _ = new("image", rate=RATES).at_rate(RANGE[0]).exported
    with pytest.raises(ValueError, match="lower end first"):
        RateRange(range=(0.1, 0.002))
    model = config("image", rate=RATES)
    with pytest.raises(ValueError, match="loss.rate.weight is for a model for one price"):
        data = {"root": "photos", "crop": 64}
        RunConfig(model=model, data=data, out="run", loss={"rate": {"weight": 0.02}})


@pytest.mark.parametrize("variant", ["image", "video"])
def test_steps_that_follow_from_it_are_not_written(variant):
    """Prefixes, keys and targets read them from the model, over chunks and groups."""
    x = batch(variant, count=1)
    axes, size = ladder(variant).domain, x.shape[2:]
    model = ladder(variant, rate=RATES, posterior="rounded").at_rate(RANGE[0])
    steps = known_steps(model, [2.0] * 3)
    assert len(steps) == 4 and not known_steps(ladder(variant, rate=RATES), [2.0] * 3)
    wide = known_steps(model.at_rate(RANGE[1]), [2.0] * 3)
    assert all((wide[site] > steps[site]).all() for site in steps)
    key = 1 if axes.has_time else None
    for target in (None, Target(bits_per_pixel=50.0)):
        coding = make_coding(model, [2.0], target, key)
        encoder = StreamEncoder(model, axes.of_space(size), coding)
        pieces = [piece for piece in (encoder.push(x), encoder.end()) if piece]
        codes = [encoder._together(parts) for parts in zip(*pieces, strict=True)]
        for levels in (1, 3):
            files = [io.BytesIO(code.stream) for code in codes[:levels]]
            read = zip(*read_clip(model, coding, size, files), strict=True)
            for code, level in zip(codes, read, strict=False):
                assert torch.equal(axes.joined(level), code.latents)
            assert not any(file.read() for file in files)
