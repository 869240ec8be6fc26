"""Latents that diffuse well: equivariance to scale, and spectra beside those of the input."""

import math
import re

import pytest
import torch
import torch.nn.functional as F
from domains import batch, ladder
from safetensors.torch import save_file

from stlatent import DOMAINS, VIDEO, Latents
from stlatent.diffusion.spectrum import _energy, _spectrum, latent_spectra
from stlatent.evaluate.diffusable import DiffusableTally
from stlatent.losses.alignment import FeatureAlignment
from stlatent.losses.elbo import LossConfig
from stlatent.model.config import parse
from stlatent.model.transform import cosines
from stlatent.train.config import OptimiserConfig
from stlatent.train.extras import AlignmentConfig, Extras
from stlatent.train.fit import fit
from stlatent.train.scale import scale_error

SIZES = {"image": (32, 64), "video": (9, 32, 32), "voxel": (16, 16, 16), "triplane": (3, 32, 32)}


@pytest.mark.parametrize("domain", SIZES)
def test_the_error_is_that_of_decoding_halved_latents_at_half_the_size(domain: str) -> None:
    model, size = ladder(domain, likelihood="mse"), SIZES[domain]
    x = batch(domain, size)
    out, axes = model(x), model.domain
    factors = [2 if axis.kind == "space" else 1 for axis in axes.axes]
    half = tuple(n // f for n, f in zip(size, factors, strict=True))
    levels = [axes.pool(z, factors) for z in model.encode(x).levels]
    shapes = [tuple(z.shape[1:]) for z in levels]
    assert shapes == model.latent_shape(half)
    decoded = model.decode(Latents(tuple(levels), half))
    expected = (decoded - axes.pool(x, factors)).square().mean()
    assert torch.isclose(scale_error(model, x, out), expected, rtol=1e-4)


def test_training_with_it_brings_the_error_down() -> None:
    torch.manual_seed(0)
    x = batch("image", (32, 32), 8)
    x = torch.nn.functional.avg_pool2d(x, 9, 1, 4)
    found = []
    for weight in (0.0, 1.0):
        model = ladder("image").requires_grad_(True)
        loss = parse(LossConfig, {"equivariance": weight}, "loss")
        done = fit(model, [x], loss, OptimiserConfig(lr=3e-3, warmup_steps=5, ema=0.5), steps=40)
        found.append(float(scale_error(done.model, x, done.model(x))))
    assert found[1] < found[0]


def test_a_grid_that_cannot_be_halved_is_named() -> None:
    model, x = ladder("image"), batch("image", (16, 32))
    with pytest.raises(ValueError, match=r"which is \[1, 2\]"):
        scale_error(model, x, model(x))


def test_spectra_of_noise_are_white_and_of_waves_lie_in_their_band() -> None:
    domain = ladder("image").domain
    noise = _spectrum(domain, _energy(domain, torch.randn(200, 3, 16, 16)))
    assert noise.shares == pytest.approx(noise.white, abs=0.02)
    assert sum(noise.white) == pytest.approx(1)
    wave = cosines(16)[5].float().expand(1, 2, 16, 16)  # 5 of 15: a third of the highest
    assert _spectrum(domain, _energy(domain, wave)).shares == pytest.approx((0, 0, 1, 0), abs=1e-9)


@pytest.mark.parametrize("domain", SIZES)
def test_spectra_of_every_level_beside_the_input(domain: str) -> None:
    model = ladder(domain)
    found = latent_spectra(model, [batch(domain, SIZES[domain]) for _ in range(2)])
    assert list(found) == ["input", "level 0", "level 1", "level 2"]
    grids = [shape[1:] for shape in model.latent_shape(SIZES[domain])]
    assert [spectrum.grid for spectrum in found.values()] == [SIZES[domain], *grids]
    for spectrum in found.values():
        assert sum(spectrum.shares) == pytest.approx(sum(spectrum.white))
    with pytest.raises(ValueError, match="no data"):
        latent_spectra(model, [])


# alignment with features ------------------------------------------------------------------------


class Features(torch.nn.Module):
    """In the place of a backbone of `timm`: means over eight pixels, mixed to six channels."""

    mixing = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))

    def unit_features(self, x: torch.Tensor) -> list[torch.Tensor]:
        x = x if x.ndim == 4 else x.transpose(1, 2).flatten(0, 1)
        maps = torch.einsum("oc,bchw->bohw", self.mixing, F.avg_pool2d(x, 8))
        return [F.normalize(maps, dim=1)]


def alignment(domain: str, margin: float = 0.0) -> FeatureAlignment:
    stride = (8, 8) if domain == "image" else (4, 8, 8)
    return FeatureAlignment(Features(), DOMAINS[domain], stride, margin)


