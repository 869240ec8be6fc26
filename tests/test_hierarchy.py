"""A diffusion model read as a ladder: against closed forms, and against diffusers' own steps."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from diffusers import (
    DDPMScheduler,
    DiTTransformer2DModel,
    EDMEulerScheduler,
    FlowMatchEulerDiscreteScheduler,
    UNet2DModel,
)
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from stlatent.diffusion import diffusion_report, noise_levels, reconstruction_nats
from stlatent.model.gaussian import BITS_PER_NAT, Gaussian

TOOL = Path(__file__).parents[1] / "tools" / "studies" / "diffusion_bound.py"
SCHEDULES = ("linear", "linear, wide", "cosine", "even", "flow")


@pytest.fixture(scope="module")
def bound() -> ModuleType:
    spec = importlib.util.spec_from_file_location("diffusion_bound", TOOL)
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pixels(*shape: int) -> Tensor:
    """8-bit noise in [-1, 1]."""
    return torch.randint(0, 256, shape) / 127.5 - 1


def shrink(z: Tensor, timestep: Tensor) -> Tensor:
    """A denoiser that is neither good nor trivial."""
    return 0.5 * z + 0.001 * timestep.view(-1, *[1] * (z.ndim - 1))


def test_at_1000_steps_the_bound_is_within_1_percent_of_the_entropy(bound: ModuleType) -> None:
    pictures, scheduler = bound.GaussianPictures(32), bound.linear_large(1000)
    x = pictures.sample(48)
    report = diffusion_report(pictures.denoiser(scheduler), scheduler, [x[:40], x[40:]], None)
    assert len(report.levels) == 1000
    assert report.bits_per_dimension == pytest.approx(pictures.entropy_bits, rel=0.01)
    assert report.fitted_bits_per_dimension == pytest.approx(pictures.entropy_bits, rel=0.01)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_bound_is_what_the_closed_form_says(bound: ModuleType, name: str) -> None:
    pictures, scheduler = bound.GaussianPictures(16), bound.SCHEDULES[name](100)
    denoiser = pictures.denoiser(scheduler)
    report = diffusion_report(denoiser, scheduler, [pictures.sample(128)], None)
    own, fitted = pictures.bound(scheduler)
    assert report.bits_per_dimension == pytest.approx(own, rel=0.03)
    assert report.fitted_bits_per_dimension == pytest.approx(fitted, abs=0.04)


@pytest.mark.parametrize("name", SCHEDULES)
def test_more_steps_come_nearer(bound: ModuleType, name: str) -> None:
    pictures = bound.GaussianPictures(16)
    entropy = pictures.entropy_bits
    bounds = [pictures.bound(bound.SCHEDULES[name](steps)) for steps in (30, 100, 300, 1000)]
    own, fitted = zip(*bounds)
    assert list(own) == sorted(own, reverse=True) and own[-1] >= fitted[-1]
    assert list(fitted) == sorted(fitted, reverse=True) and entropy < fitted[-1] < 1.001 * entropy


@pytest.mark.parametrize(
    ("variance", "prediction", "channels"),
    [
        ("fixed_small", "epsilon", 1),
        ("fixed_large", "v_prediction", 1),
        ("learned_range", "sample", 2),
    ],
)
def test_rates_are_those_of_the_scheduler_s_own_steps(
    variance: str, prediction: str, channels: int
) -> None:
    """q is a step of the scheduler that knows x, p one that has the denoiser's output."""
    about = {"variance_type": variance, "clip_sample": True}
    scheduler = DDPMScheduler(100, 1e-3, 0.1, prediction_type=prediction, **about)
    knowing = DDPMScheduler(100, 1e-3, 0.1, prediction_type="sample", clip_sample=False)
    for one in (scheduler, knowing):
        one.set_timesteps(5)
    seen = []

    def denoise(z: Tensor, timestep: Tensor) -> tuple[Tensor]:
        seen.append((z, timestep[0].item(), torch.cat([shrink(z, timestep)] * channels, 1)))
        return (seen[-1][2],)

    def step(one: DDPMScheduler, output: Tensor, timestep: int, z: Tensor) -> Normal:
        draws = [one.step(output, timestep, z, torch.Generator().manual_seed(s)) for s in (0, 1)]
        noise = [torch.randn(z.shape, generator=torch.Generator().manual_seed(s)) for s in (0, 1)]
        std = (draws[0].prev_sample - draws[1].prev_sample) / (noise[0] - noise[1])
        return Normal(draws[0].prev_sample - std * noise[0], std.abs())

    x = pixels(2, 1, 16, 16)
    levels = diffusion_report(denoise, scheduler, [x]).levels
    assert [s.timestep for s in levels] == scheduler.timesteps.tolist()
    assert [t for _, t, _ in seen[1:]] == scheduler.timesteps.tolist()
    for level, (z, timestep, output) in enumerate(seen[1:-1]):  # the first is of pure noise
        q, p = step(knowing, x, timestep, z), step(scheduler, output, timestep, z)
        bits = kl_divergence(q, p).mean().item() * BITS_PER_NAT
        assert levels[level + 1].bits_per_value == pytest.approx(bits, rel=1e-3)


