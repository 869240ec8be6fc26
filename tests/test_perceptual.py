from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from stlatent.losses.perceptual import PerceptualLoss

timm = pytest.importorskip("timm")

BACKBONES = ["test_resnet", "test_convnext", "test_vit"]  # the last takes one size only


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Backbone -> a safetensors file of its random weights."""
    folder, files = tmp_path_factory.mktemp("weights"), {}
    for name in BACKBONES:
        torch.manual_seed(1)
        files[name] = str(folder / f"{name}.safetensors")
        save_file(timm.create_model(name, pretrained=False).state_dict(), files[name])
    return files


def picture(size: int = 64) -> Tensor:
    """Blobs of colour `[2, 3, size, size]` in [-1, 1]."""
    coarse = torch.rand(2, 3, 8, 8) * 2 - 1
    return torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear")


@pytest.mark.parametrize("backbone", BACKBONES)
def test_zero_for_equal_inputs_and_grows_with_distortion(
    backbone: str, weights: dict[str, str]
) -> None:
    loss = PerceptualLoss(backbone, weights[backbone])
    x = picture()
    noise = torch.randn_like(x)
    steps = [loss(x, (x + a * noise).clamp(-1, 1)) for a in (0, 0.05, 0.2, 0.8)]
    assert steps[0].tolist() == [0, 0]
    for less, more in pairwise(steps):
        assert (more > less).all()


def test_is_the_distance_of_unit_vectors_summed_over_layers(weights: dict[str, str]) -> None:
    net = timm.create_model("test_resnet", features_only=True)
    whole = timm.create_model("test_resnet")
    whole.load_state_dict(load_file(weights["test_resnet"]))
    net.load_state_dict(whole.state_dict(), strict=False)
    net.eval()
    mean, std = (torch.tensor(net.pretrained_cfg[k]).view(3, 1, 1) for k in ("mean", "std"))
    x, y = picture(), picture()
    expected = torch.zeros(2)
    fx, fy = (net(((v + 1) / 2 - mean) / std) for v in (x, y))
    for i in (1, 3):
        cosine = torch.nn.functional.cosine_similarity(fx[i], fy[i], dim=1)
        expected += (2 - 2 * cosine).mean((1, 2))  # |a - b|^2 of unit vectors
    loss = PerceptualLoss("test_resnet", weights["test_resnet"], layers=(1, 3))
    torch.testing.assert_close(loss(x, y), expected)


def test_gradient_reaches_the_input_and_not_the_backbone(weights: dict[str, str]) -> None:
    loss = PerceptualLoss("test_resnet", weights["test_resnet"]).train()
    before = {k: v.clone() for k, v in loss.net.state_dict().items()}
    x = picture().requires_grad_()
    loss(x, picture()).sum().backward()
    assert x.grad.isfinite().all() and x.grad.abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for p in loss.parameters())
    for name, value in loss.net.state_dict().items():
        assert torch.equal(value, before[name]), f"{name} moved"


def test_a_video_is_the_mean_of_its_frames(weights: dict[str, str]) -> None:
    loss = PerceptualLoss("test_convnext", weights["test_convnext"])
    x, y = (torch.stack([picture() for _ in range(3)], 2) for _ in range(2))
    frames = [loss(a, b) for a, b in zip(x.unbind(2), y.unbind(2), strict=True)]
    torch.testing.assert_close(loss(x, y), torch.stack(frames).mean(0))


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("shape", [(1, 3, 5, 90), (1, 1, 2, 48, 33)])
def test_takes_any_size_and_grey(
    backbone: str, shape: tuple[int, ...], weights: dict[str, str]
) -> None:
    x = torch.rand(shape) * 2 - 1
    d = PerceptualLoss(backbone, weights[backbone])(x, -x)
    assert d.shape == (1,) and d.isfinite().all() and d > 0


def test_names_a_missing_timm_and_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=r"stlatent\[perceptual\]"):
        PerceptualLoss("test_resnet")


def test_names_a_torchvision_that_does_not_fit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "timm.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    monkeypatch.delitem(sys.modules, "timm")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"nms.*torchvision \d\S* does not fit torch \d"):
        PerceptualLoss("test_resnet")


def test_says_what_is_wrong_with_backbone_layers_and_weights(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, weights: dict[str, str]
) -> None:
    def refuses(match: str, *args: object) -> None:
        with pytest.raises(ValueError, match=match) as error:
            PerceptualLoss(*args)
        assert "\n" not in str(error.value)

    good = weights["test_resnet"]
    (tmp_path / "junk.safetensors").write_bytes(b"not a header")
    refuses("near names are.*test_resnet", "test_resnett", good)
    refuses(r"feature maps \[0, 9\]", "test_resnet", good, (0, 9))
    refuses("do(es)? not exist", "test_resnet", str(tmp_path / "gone.safetensors"))
    refuses("a .safetensors file is needed", "test_resnet", "weights.pth")
    refuses("no safetensors file", "test_resnet", str(tmp_path / "junk.safetensors"))
    refuses("does not hold the weights of test_convnext", "test_convnext", good)
    refuses("does not hold the weights of resnet18", "resnet18", good)
    refuses("Invalid pretrained tag", "test_resnet.none")
    refuses("the hub has none", "botnet50ts_256")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    refuses("fetched from the hub .*name a local", "test_resnet")


def test_refuses_inputs_that_cannot_be_compared(weights: dict[str, str]) -> None:
    loss = PerceptualLoss("test_resnet", weights["test_resnet"])
    with pytest.raises(ValueError, match=r"\[1, 3, 32, 32\] and \[1, 3, 32, 33\]"):
        loss(torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 33))
