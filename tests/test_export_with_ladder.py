"""Pipelines of `diffusers` on an exact ladder in the layout of its foundation."""

from pathlib import Path

import diffusers as d
import pytest
import torch
from diffusers import AutoModel
from test_export_foundation import saved
from test_foundation import pixels

import stlatent
from stlatent.export import export

TEXT = torch.zeros(1, 4, 8)
CALL = {"prompt_embeds": TEXT, "negative_prompt_embeds": TEXT, "num_inference_steps": 2}


def wan(vae: torch.nn.Module) -> torch.Tensor:
    """A video by a transformer of random weights."""
    torch.manual_seed(0)
    net = d.WanTransformer3DModel(
        (1, 2, 2), 2, 12, 16, 16, text_dim=8, freq_dim=16, ffn_dim=16, num_layers=1
    )
    pipe = d.WanPipeline(None, None, vae, d.FlowMatchEulerDiscreteScheduler(), net)
    pipe.set_progress_bar_config(disable=True)
    size = {"height": 32, "width": 48, "num_frames": 9}
    return pipe(**CALL, **size, output_type="pt", generator=torch.manual_seed(1)).frames


def stable_diffusion(vae: torch.nn.Module) -> torch.Tensor:
    torch.manual_seed(0)
    net = d.UNet2DConditionModel(
        block_out_channels=(8, 8),
        norm_num_groups=4,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=8,
        attention_head_dim=4,
    )
    rest = {"text_encoder": None, "tokenizer": None, "safety_checker": None}
    rest |= {
        "feature_extractor": None,
        "scheduler": d.DDIMScheduler(steps_offset=1, clip_sample=False),
    }
    pipe = d.StableDiffusionPipeline(vae=vae, unet=net, **rest, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    call = CALL | {"height": 64, "width": 64}
    return pipe(**call, output_type="pt", generator=torch.manual_seed(1)).images


def sana(vae: torch.nn.Module) -> torch.Tensor:
    torch.manual_seed(0)
    net = d.SanaTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_layers=1,
        num_attention_heads=1,
        attention_head_dim=8,
        num_cross_attention_heads=1,
        cross_attention_head_dim=8,
        cross_attention_dim=8,
        caption_channels=8,
        sample_size=32,
    )
    pipe = d.SanaPipeline(None, None, vae, net, d.FlowMatchEulerDiscreteScheduler())
    pipe.set_progress_bar_config(disable=True)
    mask = {f"{which}_attention_mask": torch.ones(1, 4) for which in ("prompt", "negative_prompt")}
    size = {"height": 32, "width": 32, "use_resolution_binning": False}
    call = CALL | mask | size | {"negative_prompt": None}
    return pipe(**call, output_type="pt", generator=torch.manual_seed(1)).images


PAIRS = [
    ("AutoencoderKLWan", wan),
    ("AutoencoderKL", stable_diffusion),
    ("AutoencoderTiny", stable_diffusion),
    ("AutoencoderDC", sana),
]


@pytest.mark.parametrize(("name", "draw"), PAIRS)
def test_whatever_was_trained_on_the_foundation_goes_on_working(tmp_path, name, draw):
    model = saved(name, tmp_path, exact=True)
    expected = draw(getattr(d, name).from_pretrained(tmp_path / "foundation"))
    export(model, tmp_path / "vae", layout="foundation")
    (tmp_path / "foundation").rename(tmp_path / "elsewhere")
    vae = AutoModel.from_pretrained(str(tmp_path / "vae"), trust_remote_code=True)
    assert torch.allclose(draw(vae), expected, atol=1e-5)
    assert expected.std() > 0.01

    z = model.frozen.own(torch.randn(1, model.frozen.channels, *[5] * len(model.frozen.stride)))
    decode = vae.decode
    latents = vae.split(z)
    assert torch.allclose(vae.join(latents), z, atol=1e-5 * z.abs().max())
    assert not torch.allclose(vae.join(latents, 1), z, atol=0.1)
    through = []

    def through_levels(z, *args, **kwargs):
        """All that the pipeline decodes goes down the levels and up again."""
        through.append(z)
        return decode(vae.join(vae.split(z)), *args, **kwargs)

    vae.decode = through_levels
    assert torch.allclose(draw(vae), expected, atol=1e-5) and through
    assert stlatent.fingerprint(stlatent.load(tmp_path / "vae")) == stlatent.fingerprint(model)


def test_what_leaves_something_over_has_not_this_layout(tmp_path):
    model = saved("AutoencoderKL", tmp_path)
    with pytest.raises(ValueError, match="exact: true"):
        export(model, Path(tmp_path, "vae"), layout="foundation", data=[pixels(32, 32)])