def test_grey_values_share_all_the_mass() -> None:
    grey = torch.linspace(-1, 1, 256).view(256, 1, 1, 1)
    for mean, std in ((0.3, 0.002), (-1.2, 0.5), (0.0, 1e-4)):
        decoded = Gaussian(torch.tensor(mean), torch.tensor(math.log(std)))
        nats = reconstruction_nats(decoded, grey, 256)
        assert nats.isfinite().all() and (-nats).exp().sum().item() == pytest.approx(1, abs=1e-6)
    wide = Gaussian(torch.zeros(()), torch.zeros(()))  # where density times width is the mass
    mass = reconstruction_nats(wide, grey[1:-1], 256) + math.log(2 / 255)
    torch.testing.assert_close(
        mass, reconstruction_nats(wide, grey[1:-1], None).double(), rtol=0, atol=1e-4
    )


def test_coarse_bands_are_settled_by_early_steps_and_merging_keeps_the_sums(
    bound: ModuleType,
) -> None:
    pictures, scheduler = bound.GaussianPictures(64), bound.even(60)
    x = pictures.sample(4)
    report = diffusion_report(pictures.denoiser(scheduler), scheduler, [x], None)
    merged = report.merged(6)
    assert merged.bits_per_dimension == pytest.approx(report.bits_per_dimension)
    assert merged.fitted_bits_per_dimension == pytest.approx(report.fitted_bits_per_dimension)
    assert [s.level for s in merged.levels] == list(range(6))
    assert merged.levels[-1].timestep == report.levels[-1].timestep == 0
    shares = torch.tensor(merged.bands["spatial"].of_band)[:, 1:]  # over 64 px: hardly any waves
    torch.testing.assert_close(shares.sum(0), torch.ones(shares.shape[1]))
    centre = (shares * torch.arange(6.0)[:, None]).sum(0)
    assert (centre.diff() > 0).all()
    with pytest.raises(ValueError, match="61 groups of 60"):
        report.merged(61)


def test_clips_have_temporal_bands_and_flow_has_no_prior_term() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(4)
    report = diffusion_report(shrink, scheduler, [pixels(2, 3, 8, 16, 16)])
    assert report.prior_bits_per_value == 0 and len(report.levels[1].channel_bits) == 3
    assert set(report.bands) == {"spatial", "temporal"}
    assert report.levels[0].bits == 0
    assert report.levels[2].bits == pytest.approx(
        report.levels[2].bits_per_value * 3 * 8 * 16 * 16, rel=1e-6
    )


def small_unet() -> Callable:
    return UNet2DModel(
        *(16, 3, 3),
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
    )


def small_transformer() -> Callable:
    model = DiTTransformer2DModel(2, 8, 3, 6, 1, sample_size=16, norm_num_groups=4).eval()
    return lambda z, timestep: model(z, timestep, class_labels=torch.zeros(len(z), dtype=int))


@pytest.mark.parametrize("make", [small_unet, small_transformer])
def test_networks_of_diffusers_are_taken_as_they_are(make: Callable[[], Callable]) -> None:
    scheduler = DDPMScheduler(clip_sample=True)
    scheduler.set_timesteps(3)
    report = diffusion_report(make(), scheduler, [pixels(2, 3, 16, 16)])
    assert math.isfinite(report.bits_per_dimension)
    assert report.fitted_bits_per_dimension < report.bits_per_dimension


@pytest.mark.parametrize(
    ("scheduler", "said"),
    [
        (EDMEulerScheduler(), "EDMEulerScheduler"),
        (DDPMScheduler(variance_type="learned"), "learned"),
        (DDPMScheduler(thresholding=True), "thresholding"),
        (DDPMScheduler(rescale_betas_zero_snr=True), "predict v"),
        (FlowMatchEulerDiscreteScheduler(invert_sigmas=True), "inverted"),
    ],
)
def test_schedulers_without_a_hierarchy_are_named(scheduler: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        noise_levels(scheduler)


def test_wrong_batches_and_denoisers_are_named() -> None:
    scheduler = DDPMScheduler(2, clip_sample=False)
    with pytest.raises(ValueError, match="grey_values=None"):
        diffusion_report(shrink, scheduler, [torch.randn(1, 3, 16, 16)])
    with pytest.raises(ValueError, match=r"\[1, 3, 16\]"):
        diffusion_report(shrink, scheduler, [pixels(1, 3, 16)])
    with pytest.raises(ValueError, match="no clips"):
        diffusion_report(shrink, scheduler, [])
    with pytest.raises(ValueError, match="expected the same shape"):
        diffusion_report(lambda z, timestep: z[..., :8], scheduler, [pixels(1, 3, 16, 16)])
