"""A level report in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

DEFINITIONS = {
    "Kept": "Decoded from these levels; the finer ones are set to their prior’s mean.",
    "PSNR": "Over all values of a clip after rounding to 8 bits; the mean over clips.",
    "SSIM": (
        "Wang et al. 2004: Gaussian window of 11 taps, sigma 1.5, per frame and channel, inside "
        "the frame only; the mean over clips."
    ),
    "Bits": (
        "KL divergence of the posterior from the prior, at the latents that encoding gives: what "
        "an ideal entropy coder would pay for the levels."
    ),
    "Numbers": (
        "Latent numbers, those of padding included, per value of the input (frames × height × "
        "width × channels)."
    ),
    "Active by rate": (
        "Channels with a KL above 0.1 nat per clip, summed over positions, as in NVAE; it grows "
        "with the clip."
    ),
    "Active by variance": (
        "Channels whose posterior mean has a variance above 0.01 over clips and positions "
        "(Burda et al. 2016)."
    ),
    "Redrawn": (
        "One level drawn from its prior at temperature 1, given the coarser levels; all others "
        "keep their encoded latents."
    ),
    "Frequency bands": (
        "Squared change between the decoded clip and the same with one level redrawn, under a "
        "Hann window, in octaves of spatial frequency (radius, per frame) or temporal frequency."
    ),
}


def summary(report: dict[str, Any]) -> str:
    """One paragraph: numbers, bits and PSNR of every prefix, and what each level is about."""
    prefixes, levels = report["prefixes"], report["levels"]
    whole, clips = prefixes[-1], len(report["clips"])
    sentences = [
        f"Over {clips} clip{'s' * (clips != 1)}, all {len(levels)} levels together hold one number "
        f"for {whole['values_per_number']:,.0f} input values and decode to "
        f"{_db(whole)} at {whole['bits_per_value']:.3g} bits per value."
        if len(levels) > 1
        else f"Over {clips} clip{'s' * (clips != 1)}, the model is flat: it has one level."
    ]
    for level, prefix in zip(levels, prefixes, strict=True):
        stride = "×".join(map(str, level["stride"]))
        subject = "Level 0 alone" if level["level"] == 0 else f"Adding level {level['level']}"
        sentences.append(
            f"{subject} ({level['channels']} channels at stride {stride}) gives {_db(prefix)} from "
            f"one number for {prefix['values_per_number']:,.0f} values and "
            f"{prefix['bits_per_value']:.3g} bits per value."
        )
    if len(levels) > 1 and "spatial" in report["bands"]:
        sentences.append(_bands(report["bands"]["spatial"]))
    active = sum(sum(level["active_by_rate"]) for level in levels)
    channels = sum(level["channels"] for level in levels)
    sentences.append(f"{active} of {channels} channels carry information.")
    return " ".join(sentences)


def _bands(shares: dict[str, Any]) -> str:
    parts = []
    for level, row in enumerate(shares["of_level"]):
        band = shares["bands"][max(range(len(row)), key=row.__getitem__)]
        parts.append(f"level {level} mostly wavelengths {_of(band)} px ({max(row):.0%})")
    return f"Of what redrawing changes, {_listed(parts)}."


def _of(band: str) -> str:
    return band if band.startswith(("over", "under")) else f"of {band}"


def _listed(parts: Sequence[str]) -> str:
    return ", ".join(parts[:-1]) + f" and {parts[-1]}"


def _db(prefix: dict[str, Any]) -> str:
    value = prefix["psnr_db"]
    return f"{value:.2f} dB" if value is not None and value < float("inf") else "a perfect copy"
