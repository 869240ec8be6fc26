"""More tiny random networks for the pipelines of `diffusers`; see `pipeline_networks.py`."""

from __future__ import annotations

from typing import Any

import diffusers as d
import torch
from diffusers.configuration_utils import ConfigMixin
from PIL import Image
from pipeline_networks import (
    WIDTH,
    Network,
    cogview4,
    embeddings,
    flow,
    flux,
    stable_diffusion,
    stable_diffusion_xl,
    text,
    unet,
)
from pipeline_videos import hunyuan, wan

PICTURES = [Image.new("RGB", (32, 32))] * 9  # frames that steer


def flux_steered(channels: int) -> dict[str, Any]:
    steering = d.FluxControlNetModel(
        patch_size=1, in_channels=4 * channels, num_layers=1, num_single_layers=1,
        attention_head_dim=16, num_attention_heads=2, joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH, axes_dims_rope=(4, 4, 8),
    )  # fmt: skip
    return flux(channels) | {"controlnet": steering}


def moving(channels: int) -> dict[str, Any]:
    adapter = d.MotionAdapter(
        block_out_channels=(8, 16), motion_layers_per_block=1, motion_norm_num_groups=4,
        motion_num_attention_heads=2,
    )  # fmt: skip
    return stable_diffusion(channels) | {"motion_adapter": adapter}


def moving_xl(channels: int) -> dict[str, Any]:
    parts = stable_diffusion_xl(channels)
    return parts | {"motion_adapter": moving(channels)["motion_adapter"]}


def sparse(channels: int) -> dict[str, Any]:
    steering = d.SparseControlNetModel(
        block_out_channels=(8, 16), layers_per_block=1, in_channels=channels,
        conditioning_channels=3, cross_attention_dim=WIDTH, norm_num_groups=4,
        down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
        motion_num_attention_heads=2, conditioning_embedding_out_channels=(8, 8),
        use_simplified_condition_embedding=False,
    )  # fmt: skip
    return moving(channels) | {"controlnet": steering}


def video_unet(channels: int) -> dict[str, Any]:
    network = d.UNet3DConditionModel(
        sample_size=4, in_channels=channels, out_channels=channels, block_out_channels=(8, 16),
        layers_per_block=1, norm_num_groups=4, cross_attention_dim=WIDTH, attention_head_dim=4,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
    )  # fmt: skip
    return {"unet": network, "scheduler": d.DDIMScheduler(clip_sample=False)}


def hunyuan_dit(channels: int) -> dict[str, Any]:
    network = d.HunyuanDiT2DModel(
        sample_size=8, num_layers=4, patch_size=2, attention_head_dim=8, num_attention_heads=3,
        in_channels=channels, cross_attention_dim=WIDTH, cross_attention_dim_t5=WIDTH,
        pooled_projection_dim=WIDTH, hidden_size=24, text_len=4, text_len_t5=4,
    )  # fmt: skip
    steering = d.HunyuanDiT2DControlNetModel(
        sample_size=8, transformer_num_layers=4, patch_size=2, attention_head_dim=8,
        num_attention_heads=3, in_channels=channels, cross_attention_dim=WIDTH,
        cross_attention_dim_t5=WIDTH, pooled_projection_dim=WIDTH, hidden_size=24, text_len=4,
        text_len_t5=4,
    )  # fmt: skip
    return {"transformer": network, "controlnet": steering, "scheduler": d.DDPMScheduler()}


def lumina(channels: int) -> dict[str, Any]:
    network = d.LuminaNextDiT2DModel(
        sample_size=4, patch_size=2, in_channels=channels, hidden_size=8, num_layers=1,
        num_attention_heads=2, num_kv_heads=1, multiple_of=16, cross_attention_dim=WIDTH,
    )  # fmt: skip
    return {"transformer": network, "scheduler": flow()}


def cogview3(channels: int) -> dict[str, Any]:
    network = d.CogView3PlusTransformer2DModel(
        patch_size=2, in_channels=channels, out_channels=channels, num_layers=1,
        attention_head_dim=4, num_attention_heads=2, text_embed_dim=WIDTH, time_embed_dim=8,
        condition_dim=2, pos_embed_max_size=8, sample_size=8,
    )  # fmt: skip
    return {"transformer": network, "scheduler": d.CogVideoXDDIMScheduler()}


def cogview4_steered(channels: int) -> dict[str, Any]:
    parts = cogview4(channels)
    wider = dict(parts["transformer"].config) | {"in_channels": 2 * channels}
    return parts | {"transformer": d.CogView4Transformer2DModel.from_config(wider)}


def z_image(channels: int) -> dict[str, Any]:
    network = d.ZImageTransformer2DModel(
        in_channels=channels, dim=32, n_layers=1, n_refiner_layers=1, n_heads=2, n_kv_heads=2,
        cap_feat_dim=WIDTH, axes_dims=[8, 4, 4], axes_lens=[256, 32, 32],
    )  # fmt: skip
    return {"transformer": network, "scheduler": flow()}


def ovis(channels: int) -> dict[str, Any]:
    network = d.OvisImageTransformer2DModel(
        in_channels=4 * channels, out_channels=4 * channels, num_layers=1, num_single_layers=1,
        attention_head_dim=16, num_attention_heads=2, joint_attention_dim=WIDTH,
        axes_dims_rope=(4, 4, 8),
    )  # fmt: skip
    return {"transformer": network, "scheduler": flow(use_dynamic_shifting=True)}


