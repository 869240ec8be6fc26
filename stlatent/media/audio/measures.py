"""How close decoded sound is to the original, and what it looks like."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..figures import Figure

FIGURES = (
    Figure("snr_db", "SNR, dB", 2, least_gain=0.1),
    Figure("distance_db", "Log-spectral distance, dB", 2),
)
DEFINITIONS = {
    "SNR": (
        "Power of the original over that of the difference, in dB: 0 is as wrong as silence. It "
        "hears phase, as the ear hardly does."
    ),
    "Log-spectral distance": (
        "Root of the mean squared difference of two power spectra in dB, over frequencies, then "
        "the mean over time (Gray & Markel 1976); 1024 samples under a Hann window, down to 80 dB "
        "below the loudest. Lower is better."
    ),
}
WINDOW, HOP = 1024, 256  # samples
FLOOR_DB = -80.0  # below the loudest, what is silence
SILENCE = 1e-10  # power per sample
PIXELS = (128, 256)  # height and width of a spectrogram


def snr_db(x: Tensor, y: Tensor) -> float:
    """Signal-to-noise ratio of `y` `[1, C, t]` against `x`, in dB."""
    signal, noise = x.double().square().mean(), (x.double() - y.double()).square().mean()
    return float(10 * torch.log10((signal + SILENCE) / (noise + SILENCE)))


def spectral_distance_db(x: Tensor, y: Tensor) -> float:
    """Log-spectral distance of two sounds `[1, C, t]`, in dB; 0 where they sound the same."""
    first, second = _power(x), _power(y)
    floor = max(float(first.max()), SILENCE) * 10 ** (FLOOR_DB / 10)
    levels = [10 * torch.log10(power.clamp_min(floor)) for power in (first, second)]
    return float((levels[0] - levels[1]).square().mean(-2).sqrt().mean())


def spectrogram(x: Tensor) -> np.ndarray:
    """Power in dB of a sound `[1, C, t]`, all channels together, as grey uint8 `[H, W, 3]`."""
    power = _power(x).mean(0)
    loudest = max(float(power.max()), SILENCE)
    level = 10 * torch.log10(power.clamp_min(loudest * 10 ** (FLOOR_DB / 10)) / loudest)
    grey = F.interpolate((1 - level / FLOOR_DB)[None, None], PIXELS, mode="bilinear")[0, 0]
    pixels = (grey.flip(0).clamp(0, 1) * 255).round().to(torch.uint8)
    return pixels[..., None].expand(-1, -1, 3).cpu().numpy()


def _power(x: Tensor) -> Tensor:
    """Power spectra `[C, frequencies, times]`."""
    samples = x[0].detach().float().cpu()
    samples = F.pad(samples, (0, max(0, WINDOW - samples.shape[-1])))
    window = torch.hann_window(WINDOW)
    found = torch.stft(samples, WINDOW, HOP, window=window, center=False, return_complex=True)
    return found.abs().square() / window.square().sum()
