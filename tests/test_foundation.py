"""Ladders on frozen autoencoders: of every class that people bring, with small random weights."""

import copy

import diffusers
import huggingface_hub
import numpy as np
import pytest
import torch
from test_codec import write_video

from stlatent import ModelConfig, checkpoint, fingerprint, weights
from stlatent.cli import main
from stlatent.evaluate.report import write_report
from stlatent.foundation.autoencoder import FoundationAutoencoder
from stlatent.foundation.blur import blur_pixels, blurred
from stlatent.foundation.frozen import FrozenAutoencoder
from stlatent.foundation.opening import open_foundation
from stlatent.foundation.seams import seams
from stlatent.losses.pixels import pixel_error
from stlatent.model.choose import Held
from stlatent.model.config import FoundationConfig
from stlatent.model.former import digested
from stlatent.model.gaussian import BITS_PER_NAT
from stlatent.model.past import Past
from stlatent.model.stream import decode_chunk, encode_chunk, encode_end
from stlatent.store import LatentStore

BLOCKS = 4 * (8,)
CLASSES = {
    "AutoencoderKL": {
        "block_out_channels": BLOCKS,
        "down_block_types": 4 * ("DownEncoderBlock2D",),
        "up_block_types": 4 * ("UpDecoderBlock2D",),
        "norm_num_groups": 4,
        "scaling_factor": 0.3611,
        "shift_factor": 0.1159,
    },
    "AutoencoderTiny": {
        "encoder_block_out_channels": BLOCKS,
        "decoder_block_out_channels": BLOCKS,
        "num_encoder_blocks": (1, 1, 1, 1),
        "num_decoder_blocks": (1, 1, 1, 1),
    },
    "AutoencoderDC": {
        "attention_head_dim": 2,
        "encoder_block_types": ("ResBlock", "EfficientViTBlock"),
        "decoder_block_types": ("ResBlock", "EfficientViTBlock"),
        "encoder_block_out_channels": (8, 8),
        "decoder_block_out_channels": (8, 8),
        "encoder_layers_per_block": (1, 1),
        "decoder_layers_per_block": (1, 1),
        "encoder_qkv_multiscales": ((), (5,)),
        "decoder_qkv_multiscales": ((), (5,)),
        "latent_channels": 4,
    },
    "AutoencoderKLFlux2": {
        "block_out_channels": BLOCKS,
        "down_block_types": 4 * ("DownEncoderBlock2D",),
        "up_block_types": 4 * ("UpDecoderBlock2D",),
        "norm_num_groups": 4,
        "latent_channels": 4,
    },
    "AutoencoderKLWan": {
        "base_dim": 3,
        "z_dim": 16,
        "dim_mult": [1, 1, 1, 1],
        "num_res_blocks": 1,
        "temperal_downsample": [False, True, True],
    },
    "Wan 2.2": {
        "class": "AutoencoderKLWan",
        "base_dim": 4,
        "z_dim": 8,
        "dim_mult": [1, 1, 1, 1],
        "num_res_blocks": 1,
        "temperal_downsample": [False, True, True],
        "is_residual": True,
        "in_channels": 12,
        "out_channels": 12,
        "patch_size": 2,
        "scale_factor_spatial": 16,
        "latents_mean": 8 * [0.1],
        "latents_std": 8 * [2.0],
    },
    "AutoencoderKLQwenImage": {
        "base_dim": 8,
        "z_dim": 4,
        "dim_mult": [1, 1, 1, 1],
        "num_res_blocks": 1,
        "temperal_downsample": [False, True, True],
        "latents_mean": 4 * [0.0],
        "latents_std": 4 * [1.0],
    },
    "AutoencoderKLCogVideoX": {
        "block_out_channels": BLOCKS,
        "latent_channels": 4,
        "layers_per_block": 1,
        "norm_num_groups": 2,
    },
    "AutoencoderKLHunyuanVideo": {
        "latent_channels": 4,
        "down_block_types": 4 * ("HunyuanVideoDownBlock3D",),
        "up_block_types": 4 * ("HunyuanVideoUpBlock3D",),
        "block_out_channels": BLOCKS,
        "layers_per_block": 1,
        "norm_num_groups": 4,
    },
    "AutoencoderKLLTXVideo": {
        "latent_channels": 8,
        "block_out_channels": BLOCKS,
        "decoder_block_out_channels": BLOCKS,
        "layers_per_block": (1, 1, 1, 1, 1),
        "decoder_layers_per_block": (1, 1, 1, 1, 1),
        "down_block_types": 4 * ("LTXVideoDownBlock3D",),
    },
    "AutoencoderKLCosmos": {
        "latent_channels": 4,
        "encoder_block_out_channels": BLOCKS,
        "decode_block_out_channels": BLOCKS,
        "attention_resolutions": (8,),
        "resolution": 64,
    },
    "AutoencoderKLMochi": {
        "latent_channels": 4,
        "encoder_block_out_channels": 4 * (32,),
        "decoder_block_out_channels": 4 * (32,),
        "layers_per_block": (1, 1, 1, 1, 1),
    },
}
STRIDES = {  # pixels per latent along time and one side
    "AutoencoderKL": (8,),
    "AutoencoderTiny": (8,),
    "AutoencoderDC": (2,),
    "AutoencoderKLFlux2": (8,),
    "AutoencoderKLWan": (4, 8),
    "Wan 2.2": (4, 16),
    "AutoencoderKLQwenImage": (4, 8),
    "AutoencoderKLCogVideoX": (4, 8),
    "AutoencoderKLHunyuanVideo": (4, 8),
    "AutoencoderKLLTXVideo": (8, 32),
    "AutoencoderKLCosmos": (8, 8),
    "AutoencoderKLMochi": (6, 8),
}


