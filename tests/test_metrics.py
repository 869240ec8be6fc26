"""PSNR, SSIM and sharpness against their definitions and other libraries, on real pictures."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage import data
from skimage.metrics import structural_similarity

from stlatent.media.metrics import psnr, sharpness, ssim


def picture(top: int = 0, left: int = 0, height: int = 160, width: int = 200) -> torch.Tensor:
    """A crop of a photograph `[3, H, W]` in [-1, 1]."""
    crop = data.astronaut()[top : top + height, left : left + width]
    return torch.from_numpy(crop.copy()).permute(2, 0, 1) / 127.5 - 1


def degraded(x: torch.Tensor, amount: float) -> torch.Tensor:
    """Noise and a change of contrast; leaves [-1, 1] in places."""
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    return (1 + amount) * x + amount * noise


def pixels(x: torch.Tensor) -> np.ndarray:
    """The 8-bit picture `[H, W, 3]` that a user would save."""
    return np.round((np.clip(x.numpy(), -1, 1) + 1) * 127.5).astype(np.uint8).transpose(1, 2, 0)


@pytest.mark.parametrize("amount", [0.02, 0.2, 1.0])
def test_ssim_agrees_with_scikit_image(amount: float) -> None:
    x = picture()
    y = degraded(x, amount)
    reference = structural_similarity(
        pixels(x),
        pixels(y),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        channel_axis=2,
    )
    assert ssim(x[None], y[None]).item() == pytest.approx(reference, abs=1e-4)


def test_psnr_is_the_mean_square_error_of_8_bit_pixels() -> None:
    x = picture()
    y = degraded(x, 0.1)
    error = np.mean((pixels(x).astype(float) - pixels(y)) ** 2)
    assert psnr(x[None], y[None]).item() == pytest.approx(10 * math.log10(255**2 / error), abs=1e-4)


def test_equal_pictures_and_values_out_of_range() -> None:
    black = torch.full((2, 3, 16, 16), -1.0)
    assert psnr(black, black - 0.5).tolist() == [math.inf, math.inf]
    assert ssim(black, black - 0.5).tolist() == [1.0, 1.0]
    assert psnr(black, -black).tolist() == [0.0, 0.0]


def test_samples_of_a_batch_are_apart_and_frames_count_equally() -> None:
    frames = torch.stack([picture(top) for top in (0, 40, 80, 120)], 1)
    noisy = torch.stack(
        [degraded(f, a) for f, a in zip(frames.unbind(1), (0.05, 0.1, 0.2, 0.4))], 1
    )
    both = psnr(torch.stack([frames, frames]), torch.stack([noisy, frames]))
    assert both[0] == psnr(frames[None], noisy[None])[0] and both[1] == math.inf
    per_frame = ssim(frames.transpose(0, 1), noisy.transpose(0, 1))
    assert ssim(frames[None], noisy[None]).item() == pytest.approx(
        per_frame.mean().item(), abs=1e-6
    )


def test_sharpness_falls_with_blur_and_rises_with_noise() -> None:
    """Against scipy's Laplacian; one frame without detail says nothing."""
    x = torch.stack([picture(top) for top in (0, 40)], 1)  # [C, T, H, W]
    blurred = torch.from_numpy(ndimage.gaussian_filter(x.numpy(), (0, 0, 1, 1)))
    kernel = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])[:, :, None]

    def detail(frame: torch.Tensor) -> float:
        return ndimage.convolve(pixels(frame).astype(float), kernel)[1:-1, 1:-1].std()

    both = zip(blurred.unbind(1), x.unbind(1), strict=True)
    reference = np.mean([detail(a) / detail(b) for a, b in both])
    assert sharpness(x[None], blurred[None]).item() == pytest.approx(reference, rel=1e-3)
    values = sharpness(torch.stack([x] * 3), torch.stack([blurred, x, degraded(x, 0.2)]))
    assert values[0] < 0.5 and values[1] == 1 and values[2] > 1.5
    flat = torch.zeros_like(x[:, :1])
    with_flat = [torch.cat([clip, flat], 1)[None] for clip in (x, blurred)]
    assert sharpness(*with_flat).item() == pytest.approx(values[0].item(), rel=1e-5)
    assert sharpness(flat[None], x[None, :, :1]).isnan()


def test_bad_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"\[1, 3, 8, 64\].*at least 11x11"):
        ssim(torch.zeros(1, 3, 8, 64), torch.zeros(1, 3, 8, 64))
    with pytest.raises(ValueError, match="neither|needs"):
        ssim(torch.zeros(3, 64, 64), torch.zeros(3, 64, 64))
    with pytest.raises(ValueError, match=r"\[1, 3, 9, 64, 64\] and \[1, 3, 8, 64, 64\]"):
        psnr(torch.zeros(1, 3, 9, 64, 64), torch.zeros(1, 3, 8, 64, 64))
