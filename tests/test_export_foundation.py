"""Ladders on a foundation as autoencoders of `diffusers`, and latent diffusion on top of them."""

import json
from pathlib import Path

import diffusers
import pytest
import torch
from diffusers import AutoModel
from test_codec import write_video
from test_foundation import CLASSES, config, pixels

import stlatent
from stlatent import AutoencoderLadder, LadderPipeline, checkpoint
from stlatent.cli import main
from stlatent.export import export
from stlatent.foundation.autoencoder import FoundationAutoencoder
from stlatent.foundation.frozen import FrozenAutoencoder

SIZES = {
    "AutoencoderKLWan": (9, 32, 32),
    "AutoencoderKLFlux2": (32, 48),
    "AutoencoderTiny": (32, 48),
    "AutoencoderDC": (32, 48),
}


def saved(name: str, folder: Path, **changes) -> FoundationAutoencoder:
    """A small model of random weights on a foundation, in `folder / "model.safetensors"`."""
    diffusers.utils.logging.set_verbosity_error()
    torch.manual_seed(0)
    getattr(diffusers, name)(**CLASSES[name]).save_pretrained(folder / "foundation")
    cls = getattr(diffusers, name)
    frozen = FrozenAutoencoder(cls.from_pretrained(folder / "foundation"))
    place = {"path": str(folder / "foundation")}
    model = FoundationAutoencoder(config(frozen, foundation=place, **changes), frozen)
    model = model.eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter += 0.05 * torch.randn_like(parameter)
    checkpoint.save(model, folder / "model.safetensors")
    return model


@torch.no_grad()
@pytest.mark.parametrize("name", SIZES)
def test_one_folder_holds_ladder_and_foundation(tmp_path, name):
    """It loads where the foundation is gone, by `diffusers` and by `load`, and gives the same."""
    model, x = saved(name, tmp_path), pixels(*SIZES[name])
    out = export(model, tmp_path / "vae", data=[x])
    (tmp_path / "foundation").rename(tmp_path / "elsewhere")
    latents = model.encode(x)
    vae = AutoModel.from_pretrained(str(out), trust_remote_code=True)
    posterior = vae.encode(x).latent_dist
    for found, z in zip(vae.packing.unpack(posterior.mean), latents.levels, strict=True):
        assert torch.allclose(found, z, atol=1e-5)
    decoded = vae.decode(posterior.mode(), size=posterior.size).sample
    assert torch.allclose(decoded, model.decode(latents), atol=1e-4)
    again = stlatent.load(out)
    assert stlatent.fingerprint(again) == stlatent.fingerprint(model)
    assert torch.equal(again.decode(latents, 1), model.decode(latents, 1))
    assert type(again.foundation) is type(model.foundation)


@torch.no_grad()
@pytest.mark.parametrize("name", ["AutoencoderKLWan", "AutoencoderTiny", "AutoencoderDC"])
def test_the_foundation_may_stay_where_it_is(tmp_path, capsys, name):
    model, x = saved(name, tmp_path), pixels(*SIZES[name])
    torch.save(x, tmp_path / "x.pt")
    inside = export(model, tmp_path / "inside", data=[x])
    apart = export(model, tmp_path / "apart", data=[x], inside=False)
    sizes = [sum(f.stat().st_size for f in folder.iterdir()) for folder in (inside, apart)]
    weights = sum(p.numel() for p in model.foundation.parameters())
    assert sizes[0] - sizes[1] > 4 * weights
    vae, again = AutoencoderLadder.from_pretrained(apart), stlatent.load(apart)
    for found in (vae(x).sample, again.decode(again.encode(x))):
        assert torch.allclose(found, model.decode(model.encode(x)), atol=1e-4)
    assert json.loads((apart / "config.json").read_text())["foundation"] is None
    (tmp_path / "foundation").rename(tmp_path / "elsewhere")
    assert main(["inspect", str(apart), "--data", str(tmp_path), "--out", str(tmp_path / "r")]) == 2
    assert "which is no folder here" in capsys.readouterr().err


@torch.no_grad()
def test_slices_tiles_and_streams_of_frames(tmp_path):
    model = saved("AutoencoderKLWan", tmp_path)
    x = torch.cat([pixels(17, 64, 96), -pixels(17, 64, 96)])
    vae = AutoencoderLadder.from_pretrained(export(model, tmp_path / "vae", data=[x]))
    whole = vae.encode(x).latent_dist.mode()
    decoded = vae.decode(whole).sample
    vae.enable_slicing()
    assert torch.allclose(vae.encode(x).latent_dist.mode(), whole, atol=1e-4)
    assert torch.allclose(vae.decode(whole).sample, decoded, atol=1e-4)
    # frames go through eight at a time, and pictures whole
    vae.enable_tiling(128, 128, 128, 128, tile_sample_min_num_frames=8)
    assert torch.allclose(vae.encode(x).latent_dist.mode(), whole, atol=1e-4)
    assert torch.allclose(vae.decode(whole).sample, decoded, atol=1e-4)
    vae.enable_tiling(64, 64, 48, 48)
    assert vae.decode(vae.encode(x).latent_dist.mode()).sample.shape == x.shape


@pytest.mark.parametrize("name", ["coarse", "packed", "cascade"])
def test_latent_diffusion_on_a_foundation(on_wan, tmp_path, name):
    """The shipped configs train on its levels, and what is drawn is decoded to pixels."""
    small = ["width=32", "depth=1", "head=16"]
    stages = 3 if name == "cascade" else 1
    words = [f"diffusion.stages.{i}.{value}" for i in range(stages) for value in small]
    words += ["steps=1", "save_every=1", "tracker=null", "data.workers=0", "data.batch_size=2"]
    run = ["train", f"diffusion/{name}", f"data.root={on_wan / 'latents'}", f"out={tmp_path}"]
    assert main([*run, *words]) == 0
    drawn = LadderPipeline.from_pretrained(tmp_path / "pipeline")(
        size=(9, 48, 64), num_inference_steps=1, output_type="pt"
    ).frames
    assert drawn.shape == (1, 3, 9, 48, 64)
    assert drawn.abs().max() <= 1  # as Wan's decoder clamps


@pytest.fixture(scope="module")
def on_wan(tmp_path_factory) -> Path:
    """A model of three levels on Wan, and a data set of its latents."""
    folder = tmp_path_factory.mktemp("on-wan")
    level = {"width": 16, "latent": 4}
    strides = [[8, 32, 32], [4, 16, 16], [4, 8, 8]]
    saved("AutoencoderKLWan", folder, levels=[level | {"stride": s} for s in strides])
    for name in "abcd":
        write_video(folder / "videos" / f"{name}.mp4", (9, 48, 64))
    model = ["--model", str(folder / "model.safetensors"), "--out", str(folder / "latents")]
    assert main(["encode", str(folder / "videos"), *model]) == 0
    return folder