def sana_sprint(channels: int) -> dict[str, Any]:
    network = d.SanaTransformer2DModel(
        patch_size=1, in_channels=channels, out_channels=channels, num_layers=1,
        num_attention_heads=2, attention_head_dim=4, num_cross_attention_heads=2,
        cross_attention_head_dim=4, cross_attention_dim=8, caption_channels=WIDTH, sample_size=32,
        qk_norm="rms_norm_across_heads", guidance_embeds=True,
    )  # fmt: skip
    return {"transformer": network, "scheduler": d.SCMScheduler()}


def any_flow(channels: int) -> dict[str, Any]:
    parts = wan(channels, kind=d.AnyFlowTransformer3DModel)
    return parts | {"scheduler": d.FlowMapEulerDiscreteScheduler()}


def lucy(channels: int) -> dict[str, Any]:
    return wan(channels, given=channels) | {
        "scheduler": d.UniPCMultistepScheduler(flow_shift=3.0, prediction_type="flow_prediction",
                                               use_flow_sigmas=True)
    }  # fmt: skip


def hunyuan_given(channels: int) -> dict[str, Any]:
    return hunyuan(channels, given=channels)


class Approving(d.ModelMixin, ConfigMixin):
    """Of what random networks make nothing is unsafe."""

    config_name = "config.json"

    def __init__(self) -> None:
        super().__init__()
        self.device_of = torch.nn.Parameter(torch.zeros(1))

    def check_text_safety(self, prompt: str) -> bool:
        return True

    def check_video_safety(self, video: Any) -> Any:
        return video


def cosmos(channels: int, given: int = 0) -> dict[str, Any]:
    network = d.CosmosTransformer3DModel(
        in_channels=channels + given, out_channels=channels, num_attention_heads=2,
        attention_head_dim=16, num_layers=1, text_embed_dim=WIDTH, adaln_lora_dim=4,
        max_size=(4, 32, 32),
    )  # fmt: skip
    scheduler = d.EDMEulerScheduler(
        sigma_min=0.002, sigma_max=80, sigma_data=0.5, final_sigmas_type="sigma_min"
    )
    return {"transformer": network, "scheduler": scheduler, "safety_checker": Approving()}


def cosmos_given(channels: int) -> dict[str, Any]:
    return cosmos(channels, given=1)


def cosmos2(channels: int) -> dict[str, Any]:
    return cosmos(channels) | {"scheduler": flow(use_karras_sigmas=True)}


def cosmos2_given(channels: int) -> dict[str, Any]:
    return cosmos_given(channels) | {"scheduler": flow(use_karras_sigmas=True)}


def moving_from_image(channels: int) -> dict[str, Any]:
    return moving(channels) | {"unet": unet(channels, channels + 1)}


LISTED = {f"{n}prompt_embeds": [text(4, WIDTH)[0]] for n in ("", "negative_")}
POOLED, MASKED = embeddings(WIDTH), embeddings(mask=True)
TWICE = {
    f"{negative}{name}{second}": values
    for negative in ("", "negative_")
    for second in ("", "_2")
    for name, values in (
        ("prompt_embeds", text(4, WIDTH)),
        ("prompt_attention_mask", torch.ones(1, 4).long()),
    )
} | {"use_resolution_binning": False}
STEERED = {"conditioning_frames": PICTURES, "num_frames": 9}
MORE = [
    Network("FluxControlNet", "image", flux_steered, POOLED),
    Network("AnimateDiffSDXL", "image", moving_xl, POOLED | STEERED),
    Network("AnimateDiffSparse", "image", sparse, embeddings() | STEERED),
    Network("AnimateDiff", "image", moving, embeddings() | STEERED),
    Network("PIA", "image", moving_from_image, embeddings() | STEERED),
    Network("TextToVideoZeroSDXL", "image", stable_diffusion_xl, POOLED),
    Network("(TextToVideoSD|VideoToVideoSD)", "image", video_unet, embeddings() | STEERED),
    Network("HunyuanDiT", "image", hunyuan_dit, TWICE),
    Network("LuminaP", "image", lumina, MASKED | {"clean_caption": False}),
    Network("CogView3Plus", "image", cogview3, embeddings()),
    Network("CogView4Control", "image", cogview4_steered, embeddings()),
    Network("ZImage(?!Control|Omni)", "image", z_image, LISTED),
    Network("OvisImage", "image", ovis, embeddings()),
    Network("SanaSprint", "image", sana_sprint, MASKED | {"use_resolution_binning": False}),
    Network("AnyFlowP", "video", any_flow, embeddings()),
    Network("LucyEdit", "video", lucy, embeddings()),
    Network("HunyuanSkyreels", "video", hunyuan_given, POOLED | MASKED),
    Network("CosmosTextToWorld", "video", cosmos, embeddings()),
    Network("CosmosVideoToWorld", "video", cosmos_given, embeddings() | {"video": None}),
    Network("Cosmos2TextToImage", "video", cosmos2, embeddings()),
    Network("Cosmos2VideoToWorld", "video", cosmos2_given, embeddings() | {"video": None}),
]  # fmt: skip