@pytest.fixture(scope="module")
def frozen() -> dict[str, FrozenAutoencoder]:
    diffusers.utils.logging.set_verbosity_error()
    made = {}
    for name, values in CLASSES.items():
        torch.manual_seed(0)
        values = {**values}
        cls = getattr(diffusers, values.pop("class", name))
        made[name] = FrozenAutoencoder(cls(**values))
    return made


def config(frozen: FrozenAutoencoder, **changes) -> ModelConfig:
    """Two levels; the coarser one of twice the stride of the finer one, which is a latent's."""
    fine, pace = frozen.stride, frozen.pace
    coarse = [n * 2 for n in fine]
    finest = [n * (pace if len(fine) == 3 and axis == 0 else 1) for axis, n in enumerate(fine)]
    values = {
        "domain": frozen.domain.name,
        "foundation": {"path": "somewhere"},
        "stem": {"stride": fine, "width": 16},
        "levels": [
            {"stride": coarse, "width": 16, "latent": 4},
            {"stride": finest, "width": 16, "latent": 4},
        ],
    }
    return ModelConfig.model_validate(values | changes)


def autoencoder(frozen: FrozenAutoencoder, **changes) -> FoundationAutoencoder:
    torch.manual_seed(0)
    model = FoundationAutoencoder(config(frozen, **changes), frozen).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter += 0.05 * torch.randn_like(parameter)
    return model


def pixels(*size: int, batch: int = 1) -> torch.Tensor:
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("name", CLASSES)
def test_geometry_is_measured(frozen, name):
    one = frozen[name]
    assert one.stride == (*STRIDES[name][:-1], STRIDES[name][-1], STRIDES[name][-1])
    assert one.pace == (2 if name == "AutoencoderKLCogVideoX" else 1)
    assert len(one.mean) == len(one.unit) == one.channels


@torch.inference_mode()
@pytest.mark.parametrize("name", CLASSES)
def test_no_frame_and_no_pixel_is_lost(frozen, name):
    """Any size goes in, and exactly that size comes out, of every prefix."""
    model = autoencoder(frozen[name])
    video = model.domain.causal is not None
    times = (1, 2, 5, 6, 9, 17) if name == "AutoencoderKLLTXVideo" else (*range(1, 11), 17, 24, 40)
    for size in [(t, 33, 40) for t in times] if video else [(33, 40), (64, 64), (7, 100)]:
        latents = model.encode(pixels(*size))
        assert [tuple(z.shape[1:]) for z in latents.levels] == model.latent_shape(size)
        for levels in (1, 2):
            assert model.decode(latents, levels).shape == (1, 3, *size)


