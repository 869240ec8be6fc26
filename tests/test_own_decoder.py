"""A decoder that is trained alone, a ladder's or a foundation's: nothing else changes."""

import copy
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from test_export_foundation import SIZES, saved
from test_foundation import CLASSES, pixels

import stlatent
from stlatent import AutoencoderLadder, checkpoint
from stlatent.cli import main
from stlatent.export import export
from stlatent.foundation.autoencoder import FoundationAutoencoder
from stlatent.foundation.tuned import TunedAutoencoder
from stlatent.model.config import FoundationConfig, load
from stlatent.train.config import RunConfig

TINY = Path(__file__).parents[1] / "configs" / "image" / "tiny.yaml"


def with_decoder(model: FoundationAutoencoder) -> FoundationAutoencoder:
    """`model` with a decoder of its own, which has gone its own way."""
    place = model.config.foundation.model_copy(update={"own_decoder": True})
    config = model.config.model_copy(update={"foundation": place})
    found = FoundationAutoencoder(config, model.frozen).eval().requires_grad_(False)
    found.ladder.load_state_dict(model.ladder.state_dict())
    size = (9, 32, 32) if model.domain.has_time else (32, 32)
    codes = model.encode(pixels(*size))
    assert torch.equal(found.decode(codes), model.decode(codes))  # as the foundation's, at first
    for parameter in found.decoder.parameters():
        parameter += 0.05 * torch.randn_like(parameter)
    return found


@torch.no_grad()
@pytest.mark.parametrize(("name", "inside"), [("AutoencoderKLWan", False), ("AutoencoderDC", True)])
def test_it_goes_wherever_the_model_goes(tmp_path, name, inside):
    """Saved, copied and exported, with the foundation or apart; latents are the same as ever."""
    plain, x = saved(name, tmp_path), pixels(*SIZES[name])
    model = with_decoder(plain)
    assert stlatent.fingerprint(model) == stlatent.fingerprint(plain)
    latents, before = model.encode(x), plain.encode(x)
    assert all(torch.equal(a, b) for a, b in zip(latents.levels, before.levels, strict=True))
    expected = model.decode(latents, 1)
    assert not torch.allclose(expected, plain.decode(before, 1), atol=1e-3)
    other = copy.deepcopy(model)
    for parameter in other.decoder.parameters():
        parameter.zero_()
    assert torch.equal(model.decode(latents, 1), expected)
    assert not torch.equal(other.decode(latents, 1), expected)
    checkpoint.save(model, tmp_path / "own.safetensors")
    out = export(model, tmp_path / "vae", data=[x], inside=inside)
    for place in (tmp_path / "own.safetensors", out):
        again = stlatent.load(place)
        assert torch.allclose(again.decode(latents, 1), expected, atol=1e-6)
        assert torch.equal(
            again.frozen.teacher.decode(z := plain.frozen.encode(x)), plain.frozen.decode(z)
        )
    assert model.bfloat16().decode(latents, 1).isfinite().all()
    vae = AutoencoderLadder.from_pretrained(out)
    assert torch.allclose(vae(x).sample, again.decode(latents), atol=1e-4)


@torch.no_grad()
def test_in_the_layout_of_the_foundation(tmp_path):
    model = with_decoder(saved("AutoencoderKLWan", tmp_path, exact=True))
    out = export(model, tmp_path / "vae", layout="foundation")
    vae = diffusers.AutoModel.from_pretrained(str(out), trust_remote_code=True)
    z = model.frozen.own(torch.randn(1, 16, 3, 4, 5))
    assert torch.allclose(vae.decode(z).sample, model.foundation.decode(z).sample, atol=1e-5)
    x = pixels(9, 32, 32)
    assert torch.equal(
        vae.encode(x).latent_dist.mode(), model.foundation.encode(x).latent_dist.mode()
    )
    assert stlatent.fingerprint(stlatent.load(out)) == stlatent.fingerprint(model)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """A folder of four small pictures."""
    folder, generator = tmp_path_factory.mktemp("pictures") / "in", np.random.default_rng(0)
    folder.mkdir()
    for i in range(4):
        few = Image.fromarray(generator.integers(0, 256, (6, 6, 3), np.uint8))
        few.resize((96, 96)).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory, pictures) -> tuple[Path, list[str]]:
    """A folder with a small ladder on a foundation, and the words that trained it."""
    diffusers.utils.logging.set_verbosity_error()
    folder = tmp_path_factory.mktemp("decoder")
    torch.manual_seed(0)
    diffusers.AutoencoderKL(**CLASSES["AutoencoderKL"]).save_pretrained(folder / "below")
    words = ["train", "image/on_foundation", f"model.foundation.path={folder / 'below'}"]
    words += ["model.foundation.subfolder=null", f"data.root={pictures}", "model.exact=true"]
    words += [f"model.levels.{k}.width=16" for k in range(4)] + ["model.stem.width=16"]
    words += ["data.crop=64", "data.batch_size=4", "data.workers=0", "tracker=null"]
    words += ["data.validation.crop=64", "loss.pixels.every=1", "optimiser.warmup_steps=1"]
    assert main([*words, f"out={folder / 'first'}", "steps=2"]) == 0
    return folder, words


