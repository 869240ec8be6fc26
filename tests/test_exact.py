"""Exact ladders: all levels give the input back, every prefix decodes, and the rate is a rate."""

import io
import math

import numpy as np
import pytest
import torch
from domains import VARIANTS as ALL
from domains import batch, config, ladder
from PIL import Image
from skimage import data

from stlatent import Ladder, Latents, ModelConfig, checkpoint
from stlatent.bits.bitstream import make_coding
from stlatent.bits.decoder import read_clip
from stlatent.bits.encoder import StreamEncoder
from stlatent.cli import main
from stlatent.evaluate.likelihood import log_likelihood
from stlatent.evaluate.report import write_report
from stlatent.losses.elbo import LossConfig
from stlatent.media.shape.encode import whole_codes
from stlatent.model.choose import Draw, Held
from stlatent.model.config import ExactLevel, parse
from stlatent.model.exact import PRECISION, Noise
from stlatent.model.stream import decode_chunk, encode_chunk, encode_end
from stlatent.train.loss import batch_loss
from stlatent.train.task import Moment

VARIANTS = [variant for variant in ALL if variant != "video-motion"]  # which moves what it decodes
PHOTO = torch.from_numpy(data.astronaut()).permute(2, 0, 1)[None, :, 60:97, 150:200]


def fresh(variant: str) -> Ladder:
    """As it begins training: a linear code, with no noise on its weights."""
    torch.manual_seed(0)
    return Ladder(config(variant, exact=True)).eval().requires_grad_(False)


def left_over(model: Ladder, latents: Latents, x: torch.Tensor) -> torch.Tensor:
    """What the learned levels alone leave over."""
    return (x - model.decode(latents, len(model.config.levels))).abs()


@torch.inference_mode()
@pytest.mark.parametrize("variant", VARIANTS)
def test_all_levels_give_the_input_back(variant):
    """Whatever the weights, and from levels stored in half precision, too; 0 is the mean."""
    model, x = ladder(variant, exact=True), batch(variant)
    latents = model.encode(x)
    assert [tuple(z.shape[1:]) for z in latents.levels] == model.latent_shape(x.shape[2:])
    rest = left_over(model, latents, x)
    assert rest.max() > 0.1  # an untrained ladder is far from it
    assert ((model.decode(latents) - x).abs() <= 1e-6 * (1 + rest)).all()
    halved = Latents(tuple(z.half().float() for z in latents.levels), latents.size)
    assert ((model.decode(halved) - x).abs() <= 2**-10 * (0.1 + rest)).all()
    nothing = Latents((*latents.levels[:-1], torch.zeros_like(latents.levels[-1])), latents.size)
    learned = len(model.config.levels)
    assert torch.equal(model.decode(nothing), model.decode(latents, learned))


@torch.inference_mode()
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_prefix_decodes_as_without_it(variant):
    """An exact level changes nothing above it but that latents are halves."""
    model, x = ladder(variant, exact=True), batch(variant)
    plain = Ladder(config(variant)).eval()
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if k[:6] != "exact."})
    latents = model.encode(x)
    for levels in range(1, len(model.levels)):
        part = Latents(latents.levels[:levels], latents.size)
        expected = plain.decode(part)
        # what is missing is the prior's mean, which an exact ladder holds as halves
        assert (model.decode(part) - expected).abs().max() <= 2e-3 * (1 + expected.abs().max())
    drawn = model.decode(latents, 1, Draw(1.0, torch.Generator().manual_seed(0)))
    assert drawn.shape == x.shape and drawn.isfinite().all()


@torch.inference_mode()
@pytest.mark.parametrize("variant", ["video", "video-spread", "audio", "volumes"])
def test_it_streams(variant):
    """In pieces the same latents come out as of the whole, and the same input goes back."""
    model, x = ladder(variant, exact=True), batch(variant)
    whole, state, pieces = model.encode(x), None, []
    for chunk in x.split([1, 4, x.shape[2] - 5], 2):
        found, state = encode_chunk(model, chunk, state)
        pieces.append(found.levels)
    pieces.append(encode_end(model, state)[0].levels)
    levels = [torch.cat(parts, 2) for parts in zip(*pieces, strict=True)]
    for found, expected in zip(levels, whole.levels, strict=True):
        assert (found - expected).abs().max() <= 1e-4 * (10 + expected.abs().max())
    y, _ = decode_chunk(model, levels, x.shape[3:])
    assert ((y[:, :, : x.shape[2]] - x).abs() <= 1e-4 * (1 + left_over(model, whole, x))).all()


@pytest.mark.parametrize("log_scale", [-6.0, -4.0, -2.0, 0.0, 2.0])
def test_probabilities_of_all_values_are_one(log_scale):
    scale = torch.tensor([log_scale])
    prior = Noise(torch.zeros(1), torch.zeros(1), torch.tensor([0.1]), scale)
    values = torch.arange(-200_000, 200_000) * PRECISION - 1
    nats = prior.exactly(values).kl(prior)
    assert nats.isfinite().all() and (nats >= 0).all()
    near = values[nats < 60]
    assert float((-prior.exactly(near).kl(prior).double()).exp().sum()) == pytest.approx(
        1, abs=2e-3
    )


