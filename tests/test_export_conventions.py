"""What pipelines, tools and training scripts of diffusers rely on, whatever the autoencoder."""

from __future__ import annotations

from pathlib import Path

import diffusers as d
import pytest
import torch
from domains import batch, ladder
from exported import autoencoder, tiny

from stlatent.export import AutoencoderLadder
from stlatent.export.folder import wrap


def frames(count: int, height: int = 32, width: int = 40, samples: int = 1) -> torch.Tensor:
    noise = torch.Generator().manual_seed(0)
    return torch.rand(samples, 3, count, height, width, generator=noise) * 2 - 1


def seeds(*values: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(value) for value in values]


def floored(vae: AutoencoderLadder) -> AutoencoderLadder:
    """The same, of which last frames that fill no step are left out."""
    config = vae.config
    return wrap(
        vae.ladder, config.levels, config.measured_mean, config.measured_std, frames="floor"
    )


def test_of_a_list_of_generators_the_first_ones_are_used() -> None:
    posterior = tiny().encode(frames(5, samples=2)).latent_dist
    expected = posterior.sample(seeds(1, 2))
    assert torch.equal(posterior.sample(seeds(1, 2, 3)), expected)
    assert torch.equal(posterior.sample(seeds(1)), posterior.sample([torch.manual_seed(1)] * 2))
    with pytest.raises(ValueError, match="2 generators are given for 3 samples"):
        tiny().encode(frames(1, samples=3)).latent_dist.sample(seeds(1, 2))


def test_draws_do_not_depend_on_slices() -> None:
    vae, x = tiny(), frames(9, samples=3)
    whole = vae.encode(x).latent_dist.sample(torch.manual_seed(1))
    vae.enable_slicing()
    torch.testing.assert_close(vae.encode(x).latent_dist.sample(torch.manual_seed(1)), whole)
    coarse = autoencoder(ladder("video"), 1, batch("video"))
    coarse.enable_prior_sampling(seed=2)
    z = coarse.encode(batch("video")).latent_dist.mode()
    whole = coarse.decode(z).sample
    coarse.enable_slicing()
    torch.testing.assert_close(coarse.decode(z).sample, whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("count", range(1, 11))
def test_frames_that_fill_no_step_are_left_out_where_one_asks(count: int) -> None:
    vae, x = floored(tiny()), frames(count)
    posterior, steps = vae.encode(x).latent_dist, (count - 1) // 4 + 1
    assert posterior.mean.shape[2] == steps and posterior.size[0] == 1 + (steps - 1) * 4
    assert torch.equal(posterior.mean, vae.encode(x[:, :, : posterior.size[0]]).latent_dist.mean)
    assert vae(x).sample.shape[2] == posterior.size[0]


def test_frames_that_are_repeated_are_named() -> None:
    with pytest.warns(UserWarning, match=r"7 frames .* 1 \+ k \* 4 frames, .* frames='floor'"):
        tiny().encode(frames(7))
    with pytest.raises(ValueError, match=r"'pad' or 'floor' \(given: 'ceil'\)"):
        AutoencoderLadder.from_config({**tiny().config, "frames": "ceil"})


def test_a_video_of_any_length_goes_through_a_pipeline_that_floors() -> None:
    vae = floored(tiny())
    width = vae.config.latent_channels
    net = d.CogVideoXTransformer3DModel(
        attention_head_dim=16,
        num_attention_heads=2,
        num_layers=1,
        in_channels=width,
        out_channels=width,
        time_embed_dim=4,
        text_embed_dim=8,
        sample_height=4,
        sample_width=8,
        sample_frames=9,
        max_text_seq_length=4,
        use_rotary_positional_embeddings=True,
    )
    pipe = d.CogVideoXVideoToVideoPipeline(None, None, vae, net, d.CogVideoXDDIMScheduler())
    pipe.set_progress_bar_config(disable=True)
    text = torch.zeros(1, 4, 8)
    made = pipe(
        video=torch.rand(1, 11, 3, 32, 64),
        height=32,
        width=64,
        prompt_embeds=text,
        negative_prompt_embeds=text,
        num_inference_steps=2,
        output_type="pt",
    ).frames
    assert made.shape == (1, 9, 3, 32, 64) and made.isfinite().all()


def test_every_spelling_of_tiles_is_understood() -> None:
    vae = tiny()
    for given in ({"tile_sample_min_height": True}, {"use_tiling": True}, {}):
        vae.enable_tiling(**given)
        assert vae.use_tiling
    for given in ({"tile_sample_min_height": False}, {"use_tiling": False}):
        vae.enable_tiling(**given)
        assert not vae.use_tiling
    vae.enable_tiling(64, 128)
    assert vae.tiles.size == (64, 128) and vae.tiles.stride == (48, 96)
    vae.enable_tiling(tile_sample_min_num_frames=8, tile_sample_stride_num_frames=6)
    assert vae.tiles.frames == 8
    vae.enable_tiling(tile_overlap_factor_height=1 / 2, tile_overlap_factor_width=1 / 8)
    assert vae.tiles.stride == (32, 112)
    with pytest.raises(ValueError, match=r"overlap by 0.7; give a share from 0 to 0.5"):
        vae.enable_tiling(tile_overlap_factor_width=0.7)


@pytest.mark.parametrize(
    "name",
    [
        "tile_sample_min_height",
        "tile_sample_min_width",
        "tile_sample_stride_height",
        "tile_sample_stride_width",
        "tile_sample_min_num_frames",
    ],
)
def test_a_tile_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="tiles have .*0"):
        tiny().enable_tiling(**{name: 0})


def test_only_models_of_pictures_have_tiles() -> None:
    vae = autoencoder(ladder("voxel"), 1, batch("voxel"))
    assert not hasattr(vae, "use_tiling")
    with pytest.raises(NotImplementedError, match="voxel"):
        vae.enable_tiling()


def test_the_posterior_has_what_that_of_diffusers_has() -> None:
    vae, x = tiny(), frames(1)  # one frame: nothing is repeated, so all counts add up
    encoded = vae.encode(x)
    ours, sample = encoded.latent_dist, torch.randn_like(encoded.latent_dist.mean)
    theirs = d.models.autoencoders.vae.DiagonalGaussianDistribution(ours.parameters)
    dims = tuple(range(1, sample.ndim))
    assert torch.equal(ours.mean, theirs.mean) and torch.equal(encoded.latent, theirs.mode())
    torch.testing.assert_close(ours.nll(sample, dims), theirs.nll(sample, dims))
    torch.testing.assert_close(ours.nll(sample, [1]), theirs.nll(sample, [1]))
    # at the first frame finer levels are repeated, and count once
    level = vae.packing.unfold(torch.ones_like(sample))
    torch.testing.assert_close(
        ours.nll(ours.mean), 0.5 * _counted(vae, ours.logvar + torch.tensor(2 * torch.pi).log())
    )
    assert sum(z[0].numel() for z in level) < sample[0].numel()


def _counted(vae: AutoencoderLadder, nats: torch.Tensor) -> torch.Tensor:
    return sum(z.flatten(1).sum(1) for z in vae.packing.unfold(nats))


@pytest.mark.parametrize(
    "kind",
    [d.AutoencoderKL, d.AutoencoderKLWan, d.AutoencoderKLHunyuanVideo, d.AutoencoderKLCogVideoX],
)
def test_a_class_that_it_is_not_fails(kind: type, tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path)
    with pytest.raises((TypeError, ValueError)):
        kind.from_pretrained(tmp_path)
