"""Unmodified pipelines of diffusers, with random transformers and an exported ladder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers as d
import pipeline_table
import pytest
import torch
from exported import tiny

pytest.importorskip("transformers", reason="pipelines of diffusers cannot be made without it")

TEXT = torch.zeros(1, 4, 8)
MASK = torch.ones(1, 4)
GUIDED = {"prompt_embeds": TEXT, "negative_prompt_embeds": TEXT}
MASKED = {"prompt_attention_mask": MASK, "negative_prompt_attention_mask": MASK}
POOLED = {"pooled_prompt_embeds": TEXT[:, 0]}
VIDEO = {"height": 32, "width": 64, "num_frames": 9, "output_type": "pt"}
SMALL = {"num_attention_heads": 2, "num_layers": 1}
IMAGE_STRIDES = ((8, 8), (4, 4))
Made = tuple[Any, dict[str, Any], tuple[int, ...]]


def wan() -> Made:
    vae = tiny()
    width = {"in_channels": vae.config.z_dim, "out_channels": vae.config.z_dim}
    net = d.WanTransformer3DModel(
        (1, 1, 1), attention_head_dim=12, text_dim=8, freq_dim=16, ffn_dim=16, **width, **SMALL
    )
    pipe = d.WanPipeline(None, None, vae, d.FlowMatchEulerDiscreteScheduler(), net)
    return pipe, GUIDED | VIDEO, (1, 9, 3, 32, 64)


def cogvideox() -> Made:
    vae = tiny()
    width = vae.config.latent_channels
    net = d.CogVideoXTransformer3DModel(
        attention_head_dim=16,
        in_channels=width,
        out_channels=width,
        time_embed_dim=4,
        text_embed_dim=8,
        sample_height=4,
        sample_width=8,
        sample_frames=9,
        max_text_seq_length=4,
        use_rotary_positional_embeddings=True,
        **SMALL,
    )
    pipe = d.CogVideoXPipeline(None, None, vae, net, d.CogVideoXDDIMScheduler())
    return pipe, GUIDED | VIDEO, (1, 9, 3, 32, 64)


def cogvideox_from_video() -> Made:
    pipe, call, shape = cogvideox()
    pipe = d.CogVideoXVideoToVideoPipeline(None, None, pipe.vae, pipe.transformer, pipe.scheduler)
    del call["num_frames"]
    return pipe, call | {"video": torch.rand(1, 9, 3, 32, 64)}, shape


def ltx() -> Made:
    vae = tiny()
    width = {"in_channels": vae.config.latent_channels, "out_channels": vae.config.latent_channels}
    net = d.LTXVideoTransformer3DModel(
        attention_head_dim=8, cross_attention_dim=16, caption_channels=8, **width, **SMALL
    )
    pipe = d.LTXPipeline(d.FlowMatchEulerDiscreteScheduler(), vae, None, None, net)
    return pipe, GUIDED | MASKED | VIDEO, (1, 9, 3, 32, 64)


def hunyuan_video() -> Made:
    vae = tiny()
    width = {"in_channels": vae.config.latent_channels, "out_channels": vae.config.latent_channels}
    net = d.HunyuanVideoTransformer3DModel(
        attention_head_dim=10,
        num_single_layers=1,
        num_refiner_layers=1,
        patch_size=1,
        text_embed_dim=8,
        pooled_projection_dim=8,
        rope_axes_dim=(2, 4, 4),
        **width,
        **SMALL,
    )
    scheduler = d.FlowMatchEulerDiscreteScheduler()
    pipe = d.HunyuanVideoPipeline(None, None, net, vae, scheduler, None, None)
    call = {"prompt_embeds": TEXT, "prompt_attention_mask": MASK}
    return pipe, call | POOLED | VIDEO, (1, 9, 3, 32, 64)


def mochi() -> Made:
    """Its strides and its twelve channels are written into the pipeline."""
    vae = tiny(strides=((6, 8, 8),), latent=12)
    net = d.MochiTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        pooled_projection_dim=16,
        text_embed_dim=8,
        time_embed_dim=4,
        max_sequence_length=4,
    )
    pipe = d.MochiPipeline(d.FlowMatchEulerDiscreteScheduler(), vae, None, None, net)
    call = GUIDED | {name: mask.bool() for name, mask in MASKED.items()} | VIDEO
    return pipe, call | {"num_frames": 13}, (1, 13, 3, 32, 64)


def latte() -> Made:
    """Pictures, one frame at a time."""
    vae = tiny("image", IMAGE_STRIDES)
    net = d.LatteTransformer3DModel(
        sample_size=4,
        patch_size=2,
        attention_head_dim=8,
        caption_channels=8,
        in_channels=vae.config.latent_channels,
        out_channels=2 * vae.config.latent_channels,
        cross_attention_dim=16,
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_single",
        norm_elementwise_affine=False,
        video_length=3,
        **SMALL,
    )
    pipe = d.LattePipeline(None, None, vae, net, d.DDIMScheduler())
    call = {"negative_prompt": None, "height": 32, "width": 32, "video_length": 3}
    call |= {"output_type": "pt", "clean_caption": False}
    return pipe, GUIDED | call, (1, 3, 3, 32, 32)


def dit() -> Made:
    vae = tiny("image", IMAGE_STRIDES)
    net = d.DiTTransformer2DModel(
        sample_size=4,
        attention_head_dim=8,
        in_channels=vae.config.latent_channels,
        out_channels=2 * vae.config.latent_channels,
        num_embeds_ada_norm=1000,
        **SMALL,
    )
    pipe = d.DiTPipeline(net, vae, d.DDIMScheduler())
    return pipe, {"class_labels": [1], "output_type": "np"}, (1, 32, 32, 3)


def stable_diffusion() -> Made:
    """A U-Net; the generator is handed to the decoder as well."""
    vae = tiny("image", IMAGE_STRIDES)
    net = d.UNet2DConditionModel(
        sample_size=4,
        in_channels=vae.config.latent_channels,
        out_channels=vae.config.latent_channels,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=8,
    )
    scheduler = d.DDIMScheduler(steps_offset=1, clip_sample=False)
    pipe = d.StableDiffusionPipeline(
        vae, None, None, net, scheduler, None, None, requires_safety_checker=False
    )
    call = {"height": 32, "width": 48, "output_type": "pt", "generator": torch.manual_seed(0)}
    return pipe, GUIDED | call, (1, 3, 32, 48)


PIPELINES = [wan, cogvideox, cogvideox_from_video, ltx, hunyuan_video, mochi, latte]
PIPELINES += [dit, stable_diffusion]


@pytest.mark.parametrize("make", PIPELINES, ids=lambda make: make.__name__)
def test_pipelines_run(make: Callable[[], Made]) -> None:
    pipe, call, shape = make()
    pipe.set_progress_bar_config(disable=True)
    decoded = []
    original = pipe.vae.decode
    pipe.vae.decode = lambda z, *args, **named: decoded.append(z) or original(z, *args, **named)
    made = pipe(**call, num_inference_steps=2)[0]
    assert tuple(made.shape) == shape
    assert torch.as_tensor(made).isfinite().all()
    grid = decoded[0].shape[2:]
    shown = shape[-3:-1] if shape[-1] == 3 else shape[-2:]
    assert tuple(grid[-2:]) == tuple(n // pipe.vae.spatial_compression_ratio for n in shown)


def test_the_table_of_pipelines_says_what_was_found() -> None:
    how = {
        d.FluxPipeline: ("runs", ""),
        d.StableDiffusionInpaintPipeline: ("runs", "only with 4 channels"),
        d.Flux2Pipeline: ("cannot", "vae.bn"),
        d.SanaVideoPipeline: ("cannot", "strides of three classes"),
        d.AllegroPipeline: ("cannot", "frames before channels"),
        d.AceStepPipeline: ("cannot", "sound"),
        d.ZImagePipeline: ("runs", ""),
    }
    for pipeline, (word, remark) in how.items():
        found = pipeline_table.outcome(pipeline)
        assert found[0] == word and remark in found[1], pipeline.__name__


def test_every_convention_leaves_latents_as_they_are() -> None:
    vae = tiny()
    z = torch.randn(1, vae.config.z_dim, 2, 3, 4)
    mean, std = (v.view(1, -1, 1, 1, 1) for v in (vae.latents_mean, vae.latents_std))
    scale, shift = vae.config.scaling_factor, vae.config.shift_factor
    assert torch.equal((z - mean) / std, z) and torch.equal((z - shift) * scale, z)
    assert vae.config.latents_mean == vae.latents_mean.tolist()
    halvings = len(vae.config.block_out_channels) - 1
    assert 2**halvings == 2 ** len(vae.temperal_downsample) == vae.config.scale_factor_spatial == 8
    assert 2 ** sum(vae.temperal_downsample) == vae.config.scale_factor_temporal == 4


def test_a_saved_pipeline_loads_where_stlatent_is_imported(tmp_path: Path) -> None:
    pipe, call, _ = dit()
    pipe.transformer.eval()  # as loading leaves it
    pipe.save_pretrained(tmp_path / "once")
    again = d.DiTPipeline.from_pretrained(tmp_path / "once")
    again.save_pretrained(tmp_path / "twice")
    for each in (pipe, again):
        each.set_progress_bar_config(disable=True)
    made = [
        each(**call, num_inference_steps=2, generator=torch.manual_seed(0)).images
        for each in (pipe, again)
    ]
    assert abs(made[0] - made[1]).max() < 1e-5
    script = """
import sys
import stlatent
assert "diffusers" not in sys.modules
from diffusers import AutoModel, DiffusionPipeline
assert type(DiffusionPipeline.from_pretrained("twice").vae) is stlatent.AutoencoderLadder
vae = AutoModel.from_pretrained("twice/vae", trust_remote_code=True)
assert type(vae) is stlatent.AutoencoderLadder
"""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "HF_MODULES_CACHE": str(tmp_path / "modules"),
        "HF_HUB_OFFLINE": "1",
    }
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