def test_features_themselves_are_aligned_and_others_are_not() -> None:
    """Cosines do not see rotations, nor lengths."""
    x = batch("image", (64, 64))
    (maps,) = Features().unit_features(x)
    rotation = torch.linalg.qr(torch.randn(6, 6))[0]
    turned = torch.einsum("oc,bchw->bohw", rotation, maps)
    assert float(alignment("image")(3 * turned, x)) < 1e-5
    assert float(alignment("image")(torch.randn_like(maps), x)) > 0.1
    assert float(alignment("image", 1.99)(torch.randn_like(maps), x)) == 0


def test_a_latent_of_a_video_goes_with_the_last_frame_that_it_covers() -> None:
    loss, x = alignment("video"), batch("video", (9, 64, 64))
    z, other = torch.randn(2, 5, 3, 8, 8), x.clone()
    other[:, :, [1, 2, 3, 5, 6, 7]] = 0
    assert torch.equal(loss(z, x), loss(z, other))
    other[:, :, 4] = 0
    assert not torch.equal(loss(z, x), loss(z, other))


def test_what_cannot_be_aligned_is_named() -> None:
    with pytest.raises(ValueError, match="domain 'voxel' has none"):
        alignment("voxel")
    with pytest.raises(ValueError, match="choose a finer level"):
        alignment("image")(torch.randn(1, 4, 1, 1), batch("image", (16, 16)))


def test_a_run_aligns_its_latents_with_a_backbone(tmp_path) -> None:
    timm = pytest.importorskip("timm")
    file = tmp_path / "test_resnet.safetensors"
    save_file(timm.create_model("test_resnet", pretrained=False).state_dict(), file)
    options = {"weight": 1.0, "level": 1, "layer": 2, "weights": str(file)}
    options["backbone"] = "test_resnet"
    model, x = ladder("video").requires_grad_(True), batch("video", (9, 32, 32))
    extras = Extras(model, None, None, None, parse(AlignmentConfig, options, "alignment"))
    extras.penalty(model(x), x, 0, 1.0).backward()
    assert any(float(p.grad.abs().sum()) > 0 for p in model.stem.parameters())
    with pytest.raises(ValueError, match="levels 0 to 2"):
        Extras(model, None, None, None, parse(AlignmentConfig, options | {"level": 3}, "x"))


# the report's statistics of every channel -------------------------------------------------------


def tallied(*clips: torch.Tensor, strides=((4, 16, 16), (2, 4, 4))):
    """Of level 1: clips `[C, T, H, W]`; level 0 is beside the point."""
    tally = DiffusableTally(VIDEO, strides)
    for z in clips:
        levels = torch.randn(1, 1, 2, 4, 4), z[None]
        tally.add(levels, [None, torch.full_like(z[None], -1.0)])
    return tally.result()[1]


def normal(channels: int = 3, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(channels, 9, 16, 16)


def test_normal_latents_are_easy_and_their_figures_right() -> None:
    clips = [2 * normal() + 5 for _ in range(4)]
    level = tallied(*clips)
    values = torch.cat([z.flatten(1) for z in clips], 1)
    for channel, own in zip(level.channels, values):
        deviations = (own - own.mean()) / own.std()
        assert channel.mean == pytest.approx(own.mean().item(), rel=1e-4)
        assert channel.std == pytest.approx(own.std().item(), rel=1e-3)
        assert channel.kurtosis == pytest.approx((deviations**4).mean().item(), rel=1e-3)
        assert channel.largest == pytest.approx(deviations.max().item(), rel=1e-3)
        assert channel.noise == pytest.approx(math.exp(-2) / own.var().item(), rel=1e-3)
        assert channel.fine == pytest.approx(level.white, abs=0.03) and channel.same_as is None
    assert level.verdict.startswith("Level 1: easy for a diffusion model.")
    assert (level.packed, level.copies) == (3 * 2 * 16, 3 * 16)
    assert "48 of its 96 channels are copies at the first frame" in level.verdict


@pytest.mark.parametrize(
    ("clips", "words"),
    [
        ([normal() ** 3], r"long tails \(a kurtosis of up to"),
        ([normal(), normal(scale=0.1)], r"samples of unlike scale \(deviations from 0\.1"),
        ([normal(1).repeat(2, 1, 1, 1) * torch.tensor([1.0, -3.0]).view(2, 1, 1, 1)],
         r"copies of others \(1\)"),
        ([normal().diff(dim=-1).diff(dim=-2)], "more energy at fine frequencies than white noise"),
    ],
)  # fmt: skip
def test_what_is_hard_is_named(clips: list[torch.Tensor], words: str) -> None:
    assert re.search(words, tallied(*clips).verdict)