@torch.inference_mode()
@pytest.mark.parametrize("name", ["AutoencoderKL", "AutoencoderKLWan", "AutoencoderKLCogVideoX"])
def test_latents_are_those_of_the_class(frozen, name):
    """Undone, the normalisation gives what the class itself encodes, and decodes to the same."""
    one = frozen[name]
    size = (9, 32, 32) if len(one.stride) == 3 else (32, 32)
    x, wide = pixels(*size), (1, -1, *[1] * len(size))
    z = one.encode(x)
    own = one.module.encode(x).latent_dist.mode()
    mean, unit = (torch.tensor(values).view(wide) for values in (one.mean, one.unit))
    assert torch.allclose(z * unit + mean, own, atol=1e-5)
    assert torch.allclose(one.decode(z), one.module.decode(own).sample, atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("name", ["AutoencoderKL", "AutoencoderKLWan", "AutoencoderKLCogVideoX"])
def test_an_exact_ladder_gives_the_foundation_back(frozen, name):
    """All levels are its very latents, to rounding, and so decode to what it decodes itself."""
    model = autoencoder(frozen[name], exact=True)
    size = (7, 33, 40) if model.domain.causal is not None else (33, 40)
    latents = model.encode(x := pixels(*size))
    assert [tuple(z.shape[1:]) for z in latents.levels] == model.latent_shape(size)
    assert len(latents.levels) == len(model.levels) == 3
    own = model._latents(x)
    found = model.ladder.generate(Held(dict(enumerate(latents.levels))), own.shape[2:])
    assert (found - own).abs().max() < 1e-5 * (1 + own.abs().max())
    ceiling = model.domain.crop(model.frozen.decode(own), size)
    assert (model.decode(latents) - ceiling).abs().max() < 1e-3
    assert (model.decode(latents, 2) - ceiling).abs().mean() > 1e-3


@torch.inference_mode()
@pytest.mark.parametrize("name", ["AutoencoderKL", "AutoencoderKLWan"])
def test_prefixes_learn_latents_of_blurred_pixels(frozen, name):
    """The more levels, the less they are blurred; what keeps all of them is as it is."""
    model = autoencoder(frozen[name])
    assert blur_pixels(model.config, 1) > blur_pixels(model.config, 2) >= 1
    size = (5, 64, 64) if model.domain.causal is not None else (64, 64)
    x = pixels(*size, batch=3)
    out = model(x)
    wanted = model.target(out, x, torch.tensor([2, 1, 2]))
    assert torch.equal(wanted[0], out.inputs[0]) and torch.equal(wanted[2], out.inputs[2])
    soft = blurred(x[1:2], model.domain, blur_pixels(model.config, 1))
    assert torch.allclose(wanted[1:2], model._latents(soft), atol=1e-5)
    assert soft.std() < 0.5 * x.std() and soft.mean() == pytest.approx(float(x[1].mean()), abs=0.02)
    assert torch.equal(model.target(out, x), out.inputs)


def test_a_report_shows_the_ceiling_and_the_latents(frozen, tmp_path):
    """What the foundation does alone, which an exact ladder does, too; who owns its latents."""
    model, clips = autoencoder(frozen["AutoencoderKL"], exact=True), [("a", pixels(64, 64))]
    numbers = write_report(model, clips, tmp_path / "report")
    alone = numbers["foundation"]
    assert alone["psnr_db"] == pytest.approx(numbers["prefixes"][-1]["psnr_db"], abs=0.01)
    assert alone["explained"] == sorted(alone["explained"])
    assert alone["explained"][-1] == pytest.approx(1, abs=1e-6)
    shares = numbers["bands"]["latents_spatial"]
    assert shares["unit"] == "latents" and len(shares["of_level"]) == 3
    assert [sum(row) for row in shares["of_level"]] == pytest.approx([1, 1, 1])
    assert numbers["exact"]["bits_per_number"] > 0 < numbers["exact"]["flat_bits_per_number"]
    with torch.inference_mode():
        encoded = model.encode(clips[0][1])
    bits = float(encoded.kl[-1].sum()) * BITS_PER_NAT  # nothing is rounded when it is summed up
    assert numbers["exact"]["bits_per_number"] == bits / encoded.levels[-1].numel()
    page = (tmp_path / "report" / "index.html").read_text()
    assert page.count("foundation alone") >= 2 and "by themselves" in page
    plain = write_report(autoencoder(frozen["AutoencoderTiny"]), clips, tmp_path / "plain")
    assert plain["exact"] is None and len(plain["foundation"]["explained"]) == 2


def in_chunks(model: FoundationAutoencoder, x: torch.Tensor, cuts: list[int]) -> torch.Tensor:
    """The coarsest latents of a video that comes in chunks, whose state never grows."""
    state, pieces, sizes = None, [], []
    for chunk in x.split(cuts, 2):
        encoded, state = encode_chunk(model, chunk, state)
        pieces.append(encoded.levels[0])
        sizes.append(sum(tensor.numel() for tensor in (state.past or {}).values()))
    assert sizes[-1] == sizes[-2]
    encoded, state = encode_end(model, state)
    return torch.cat([*pieces, encoded.levels[0]], 2)


def out_of_chunks(model: FoundationAutoencoder, z: torch.Tensor, first: int) -> torch.Tensor:
    """Frames of the coarsest latents `z`, that come one by one but for the first ones."""
    state, frames = None, []
    for part in z.split([first, *[1] * (z.shape[2] - first)], 2):
        out, state = decode_chunk(model, [part], (32, 32), state)
        frames.append(out)
    return torch.cat(frames, 2)


@torch.inference_mode()
@pytest.mark.parametrize("name", ["AutoencoderKLWan", "AutoencoderKLQwenImage", "Wan 2.2"])
def test_what_a_class_remembers_is_carried_along(frozen, name):
    """A stream is one piece, wherever it is cut, and two of them may be interleaved."""
    model = autoencoder(frozen[name])
    x = pixels(54, 32, 32)  # which fill no unit
    whole = model.encode(x).levels[0]
    assert frozen[name].stream.exact
    assert torch.allclose(in_chunks(model, x, [1, 8, 20, 25]), whole, atol=1e-5)
    assert torch.allclose(in_chunks(model, x, [30, 3, 16, 5]), whole, atol=1e-5)
    decoded = model.decode(model.encode(x), 1)
    for first in (1, 2):
        assert torch.allclose(out_of_chunks(model, whole, first)[:, :, :54], decoded, atol=1e-5)


@torch.inference_mode()
def test_norms_over_a_step_go_by_the_steps_of_the_class(frozen):
    """CogVideoX: equal to one piece, but for a frame that comes alone, which is a picture then."""
    model = autoencoder(frozen["AutoencoderKLCogVideoX"])
    x = pixels(49, 32, 32)
    whole, decoded = model.encode(x).levels[0], model.decode(model.encode(x), 1)
    assert torch.allclose(in_chunks(model, x, [17, 8, 16, 8]), whole, atol=1e-5)
    alone = in_chunks(model, x, [1, 8, 20, 20])
    assert torch.allclose(alone[:, :, 1:], whole[:, :, 1:], atol=0.1)
    assert torch.allclose(alone[:, :, :1], model.encode(x[:, :, :1]).levels[0], atol=1e-5)
    assert torch.allclose(out_of_chunks(model, whole, 2)[:, :, :49], decoded, atol=1e-5)
    later = out_of_chunks(model, whole, 1)[:, :, 1:49]
    assert torch.allclose(later, decoded[:, :, 1:], atol=1e-5)


@torch.inference_mode()
def test_windows_come_close_to_one_piece(frozen, monkeypatch):
    """Classes without a cache: the closer, the more of the past a chunk sees."""
    x, errors = pixels(97, 32, 32), []
    for context in (3, 9):
        monkeypatch.setattr("stlatent.foundation.streams.CONTEXT", context)
        errors.append(seams(frozen["AutoencoderKLCosmos"], x))
    near, far = errors
    assert 0 < far.latents < near.latents < 0.2 and far.pixels < near.pixels < 0.5
    assert "windows that see 9 latents of the past; off one piece" in str(far)
    exact = seams(frozen["AutoencoderKLWan"], x)
    assert exact.latents < 1e-6 and exact.pixels < 1e-6
    ahead = seams(frozen["AutoencoderKLLTXVideo"], x)  # its decoder sees frames to come
    assert ahead.latents < 0.02 and ahead.pixels > 0.1
    assert ahead.ahead and not (exact.ahead or far.ahead)
    model = autoencoder(frozen["AutoencoderKLCosmos"])
    whole = model.encode(x).levels[0]
    assert spread(in_chunks(model, x, [33, 16, 24, 24]) - whole, whole) < 0.1


@torch.inference_mode()
def test_tiles_of_the_class_are_kept_in_a_stream(frozen):
    """Its switch for tiles goes before its cache, which knows whole pictures."""
    one = FrozenAutoencoder(copy.deepcopy(frozen["AutoencoderKLWan"].module))
    one.module.enable_tiling(64, 64, 48, 48)
    assert not one.stream.exact
    x = pixels(9, 128, 128)
    assert spread(one.encode(x, Past()) - one.encode(x), one.encode(x)) < 1e-6


def spread(error: torch.Tensor, of: torch.Tensor) -> float:
    """Mean error, in deviations."""
    return float(error.abs().mean() / of.std())


def test_pixels_pull_through_the_frozen_decoder(frozen):
    one = frozen["AutoencoderKLWan"]
    true = one.encode(pixels(9, 64, 64))
    z = (true + 0.3 * torch.randn_like(true)).requires_grad_()
    error = pixel_error(one.decode, one.decode, z, true, 4, torch.Generator().manual_seed(0))
    error.sum().backward()
    assert error.shape == (1,) and 0 < (z.grad != 0).float().mean() < 1  # a window, not all of it
    assert all(p.grad is None for p in one.module.parameters())
    same = pixel_error(one.decode, one.decode, true, true, 4, torch.Generator().manual_seed(0))
    assert same < error.detach()


def test_what_does_not_suit_is_named(frozen, tmp_path):
    wan = frozen["AutoencoderKLWan"]
    with pytest.raises(ValueError, match="encodes video; the model is of domain 'image'"):
        FoundationAutoencoder(config(frozen["AutoencoderKL"]), wan)
    levels = [{"stride": [4, 12, 12], "width": 16, "latent": 4}]
    with pytest.raises(ValueError, match=r"\[4, 12, 12\] is not a multiple of \[4, 8, 8\]"):
        stem = {"stride": [4, 12, 12], "width": 16}
        FoundationAutoencoder(config(wan, levels=levels, stem=stem), wan)
    other = config(wan, foundation={"path": "x", "mean": [0.0] * 16, "unit": [1.0] * 16})
    with pytest.raises(ValueError, match="not the one that this model was trained on: its mean"):
        FoundationAutoencoder(other, wan)
    with pytest.raises(ValueError, match="cannot be opened|holds no autoencoder"):
        open_foundation(FoundationConfig(path=str(tmp_path)))
    few = {"ch": 32, "ch_mult": [1, 1, 1, 1], "num_res_blocks": 1, "spatial_ds": [0, 1, 2]}
    few |= {"spatial_us": [1, 2, 3], "tempo_ds": [1, 2], "tempo_us": [1, 2]}
    with pytest.raises(ValueError, match=r"VidTok does not encode pixels of \[1, 3, 1, 64, 64\]"):
        FrozenAutoencoder(diffusers.AutoencoderVidTok(**few))
    small = {"block_out_channels": BLOCKS, "norm_num_groups": 4}
    with pytest.raises(ValueError, match="AutoencoderKLAllegro does not encode pixels of"):
        FrozenAutoencoder(diffusers.AutoencoderKLAllegro(**small))
    (tmp_path / "config.json").write_text('{"_class_name": "UNet2DModel"}')
    with pytest.raises(ValueError, match="class UNet2DModel, which is no autoencoder"):
        open_foundation(FoundationConfig(path=str(tmp_path)))


@pytest.fixture
def hub(frozen, tmp_path, monkeypatch):
    """A cache of the hub that holds `some/vae` at one commit, and no way to the hub."""
    commit, home = "0123456789" * 4, tmp_path / "hub" / "models--some--vae"
    frozen["AutoencoderTiny"].module.save_pretrained(home / "snapshots" / commit)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return commit


def test_what_a_model_s_file_names_is_here_or_at_a_fixed_commit(hub, frozen, tmp_path):
    file, tiny = tmp_path / "model.safetensors", frozen["AutoencoderTiny"]
    model = FoundationAutoencoder(config(tiny, foundation={"path": "some/vae"}))
    assert model.config.foundation.revision == hub  # of a branch, the commit is kept
    checkpoint.save(model, file)
    assert checkpoint.load(file).config == model.config
    gone = str(tmp_path / "gone")
    for path, revision in ("some/vae", None), ("some/vae", "main"), (gone, None), ("..", hub):
        place = model.config.foundation.model_copy(update={"path": path, "revision": revision})
        model.config = model.config.model_copy(update={"foundation": place})
        checkpoint.save(model, file)
        with pytest.raises(ValueError, match="no folder here|holds no autoencoder"):
            checkpoint.load(file)


@torch.no_grad()
def test_it_computes_in_its_own_type(hub, frozen, tmp_path):
    """Which neither loading nor a cast of the model changes."""
    place = {"path": "some/vae", "dtype": "bfloat16"}
    model = FoundationAutoencoder(config(frozen["AutoencoderTiny"], foundation=place))
    checkpoint.save(model, tmp_path / "model.safetensors")
    loaded, x = checkpoint.load(tmp_path / "model.safetensors"), pixels(32, 32)
    for one in (loaded, loaded.float()):
        assert (one.frozen.dtype, one.top.dtype) == (torch.bfloat16, torch.float32)
        assert one.decode(one.encode(x)).dtype == torch.float32


def test_the_command_of_a_ladder_on_wan(frozen, tmp_path, capsys):
    frozen["AutoencoderKLWan"].module.save_pretrained(tmp_path / "wan" / "vae")
    write_video(tmp_path / "in" / "a.mp4", (9, 48, 64))
    write_video(tmp_path / "in" / "b.mp4", (9, 48, 64))
    small = [f"model.levels.{k}.width=32" for k in range(3)] + ["model.stem.width=32"]
    small += ["data.crop=32", "data.frames=9", "steps=1", "tracker=null", "data.workers=0"]
    small += ["data.validation.crop=32", "data.validation.frames=9"]
    words = ["train", "video/on_wan", f"data.root={tmp_path / 'in'}", f"out={tmp_path / 'run'}"]
    wan = [f"model.foundation={tmp_path / 'wan'}", "subfolder=vae"]
    assert main([*words, *wan, "model.foundation.slicing=true", *small]) == 0
    model = checkpoint.load(tmp_path / "run")
    assert model.config.exact and model.config.foundation.subfolder == "vae"
    assert model.foundation.use_slicing
    capsys.readouterr()
    elsewhere = ["model.foundation=nowhere/at/all", f"out={tmp_path / 'other'}"]
    assert main([*words, *elsewhere, *small]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1 and "give a folder that save_pretrained wrote" in said


def test_switches_of_the_class(frozen, tmp_path):
    frozen["AutoencoderKLWan"].module.save_pretrained(tmp_path / "wan")
    place = FoundationConfig.model_validate(str(tmp_path / "wan"))
    assert not open_foundation(place).module.use_tiling
    switched = open_foundation(place.model_copy(update={"tiling": True, "slicing": True}))
    assert switched.module.use_tiling and switched.module.use_slicing
    frozen["AutoencoderKLCosmos"].module.save_pretrained(tmp_path / "other")
    place = FoundationConfig(path=str(tmp_path / "other"), tiling=True)
    opened = open_foundation(place).module
    assert opened.use_tiling


def test_from_training_to_videos(frozen, tmp_path, capsys):
    """The commands of the documentation; no weight of the foundation is in the model's file."""
    frozen["AutoencoderKLWan"].module.save_pretrained(tmp_path / "wan" / "vae")
    for name, size in {"a.mp4": (19, 48, 64), "b.mp4": (10, 48, 64)}.items():
        write_video(tmp_path / "in" / name, size)
    small = [f"model.levels.{k}.width=32" for k in range(3)] + ["model.stem.width=32"]
    data = ["data.crop=32", "data.frames=9", "data.validation.crop=32", "data.validation.frames=9"]
    run = ["steps=2", "data.validation.every=2", "tracker=null", "loss.pixels.every=1", *small]
    foundation = f"model.foundation.path={tmp_path / 'wan'}"
    out = tmp_path / "run"
    root = f"data.root={tmp_path / 'in'}"
    assert main(["train", "video/on_foundation", foundation, root, f"out={out}", *run, *data]) == 0
    again = [f"out={tmp_path / 'again'}", f"start={out}", *run, *data, "steps=1"]
    assert main(["train", "video/on_foundation", foundation, root, *again]) == 0
    model = checkpoint.load(out)
    assert model.foundation.config.z_dim == 16
    moved = model.config.model_copy(
        update={"foundation": model.config.foundation.model_copy(update={"path": "elsewhere"})}
    )
    assert digested(moved) == digested(model.config)
    stored = weights.read(checkpoint.locate(out))[0]
    assert {name.split(".")[0] for name in stored} == {"ladder"}
    latents = tmp_path / "latents"
    assert main(["encode", str(tmp_path / "in"), "--model", str(out), "--out", str(latents)]) == 0
    assert main(["verify", str(latents)]) == 0
    decoded = tmp_path / "decoded"
    words = ["decode", str(latents), "--levels", "1", "--out", str(decoded), "--format", "npy"]
    assert main(words) == 0
    frames = np.load(next(decoded.rglob("a*.npy")))
    assert frames.shape == (19, 48, 64, 3)
    bits = tmp_path / "bits"
    coded = ["encode", str(tmp_path / "in"), "--model", str(out), "--out", str(bits)]
    assert main([*coded, "--psnr", "9", "--key-every", "1"]) == 0
    with_model = LatentStore(bits, model=model)
    for name, item in with_model.items.items():
        kept, read = LatentStore(latents).read(name).levels, with_model.read(name).levels
        assert [z.shape for z in read] == [z.shape for z in kept], item
    assert main(["export", str(out), "--out", str(tmp_path / "vae")]) == 0
    assert fingerprint(checkpoint.load(tmp_path / "vae")) == fingerprint(model)
    words = ["inspect", str(out), "--data", str(tmp_path / "in"), "--out", str(tmp_path / "report")]
    assert main([*words, "--count", "1", "--frames", "9", "--size", "32x32"]) == 0
    assert "the foundation streams by the cache of its class" in capsys.readouterr().out


def test_a_model_loads_however_large_its_foundation_is(tmp_path):
    """What a file may ask for follows from its own tensors; a foundation's are in another."""
    diffusers.AutoencoderTiny().save_pretrained(tmp_path / "foundation")
    frozen = FrozenAutoencoder(diffusers.AutoencoderTiny.from_pretrained(tmp_path / "foundation"))
    place = {"path": str(tmp_path / "foundation")}
    model = FoundationAutoencoder(config(frozen, foundation=place), frozen).eval()
    assert sum(p.numel() for p in frozen.module.parameters()) > 2**21
    checkpoint.save(model, tmp_path / "model.safetensors")
    loaded, x = checkpoint.load(tmp_path / "model.safetensors"), pixels(32, 32)
    with torch.no_grad():
        for found, expected in zip(loaded.encode(x).levels, model.encode(x).levels, strict=True):
            assert torch.equal(found, expected)