def test_only_the_decoder_is_trained(trained):
    """The ladder and all latents stay; prefixes come nearer to what the foundation makes of the
    picture, and all levels of an exact one stay near to it."""
    folder, words = trained
    more = [f"start={folder / 'first'}", "only_decoder=true", f"out={folder / 'second'}"]
    assert main([*words, *more, "steps=30", "optimiser.lr=0.001"]) == 0
    first, second = stlatent.load(folder / "first"), stlatent.load(folder / "second")
    assert second.config.foundation.own_decoder
    assert stlatent.fingerprint(first) == stlatent.fingerprint(second)
    for name, value in first.ladder.state_dict().items():
        assert torch.equal(value, second.ladder.state_dict()[name])
    assert all(p.isfinite().all() for p in second.decoder.parameters())
    x = pixels(64, 64)
    with torch.no_grad():
        latents = first.encode(x)
        wanted = first.frozen.decode(first.frozen.encode(x))
        before, after = (
            [float((m.decode(latents, k) - wanted).square().mean()) for k in (1, 2, 5)]
            for m in (first, second)
        )
    assert after[0] < before[0] and after[1] < before[1]
    assert after[2] < before[0]
    more = [f"start={folder / 'second'}", "only_decoder=true", f"out={folder / 'third'}"]
    assert main([*words, *more, "steps=1"]) == 0


def test_data_sets_of_the_model_go_on_being_decoded(trained, pictures):
    """By the same model with another decoder; which is not what the set names, and so is given."""
    folder, words = trained
    more = [f"start={folder / 'first'}", "only_decoder=true", f"out={folder / 'other'}"]
    assert main([*words, *more, "steps=3"]) == 0
    latents, few = folder / "latents", ["--levels", "1", "--format", "png"]
    model = ["--model", str(folder / "first")]
    assert main(["encode", str(pictures), *model, "--out", str(latents)]) == 0
    for name in ("first", "other"):
        model = ["--model", str(folder / name), "--out", str(folder / f"by-{name}")]
        assert main(["decode", str(latents), *model, *few]) == 0
    pictures = [next((folder / f"by-{name}").rglob("0*.png")) for name in ("first", "other")]
    first, other = (np.asarray(Image.open(path)).astype(float) for path in pictures)
    assert first.shape == other.shape == (96, 96, 3) and abs(first - other).mean() > 0.1


def test_what_has_no_decoder_to_train_is_named(trained, capsys):
    folder, words = trained
    no = [f"out={folder / 'no'}", "steps=1", "only_decoder=true"]
    start = f"start={folder / 'first'}"
    for more, said in {
        (): "give start",
        (start, "loss.pixels=null"): "give loss.pixels",
        (start, "model.foundation.dtype=bfloat16"): "give model.foundation.dtype=float32",
    }.items():
        assert main([*words, *no, *more]) == 2
        assert said in capsys.readouterr().err
    with pytest.raises(ValueError, match="Linear has no `decoder` of its own"):
        one = copy.copy(stlatent.load(folder / "first").frozen)
        one.module = torch.nn.Linear(1, 1)
        TunedAutoencoder(one)
    with pytest.raises(ValueError, match="trained in float32"):
        FoundationConfig(path="x", own_decoder=True, dtype="float16")


def test_a_ladder_without_foundation_keeps_its_latents(pictures, tmp_path):
    """Every latent, prior and rate is the same, and so is the fingerprint, however often; what is
    decoded is nearer. A data set of the first is decoded by the second."""
    words = ["train", "image/tiny", f"data.root={pictures}", "data.crop=64", "tracker=null"]
    words += ["data.validation.crop=64", "optimiser.warmup_steps=1", "loss.prefix.share=0.5"]
    words += ["optimiser.ema=0.9"]
    assert main([*words, f"out={tmp_path / 'first'}", "steps=4"]) == 0
    before, x = stlatent.load(tmp_path / "first"), pixels(64, 64)
    encoded = before.encode(x)
    for start, out, steps in (("first", "second", 40), ("second", "third", 1)):
        more = [f"start={tmp_path / start}", "only_decoder=true", f"out={tmp_path / out}"]
        assert main([*words, *more, f"steps={steps}"]) == 0
        after = stlatent.load(tmp_path / out)
        assert stlatent.fingerprint(after) == stlatent.fingerprint(before)
        again = after.encode(x)
        assert all(map(torch.equal, again.levels, encoded.levels))
        assert all(map(torch.equal, again.kl, encoded.kl))
    after = stlatent.load(tmp_path / "second")
    stlatent.save(after, tmp_path / "half" / "model.safetensors", half=True)
    shipped = stlatent.load(tmp_path / "half")  # whose latents are those that it claims, yet
    assert all(map(torch.equal, shipped.encode(x).levels, encoded.levels))
    assert all(map(torch.equal, shipped.encode(x).kl, encoded.kl))
    assert not torch.equal(shipped.head.conv.weight, after.head.conv.weight)
    picture = torch.from_numpy(np.array(Image.open(pictures / "1.png"))).movedim(-1, 0)[None]
    latents = before.encode(picture := picture / 127.5 - 1)
    errors = [float((m.decode(latents) - picture).square().mean()) for m in (before, after)]
    assert errors[1] < errors[0]

    model = ["--model", str(tmp_path / "first")]
    assert main(["encode", str(pictures), *model, "--out", str(tmp_path / "latents")]) == 0
    model = ["--model", str(tmp_path / "second")]
    assert main(["decode", str(tmp_path / "latents"), *model, "--out", str(tmp_path / "out")]) == 0

    more = [f"start={tmp_path / 'second'}", f"out={tmp_path / 'whole'}", "steps=1"]
    assert main([*words, *more]) == 0  # all of it trained on: other latents
    whole = stlatent.load(tmp_path / "whole")
    assert stlatent.fingerprint(whole) != stlatent.fingerprint(before)


@pytest.mark.parametrize("override", ["model.exact=true", "start=null"])
def test_where_all_of_a_model_makes_latents_none_of_it_is_trained_alone(override):
    with pytest.raises(ValueError, match="only_decoder"):
        load(RunConfig, TINY, ["start=x", "only_decoder=true", override])
