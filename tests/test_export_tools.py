"""Exported autoencoders under the tools of diffusers, accelerate and peft that look for modules."""

from __future__ import annotations

import copy
from pathlib import Path

import accelerate
import pytest
import torch
from domains import SIZES, batch, ladder
from exported import autoencoder, tiny
from torch import nn

import stlatent
from stlatent.export import AutoencoderLadder

X = torch.rand(2, 3, 9, 32, 40, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_weights_lie_in_modules_that_tools_look_for() -> None:
    """Nearly all in linear layers, which is all that quantisers read."""
    vae = stlatent.AutoencoderLadder.from_config(_shipped_config())
    total = sum(parameter.numel() for parameter in vae.parameters())
    found = {kind: 0 for kind in (nn.Linear, nn.Conv3d)}
    for module in vae.modules():
        for kind in found:
            if isinstance(module, kind):
                found[kind] += sum(parameter.numel() for parameter in module.parameters())
    assert found[nn.Linear] > 0.9 * total and sum(found.values()) > 0.99 * total


def _shipped_config() -> dict:
    model = stlatent.load("video")
    figures = [0.0] * 26, [1.0] * 26
    return dict(zip(("measured_mean", "measured_std"), figures)) | {
        "model": model.config.model_dump(mode="json"),
        "levels": 3,
    }


@pytest.mark.parametrize("domain", SIZES)
def test_folders_of_former_versions_load_and_give_the_same(domain: str, tmp_path: Path) -> None:
    """There, tensors were called as those of a ladder in training."""
    from safetensors.torch import load_file, save_file

    model, x = ladder(domain), batch(domain)
    autoencoder(model, 2, x).save_pretrained(tmp_path)
    expected = AutoencoderLadder.from_pretrained(tmp_path).encode(x).latent_dist
    file = tmp_path / "diffusion_pytorch_model.safetensors"
    assert "ladder.top" not in load_file(file)
    for name, tensor in stlatent.load(tmp_path).state_dict().items():  # as ladders are loaded
        assert torch.equal(tensor, model.state_dict()[name])
    save_file({f"ladder.{name}": z for name, z in model.state_dict().items()}, file)
    vae = AutoencoderLadder.from_pretrained(tmp_path)
    posterior = vae.encode(x).latent_dist
    assert torch.equal(posterior.parameters, expected.parameters)
    decoded = vae.decode(posterior.mode(), size=posterior.size).sample
    latents = model.encode(x)
    torch.testing.assert_close(decoded, model.decode(latents, 2), atol=1e-4, rtol=0)
    assert stlatent.fingerprint(stlatent.load(tmp_path)) == stlatent.fingerprint(model)


@pytest.mark.parametrize("disk", [False, True])
@pytest.mark.parametrize("domain", SIZES)
def test_weights_may_lie_elsewhere_until_they_are_needed(
    domain: str, disk: bool, tmp_path: Path
) -> None:
    """Sequential offloading: outside the call of its module, a weight is not there at all."""
    vae, x = autoencoder(ladder(domain), 3, batch(domain)), batch(domain)
    posterior = vae.encode(x).latent_dist
    z, y = posterior.mode(), vae(x).sample
    drawn = posterior.sample(torch.manual_seed(1))
    device = torch.device("cpu")
    if disk:
        accelerate.disk_offload(vae, tmp_path, device)
    else:
        accelerate.cpu_offload(vae, device)
    assert {parameter.device.type for parameter in vae.parameters()} == {"meta"}
    posterior = vae.encode(x).latent_dist
    assert torch.equal(posterior.mode(), z) and torch.equal(vae(x).sample, y)
    assert torch.equal(posterior.sample(torch.manual_seed(1)), drawn)
    if domain == "video":
        vae.enable_tiling(64, 64, tile_sample_min_num_frames=8)
        torch.testing.assert_close(vae.encode(x).latent_dist.mode(), z, atol=1e-4, rtol=1e-4)


def test_a_map_of_devices_splits_between_blocks(tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path)
    whole = AutoencoderLadder.from_pretrained(tmp_path)
    memory = {"cpu": sum(p.numel() for p in whole.parameters()) * 2}  # half of what it takes
    vae = AutoencoderLadder.from_pretrained(
        tmp_path, device_map="auto", max_memory=memory, offload_folder=tmp_path / "disk"
    )
    assert set(vae.hf_device_map.values()) == {"cpu", "disk"}
    with torch.no_grad():
        assert torch.equal(vae(X).sample, whole(X).sample)


@pytest.mark.parametrize("kind", ["leaf_level", "block_level"])
def test_groups_of_modules_are_offloaded(kind: str) -> None:
    vae = tiny()
    z, y = vae.encode(X).latent_dist.mode(), vae(X).sample
    cpu = torch.device("cpu")
    vae.enable_group_offload(cpu, cpu, offload_type=kind, num_blocks_per_group=1)
    hooked = {
        name for name, module in vae.named_modules()
        if getattr(module, "_diffusers_hook", None)
        and module._diffusers_hook.get_hook("group_offloading")
    }  # fmt: skip
    for name, _ in vae.named_parameters():  # each belongs to a module whose call brings it
        assert name.rpartition(".")[0] in hooked
    assert torch.equal(vae.encode(X).latent_dist.mode(), z) and torch.equal(vae(X).sample, y)


@pytest.mark.parametrize("domain", SIZES)
def test_layers_are_cast_one_by_one(domain: str) -> None:
    vae, x = autoencoder(ladder(domain), 3, batch(domain)), batch(domain)
    y, size = vae(x).sample, vae.get_memory_footprint()
    vae.enable_layerwise_casting(torch.float8_e4m3fn, torch.float32)
    linear = [module for module in vae.modules() if isinstance(module, nn.Linear)]
    assert linear and all(m.weight.dtype == torch.float8_e4m3fn for m in linear)
    assert vae.get_memory_footprint() < 0.6 * size
    error = (vae(x).sample - y).square().mean().sqrt() / y.std()
    assert 0 < error < 0.2


def test_activations_are_computed_again_where_one_asks() -> None:
    vae = tiny().requires_grad_(True).train()
    again = copy.deepcopy(vae)
    assert not again.is_gradient_checkpointing
    again.enable_gradient_checkpointing()
    assert again.is_gradient_checkpointing
    for model in (vae, again):
        model(X).sample.square().mean().backward()
    for (name, one), two in zip(vae.named_parameters(), again.parameters()):
        torch.testing.assert_close(one.grad, two.grad, msg=name)
    again.disable_gradient_checkpointing()
    assert not again.is_gradient_checkpointing


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_every_parameter_gets_a_gradient(levels: int) -> None:
    """Several processes that train the class would wait for those that get none."""
    vae = autoencoder(ladder("video"), levels, batch("video")).requires_grad_(True)
    vae(batch("video")).sample.square().mean().backward()
    wanted = [name for name, p in vae.named_parameters() if p.requires_grad]
    assert wanted == [name for name, p in vae.named_parameters() if p.grad is not None]
    assert ("ladder.cells.2.0.posterior.evidence.out.linear.weight" in wanted) == (levels == 3)


def test_adapters_of_peft_find_the_layers() -> None:
    peft = pytest.importorskip("peft", reason="adapters are tested where peft is installed")
    vae = tiny()
    y = vae(X).sample
    config = peft.LoraConfig(r=2, target_modules=r".*\.linear", init_lora_weights=False)
    vae.add_adapter(config)
    assert not torch.equal(vae(X).sample, y)
    vae.disable_adapters()
    torch.testing.assert_close(vae(X).sample, y)


@pytest.mark.parametrize("kind", ["quanto", "torchao"])
def test_weights_are_quantised(kind: str, tmp_path: Path) -> None:
    import diffusers

    if kind == "quanto":
        pytest.importorskip("optimum.quanto", reason="optimum-quanto is not installed")
        config = diffusers.QuantoConfig("int8")
    else:
        quantization = pytest.importorskip("torchao.quantization", reason="no torchao here")
        config = diffusers.TorchAoConfig(quantization.Int8WeightOnlyConfig())
    tiny().save_pretrained(tmp_path)
    whole = AutoencoderLadder.from_pretrained(tmp_path)
    vae = AutoencoderLadder.from_pretrained(tmp_path, quantization_config=config)
    with torch.no_grad():
        y, found = whole(X).sample, vae(X).sample
    linear = vae.ladder.stem.conv.linear
    assert type(linear) is not nn.Linear or type(linear.weight.data) is not torch.Tensor
    assert 0 < (found - y).square().mean().sqrt() < 0.1 * y.std()