def test_the_bound_is_a_bound():
    """Over every value that one 8-bit pixel can have, probabilities sum to 1 at most: those of the
    bound to less than the truth, which many draws estimate."""
    level = {"stride": [1, 1], "width": 4, "latent": 1, "blocks": 0}
    about = {"domain": "image", "channels": 1, "levels": [level], "exact": True}
    about["stem"] = {"stride": [1, 1], "width": 4, "blocks": 0}
    torch.manual_seed(0)
    model = Ladder(parse(ModelConfig, about, "test")).eval().requires_grad_(False)
    model.cells[0][0].posterior.evidence.out.bias[1:] = -1.0  # a broad posterior
    every = (torch.arange(256) * PRECISION - 1).view(-1, 1, 1, 1)
    found = log_likelihood(model, every, 2000, torch.Generator().manual_seed(0))
    bound, truth = (float(nats.exp().sum()) for nats in (found.elbo, found.weighted))
    assert 0.1 < bound < truth < 1.02
    assert found.bits_per_dimension == pytest.approx(-float(found.weighted.mean()) / math.log(2))


@torch.inference_mode()
@pytest.mark.parametrize("variant", ["image", "video"])
def test_pixels_come_back_bit_for_bit_from_bits(variant):
    """As many as the rate says, and the coarser levels by themselves."""
    pytest.importorskip("constriction")
    model, x = (
        fresh(variant),
        PHOTO if variant == "image" else PHOTO[:, :, None].repeat(1, 1, 9, 1, 1),
    )
    frames, x = x, x.float() / 127.5 - 1
    coding = make_coding(model, [3.0])
    encoder = StreamEncoder(model, x.shape[-2:], coding)
    codes = encoder.push(frames) or encoder.end()
    files = [io.BytesIO(code.stream) for code in codes]
    (levels,) = read_clip(model, coding, x.shape[2:], files)
    decoded = model.decode(Latents(tuple(levels), tuple(x.shape[2:])))
    assert torch.equal((127.5 * (decoded + 1)).round().byte(), frames)
    for code in codes:
        assert len(code.stream) * 8 <= 1.02 * float(code.bits) + 800
    held = Held(dict(enumerate(levels[:-1])))
    rate = float(model.encode(x, held).kl[-1].sum()) / math.log(2)
    assert float(codes[-1].bits) == pytest.approx(rate, rel=0.02)
    (coarse,) = read_clip(model, coding, x.shape[2:], [io.BytesIO(codes[0].stream)])
    assert torch.equal(coarse[0], levels[0])


@pytest.mark.parametrize("option", ["--dtype=float16", "--dtype=float32", "--entropy-code"])
def test_pictures_come_back_from_a_data_set(option, tmp_path):
    (tmp_path / "in").mkdir()
    picture = PHOTO[0].permute(1, 2, 0).numpy()
    Image.fromarray(picture).save(tmp_path / "in" / "a.png")
    checkpoint.save(fresh("image"), tmp_path / "model.safetensors")
    model = ["--model", str(tmp_path / "model.safetensors")]
    encode = ["encode", str(tmp_path / "in"), *model, "--out", str(tmp_path / "latents"), option]
    assert main(encode) == 0
    assert main(["decode", str(tmp_path / "latents"), "--out", str(tmp_path / "out")]) == 0
    assert np.array_equal(np.asarray(Image.open(next((tmp_path / "out").rglob("a*.png")))), picture)


def test_what_it_is_not_for_is_named(tmp_path, capsys):
    Image.fromarray(PHOTO[0].permute(1, 2, 0).numpy()).save(tmp_path / "a.png")
    checkpoint.save(fresh("image"), tmp_path / "model.safetensors")
    encode = ["encode", str(tmp_path / "a.png"), "--model", str(tmp_path / "model.safetensors")]
    for option, words in {"--std": "has no --std", "--tile=64": "in one piece"}.items():
        assert main([*encode, "--out", str(tmp_path / "latents"), option]) == 2
        assert words in capsys.readouterr().err
    values = config("triplane").model_dump() | {"exact": True, "field": {}, "channels": 4}
    with pytest.raises(ValueError, match="exact is for what a ladder reads"):
        ModelConfig.model_validate(values | {"likelihood": "sdf"})
    assert isinstance(config("image", exact=True).all_levels[-1], ExactLevel)


def test_training_tells_how_far_values_lie():
    """Deviations are learned from the rate; prefixes are cut as if there were no exact level."""
    torch.manual_seed(0)
    model, x = Ladder(config("image", exact=True)), PHOTO[:, :, :32, :48].float() / 127.5 - 1
    adam = torch.optim.Adam(model.exact.parameters(), 0.02)
    rates = []
    for step in range(12):
        at = Moment(step, 0.0, torch.Generator().manual_seed(step))
        result, out = batch_loss(model, model, x, LossConfig(prefix={"share": 1.0}), at)
        adam.zero_grad()
        result.total.backward()
        adam.step()
        rates.append(float(result.rate_bits[-1]))
        assert len(out.latents.levels) == len(model.levels) and len(out.x) == 2
    assert rates[-1] < rates[0] - 0.2


def test_whole_codes_of_held_latents_stay_exact():
    model, x = ladder("voxel", exact=True), batch("voxel")
    better = model.encode(x).levels[:-1]
    with torch.no_grad():
        codes = whole_codes(model, x, held=Held({k: z + 0.1 for k, z in enumerate(better)}))
        latents = Latents(tuple(code.latents for code in codes), tuple(x.shape[2:]))
        rest = left_over(model, latents, x)
        assert ((model.decode(latents) - x).abs() <= 1e-5 * (1 + rest)).all()


def test_a_report_shows_it(tmp_path):
    numbers = write_report(fresh("image"), [("a", PHOTO.float() / 127.5 - 1)], tmp_path / "report")
    *_, learned, whole = numbers["prefixes"]
    assert learned["psnr_db"] < 60 and whole["psnr_db"] == "Infinity"
    assert numbers["levels"][-1]["stride"] == [1, 1] and "a perfect copy" in numbers["summary"]
