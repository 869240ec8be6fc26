"""Tiny random networks of videos for the pipelines of `diffusers`; see `pipeline_networks.py`."""

from __future__ import annotations

from typing import Any

import diffusers as d
import torch
from pipeline_networks import MASKED, POOLED, WIDTH, Network, embeddings, flow, text


def latte(channels: int) -> dict[str, Any]:
    network = d.LatteTransformer3DModel(
        sample_size=4, patch_size=2, attention_head_dim=8, num_attention_heads=2, num_layers=1,
        caption_channels=WIDTH, in_channels=channels, out_channels=2 * channels,
        cross_attention_dim=16, num_embeds_ada_norm=1000, norm_type="ada_norm_single",
        norm_elementwise_affine=False, video_length=3,
    )  # fmt: skip
    return {"transformer": network, "scheduler": d.DDIMScheduler()}


def wan(channels: int, given: int = 0, kind: type | None = None) -> dict[str, Any]:
    network = (kind or d.WanTransformer3DModel)(
        patch_size=(1, 1, 1), num_attention_heads=2, attention_head_dim=12,
        in_channels=channels + given, out_channels=channels, text_dim=WIDTH, freq_dim=16,
        ffn_dim=16, num_layers=1,
    )  # fmt: skip
    return {"transformer": network, "scheduler": flow()}


def wan_from_image(channels: int) -> dict[str, Any]:
    return wan(channels, given=channels + 4)


def wan_from_video(channels: int) -> dict[str, Any]:
    return wan(channels) | {"scheduler": d.UniPCMultistepScheduler(flow_shift=3.0)}


def skyreels(channels: int) -> dict[str, Any]:
    return wan(channels, kind=d.SkyReelsV2Transformer3DModel) | {
        "scheduler": d.UniPCMultistepScheduler(flow_shift=8.0, use_flow_sigmas=True)
    }


def cogvideox(channels: int, given: int = 0) -> dict[str, Any]:
    network = d.CogVideoXTransformer3DModel(
        attention_head_dim=16, num_attention_heads=2, num_layers=1, in_channels=channels + given,
        out_channels=channels, time_embed_dim=4, text_embed_dim=WIDTH, sample_height=4,
        sample_width=8, sample_frames=9, max_text_seq_length=4,
        use_rotary_positional_embeddings=True,
    )  # fmt: skip
    return {"transformer": network, "scheduler": d.CogVideoXDDIMScheduler()}


def cogvideox_given(channels: int) -> dict[str, Any]:
    return cogvideox(channels, given=channels)


def ltx(channels: int) -> dict[str, Any]:
    network = d.LTXVideoTransformer3DModel(
        in_channels=channels, out_channels=channels, attention_head_dim=8, num_attention_heads=2,
        num_layers=1, cross_attention_dim=16, caption_channels=WIDTH,
    )  # fmt: skip
    return {"transformer": network, "scheduler": flow()}


def hunyuan(channels: int, given: int = 0) -> dict[str, Any]:
    network = d.HunyuanVideoTransformer3DModel(
        in_channels=channels + given, out_channels=channels, attention_head_dim=10,
        num_attention_heads=2, num_layers=1, num_single_layers=1, num_refiner_layers=1,
        patch_size=1, text_embed_dim=WIDTH, pooled_projection_dim=WIDTH, rope_axes_dim=(2, 4, 4),
        guidance_embeds=True,
    )  # fmt: skip
    return {"transformer": network, "scheduler": flow()}


def kandinsky5(channels: int, given: bool = False) -> dict[str, Any]:
    network = d.Kandinsky5Transformer3DModel(
        in_visual_dim=channels, in_text_dim=WIDTH, in_text_dim2=WIDTH, time_dim=16,
        out_visual_dim=channels, patch_size=(1, 2, 2), model_dim=16, ff_dim=32, num_text_blocks=1,
        num_visual_blocks=1, axes_dims=(1, 1, 2), visual_cond=given, attention_type="regular",
    )  # fmt: skip
    return {"transformer": network, "scheduler": flow()}


def kandinsky5_given(channels: int) -> dict[str, Any]:
    return kandinsky5(channels, given=True)


def allegro(channels: int) -> dict[str, Any]:
    network = d.AllegroTransformer3DModel(
        num_attention_heads=2, attention_head_dim=12, in_channels=channels, out_channels=channels,
        num_layers=1, cross_attention_dim=24, sample_width=8, sample_height=4, sample_frames=3,
        caption_channels=WIDTH,
    )  # fmt: skip
    return {"transformer": network, "scheduler": d.DDIMScheduler()}


def sana_video(channels: int) -> dict[str, Any]:
    network = d.SanaVideoTransformer3DModel(
        in_channels=channels, out_channels=channels, num_attention_heads=2, attention_head_dim=12,
        num_layers=1, num_cross_attention_heads=2, cross_attention_head_dim=12,
        cross_attention_dim=24, caption_channels=WIDTH, sample_size=8, patch_size=(1, 2, 2),
        qk_norm="rms_norm_across_heads", rope_max_seq_len=32,
    )  # fmt: skip
    return {"transformer": network, "scheduler": flow()}


QWEN = {
    f"{negative}prompt_{name}": value
    for negative in ("", "negative_")
    for name, value in {
        "embeds_qwen": text(4, WIDTH),
        "embeds_clip": text(WIDTH),
        "cu_seqlens": torch.tensor([0, 4], dtype=torch.int32),
    }.items()
}
VIDEOS = [
    Network("Sana(Image|Video|WM)", "video", sana_video, MASKED),
    Network("Latte", "image", latte, embeddings() | {"video_length": 3, "clean_caption": False}),
    Network("WanImage", "video", wan_from_image, embeddings()),
    Network("WanVideo", "video", wan_from_video, embeddings()),
    Network("Wan", "video", wan, embeddings()),
    Network("SkyReels", "video", skyreels, embeddings()),
    Network("CogVideoX(Image|Fun)", "video", cogvideox_given, embeddings()),
    Network("CogVideoX", "video", cogvideox, embeddings()),
    Network("LTX(?!2)", "video", ltx, MASKED),
    Network("HunyuanVideo(?!15)", "video", hunyuan, POOLED | MASKED),
    Network("Kandinsky5I2V", "video", kandinsky5_given, QWEN),
    Network("Kandinsky5I2I", "image", kandinsky5_given, QWEN),
    Network("Kandinsky5T2I", "image", kandinsky5, QWEN),
    Network("Kandinsky5", "video", kandinsky5, QWEN),
    Network("Allegro", "video", allegro, MASKED),
]  # fmt: skip
