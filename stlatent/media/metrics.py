"""How close two pictures or videos are: PSNR, SSIM and sharpness, one value per sample.

All are taken from what a user sees, 8-bit pixels: the inputs are clamped to [-1, 1] and rounded to
the 256 steps on which decoded frames are written.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

PEAK = 255.0
TAPS, SIGMA = 11, 1.5


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """Peak signal-to-noise ratio over all values of a sample, after rounding to 8 bits.

    Args:
        x: `[B, C, *axes]` in [-1, 1].
        y: the same shape.

    Returns:
        `[B]` in dB; infinite where the 8-bit pixels are equal.

    Raises:
        ValueError: the shapes differ.
    """
    _check(x, y)
    error = (_pixels(x) - _pixels(y)).flatten(1).square().mean(1)
    return 10 * torch.log10(PEAK**2 / error)


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004) after rounding to 8 bits.

    Gaussian window of 11 taps, sigma 1.5, K1 = 0.01, K2 = 0.03; taken per frame and channel where
    the whole window lies inside the picture, then averaged.

    Args:
        x: `[B, C, H, W]` or `[B, C, T, H, W]` in [-1, 1].
        y: the same shape.

    Returns:
        `[B]`, 1 where the 8-bit pixels are equal.

    Raises:
        ValueError: the shapes differ, are neither images nor videos, or a frame is smaller than
            the window.
    """
    _check(x, y)
    if x.ndim not in (4, 5) or min(x.shape[-2:]) < TAPS:
        raise ValueError(
            f"SSIM was given {list(x.shape)}; it needs [B, C, H, W] or [B, C, T, H, W] with frames "
            f"of at least {TAPS}x{TAPS} pixels, the size of its window: use PSNR for smaller ones"
        )
    frames = [_frames(_pixels(video)) for video in (x, y)]
    values = torch.stack([_ssim_frame(a, b) for a, b in zip(*frames, strict=True)])
    return values.view(len(x), -1).mean(1)


def sharpness(x: Tensor, y: Tensor) -> Tensor:
    """How much fine detail `y` has beside `x`, frame by frame, after rounding to 8 bits.

    The deviation of the Laplacian of a frame of `y` over that of the same frame of `x` (the focus
    measure of Pech-Pacheco et al. 2000), as the mean over frames: below 1 where `y` is blurred,
    above 1 where it is noisier. Invented detail counts as much as true detail.

    Args:
        x: `[B, C, H, W]` or `[B, C, T, H, W]` in [-1, 1], with frames of at least 3x3.
        y: the same shape.

    Returns:
        `[B]`; NaN where no frame of `x` has any detail.

    Raises:
        ValueError: the shapes differ.
    """
    _check(x, y)
    reference, other = (_laplacian(_frames(_pixels(v))).flatten(1).std(1) for v in (x, y))
    ratio = torch.where(reference > 0, other / reference, math.nan)
    return ratio.view(len(x), -1).nanmean(1)


def _laplacian(frames: Tensor) -> Tensor:
    """`[N, C, H, W] -> [N, C, H - 2, W - 2]`: curvature down plus curvature across."""
    return frames.diff(n=2, dim=-2)[..., 1:-1] + frames.diff(n=2, dim=-1)[..., 1:-1, :]


def _frames(x: Tensor) -> Tensor:
    """`[B, C, H, W]` as it is, `[B, C, T, H, W] -> [B T, C, H, W]`."""
    return x if x.ndim == 4 else x.transpose(1, 2).flatten(0, 1)


def _ssim_frame(x: Tensor, y: Tensor) -> Tensor:
    """One frame `[C, H, W]` in [0, 255] at a time: little memory, and it stays in the cache."""
    # Centred on mid-grey: E[x^2] - E[x]^2 then cancels less in float32.
    x, y = x - PEAK / 2, y - PEAK / 2
    mean_x, mean_y, xx, yy, xy = _blur(torch.cat([x, y, x * x, y * y, x * y])).chunk(5)
    var_x, var_y, cov = xx - mean_x**2, yy - mean_y**2, xy - mean_x * mean_y
    mean_x, mean_y = mean_x + PEAK / 2, mean_y + PEAK / 2
    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * cov + c2) / (var_x + var_y + c2)
    return (luminance * structure).mean()


def _blur(maps: Tensor) -> Tensor:
    """`[N, H, W] -> [N, H - 10, W - 10]`: mean under the Gaussian window, inside only."""
    offsets = torch.arange(TAPS, device=maps.device) - TAPS // 2
    window = torch.softmax(-0.5 * (offsets / SIGMA) ** 2, 0)
    for shape in ((1, 1, -1, 1), (1, 1, 1, -1)):
        weight = window.view(shape).expand(len(maps), -1, -1, -1)
        maps = F.conv2d(maps, weight, groups=len(maps))
    return maps


def _pixels(x: Tensor) -> Tensor:
    """Values in [-1, 1], clamped, to whole numbers from 0 to 255 in float32."""
    return ((x.float().clamp(-1, 1) + 1) * (PEAK / 2)).round()


def _check(x: Tensor, y: Tensor) -> None:
    if x.shape != y.shape:
        raise ValueError(
            f"the two inputs have shapes {list(x.shape)} and {list(y.shape)}; crop or resize them "
            f"to one shape [B, C, *axes]"
        )
