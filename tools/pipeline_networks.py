"""Tiny random networks for the pipelines of `diffusers`, by families of pipelines: transformers and
UNets of pictures. Those of videos are in `pipeline_videos.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import diffusers as d
import torch

WIDTH = 8  # of embeddings of text


class Network(NamedTuple):
    """What a family of pipelines needs.

    Attributes:
        pattern: of their names.
        domain: of the ladder.
        parts: networks and scheduler by the names of the constructor, for a number of channels.
        call: arguments beside the usual ones.
    """

    pattern: str
    domain: str
    parts: Callable[[int], dict[str, Any]]
    call: dict[str, Any]


def text(*shape: int) -> torch.Tensor:
    return 0.1 * torch.ones(1, *shape)


def embeddings(pooled: int = 0, mask: bool = False) -> dict[str, Any]:
    found = {"prompt_embeds": text(4, WIDTH), "negative_prompt_embeds": text(4, WIDTH)}
    if pooled:
        found |= {f"{n}pooled_prompt_embeds": text(pooled) for n in ("", "negative_")}
    if mask:
        for name in ("prompt", "negative_prompt"):
            found |= {f"{name}_attention_mask": torch.ones(1, 4).bool()}
            found |= {f"{name}_embeds_mask": torch.ones(1, 4).long()}
    return found


def flow(**more: Any) -> Any:
    return d.FlowMatchEulerDiscreteScheduler(**more)


def unet(channels: int, given: int = 0, **more: Any) -> Any:
    return d.UNet2DConditionModel(
        sample_size=4,
        in_channels=channels + given,
        out_channels=channels,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH,
        **more,
    )


def stable_diffusion(channels: int) -> dict[str, Any]:
    network = unet(channels)
    scheduler = d.DDIMScheduler(steps_offset=1, clip_sample=False)
    controlnet = d.ControlNetModel.from_unet(network, conditioning_channels=3)
    return {"unet": network, "scheduler": scheduler, "controlnet": controlnet}


def latent_consistency(channels: int) -> dict[str, Any]:
    return {"unet": unet(channels, time_cond_proj_dim=8), "scheduler": d.LCMScheduler()}


def instruct(channels: int) -> dict[str, Any]:
    return stable_diffusion(channels) | {"unet": unet(channels, channels)}


def stable_diffusion_xl(channels: int) -> dict[str, Any]:
    more = {"addition_embed_type": "text_time", "addition_time_embed_dim": 4}
    network = unet(channels, projection_class_embeddings_input_dim=6 * 4 + WIDTH, **more)
    scheduler = d.EulerDiscreteScheduler(timestep_spacing="leading")
    controlnet = d.ControlNetModel.from_unet(network, conditioning_channels=3)
    return {"unet": network, "scheduler": scheduler, "controlnet": controlnet}


def stable_diffusion_3(channels: int) -> dict[str, Any]:
    network = d.SD3Transformer2DModel(
        sample_size=8, patch_size=1, in_channels=channels, out_channels=channels, num_layers=1,
        attention_head_dim=8, num_attention_heads=2, caption_projection_dim=16,
        joint_attention_dim=WIDTH, pooled_projection_dim=WIDTH,
    )  # fmt: skip
    return {"transformer": network, "scheduler": flow()}


def flux(channels: int, given: int = 0, guided: bool = False) -> dict[str, Any]:
    network = d.FluxTransformer2DModel(
        patch_size=1, in_channels=4 * channels + given, out_channels=4 * channels, num_layers=1,
        num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=WIDTH, pooled_projection_dim=WIDTH, axes_dims_rope=(4, 4, 8),
        guidance_embeds=guided,
    )  # fmt: skip
    return {"transformer": network, "scheduler": flow()}


def flux_control(channels: int) -> dict[str, Any]:
    return flux(channels, given=4 * channels)


def flux_fill(channels: int) -> dict[str, Any]:
    return flux(channels, given=4 * channels + 4 * 64, guided=True)


def chroma(channels: int) -> dict[str, Any]:
    network = d.ChromaTransformer2DModel(
        patch_size=1, in_channels=4 * channels, num_layers=1, num_single_layers=1,
        attention_head_dim=16, num_attention_heads=2, joint_attention_dim=WIDTH,
        axes_dims_rope=(4, 4, 8), approximator_hidden_dim=32, approximator_layers=1,
        approximator_num_channels=16,
    )  # fmt: skip
    return {"transformer": network, "scheduler": flow()}


def pixart(channels: int) -> dict[str, Any]:
    network = d.PixArtTransformer2DModel(
        sample_size=4, num_layers=1, patch_size=2, attention_head_dim=8, num_attention_heads=2,
        caption_channels=WIDTH, in_channels=channels, out_channels=2 * channels,
        cross_attention_dim=16, norm_elementwise_affine=False, num_embeds_ada_norm=1000,
        norm_type="ada_norm_single", use_additional_conditions=False,
    )  # fmt: skip
    return {"transformer": network, "scheduler": d.DDIMScheduler()}


def sana(channels: int) -> dict[str, Any]:
    network = d.SanaTransformer2DModel(
        patch_size=1, in_channels=channels, out_channels=channels, num_layers=1,
        num_attention_heads=2, attention_head_dim=4, num_cross_attention_heads=2,
        cross_attention_head_dim=4, cross_attention_dim=8, caption_channels=WIDTH, sample_size=32,
    )  # fmt: skip
    return {"transformer": network, "scheduler": flow(shift=7.0)}


def lumina2(channels: int) -> dict[str, Any]:
    network = d.Lumina2Transformer2DModel(
        sample_size=4, patch_size=2, in_channels=channels, hidden_size=8, num_layers=1,
        num_attention_heads=1, num_kv_heads=1, multiple_of=16, axes_dim_rope=(4, 2, 2),
        cap_feat_dim=WIDTH,
    )  # fmt: skip
    return {"transformer": network, "scheduler": flow()}


def auraflow(channels: int) -> dict[str, Any]:
    network = d.AuraFlowTransformer2DModel(
        sample_size=32, patch_size=2, in_channels=channels, out_channels=channels,
        num_mmdit_layers=1, num_single_dit_layers=1, attention_head_dim=8, num_attention_heads=2,
        caption_projection_dim=16, joint_attention_dim=WIDTH, pos_embed_max_size=64,
    )  # fmt: skip
    return {"transformer": network, "scheduler": flow()}


def qwen(channels: int) -> dict[str, Any]:
    network = d.QwenImageTransformer2DModel(
        patch_size=2, in_channels=4 * channels, out_channels=channels, num_layers=1,
        attention_head_dim=16, num_attention_heads=2, joint_attention_dim=WIDTH,
        axes_dims_rope=(8, 4, 4),
    )  # fmt: skip
    return {"transformer": network, "scheduler": flow()}


def cogview4(channels: int) -> dict[str, Any]:
    network = d.CogView4Transformer2DModel(
        patch_size=2, in_channels=channels, out_channels=channels, num_layers=1,
        attention_head_dim=4, num_attention_heads=4, text_embed_dim=WIDTH, time_embed_dim=8,
        condition_dim=4,
    )  # fmt: skip
    scheduler = flow(use_dynamic_shifting=True, base_shift=0.25, max_shift=0.75)
    return {"transformer": network, "scheduler": scheduler}


def dit(channels: int) -> dict[str, Any]:
    network = d.DiTTransformer2DModel(
        sample_size=4, attention_head_dim=8, num_attention_heads=2, num_layers=1,
        in_channels=channels, out_channels=2 * channels, num_embeds_ada_norm=1000,
    )  # fmt: skip
    return {"transformer": network, "scheduler": d.DDIMScheduler()}


POOLED, MASKED = embeddings(WIDTH), embeddings(mask=True)
NETWORKS = [
    Network("StableDiffusionInstructPix2Pix", "image", instruct, embeddings()),
    Network("StableDiffusionXL", "image", stable_diffusion_xl, POOLED),
    Network("StableDiffusion3", "image", stable_diffusion_3, POOLED),
    Network("LatentConsistency", "image", latent_consistency, embeddings()),
    Network("(StableDiffusion|AltDiffusion|CycleDiffusion|SemanticSt|TextToVideoZeroP)", "image",
            stable_diffusion, embeddings()),
    Network("FluxFill", "image", flux_fill, POOLED),
    Network("FluxControl(Img2Img|Inpaint)?P", "image", flux_control, POOLED),
    Network("Flux(?!2|Control|Prior)", "image", flux, POOLED),
    Network("Chroma", "image", chroma, MASKED),
    Network("PixArt", "image", pixart, MASKED | {"use_resolution_binning": False}),
    Network("Sana(?!Sprint|Control)", "image", sana, MASKED | {"use_resolution_binning": False}),
    Network("Lumina2", "image", lumina2, MASKED),
    Network("AuraFlow", "image", auraflow, MASKED),
    Network("QwenImage", "video", qwen, MASKED),
    Network("CogView4P", "image", cogview4, embeddings()),
    Network("DiT", "image", dit, {"class_labels": [1]}),
]  # fmt: skip
