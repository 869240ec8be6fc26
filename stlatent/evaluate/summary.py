"""A level report in words."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

DEFINITIONS = {
    "No number": (
        "In report.json, null is what cannot be computed, and the word Infinity what has no bound, "
        "such as the PSNR of a perfect copy."
    ),
    "Kept": "Decoded from these levels; the finer ones are set to their prior’s mean.",
    "Bits": (
        "KL divergence of the posterior from the prior, at the latents that encoding gives: what "
        "an ideal entropy coder would pay for the levels."
    ),
    "Numbers": (
        "Of latents, those of padding included. 1/48 per value is one number for 48 values of the "
        "input, such as a pixel’s red."
    ),
    "Active by rate": (
        "Channels with a KL above 0.1 nat per sample, summed over positions, as in NVAE; it grows "
        "with the sample."
    ),
    "Active by variance": (
        "Channels whose posterior mean has a variance above 0.01 over samples and positions "
        "(Burda et al. 2016)."
    ),
    "Latents": (
        "Kurtosis is 3 of a normal distribution; the range is in deviations from the mean; of a "
        "sample, the least and the largest deviation beside that of all. Noise: variance of the "
        "posterior over that of its means. Fine: share of the energy beyond half of the highest "
        "frequency along space. Copies correlate by more than 0.99."
    ),
    "Codes": (
        "Rate of a code: minus the logarithm of its probability under the prior. Perplexity: e to "
        "the entropy of how often each code occurred."
    ),
    "Log-likelihood": (
        "Importance-weighted (Burda et al. 2016), a lower bound in expectation, which more draws "
        "raise. Bits per dimension: minus it per value of the input; of a density of values in "
        "[-1, 1] unless the likelihood is of 8-bit values."
    ),
    "Foundation alone": (
        "What the frozen autoencoder makes of the input without the ladder: the ceiling. Latents "
        "explained: part of the variance of its latents within a sample that a prefix holds; below "
        "0 where it was trained on blurred pixels, whose latents are not near the mean of sharp "
        "ones."
    ),
    "Exact level": (
        "Rate of a value: minus the logarithm of the probability of the interval of 2/255 around "
        "it, a step of 8 bits in [-1, 1]: a lossless code’s length of 8-bit values, and of others "
        "that of a code rounded to such steps. By themselves: numbers drawn from a Gaussian of "
        "their channel’s mean and deviation, at the same steps."
    ),
    "Redrawn": (
        "Levels drawn from their priors at temperature 1, given the coarser ones; all others "
        "keep their encoded latents."
    ),
    "Frequency bands": (
        "Squared change between the decoded sample and the same with one level redrawn, under a "
        "Hann window, in octaves of spatial frequency (radius, per frame) or temporal frequency."
    ),
}
ONLY_OF = {  # definition -> the part of a report that it is about
    "Codes": "codes",
    "Log-likelihood": "log_likelihood",
    "Foundation alone": "foundation",
    "Exact level": "exact",
    "Frequency bands": "bands",
}


def definitions(report: dict[str, Any]) -> dict[str, str]:
    """What the words of this report mean, and no others."""
    named = DEFINITIONS.items()
    return {name: text for name, text in named if report.get(ONLY_OF.get(name, "levels"))}


def summary(report: dict[str, Any]) -> str:
    """One paragraph: numbers, bits and PSNR of every prefix, and what each level is about."""
    prefixes, levels, clips = report["prefixes"], report["levels"], len(report["clips"])
    main = report["figures"][0]
    noun = report["noun"]
    over = f"Over one {noun}" if clips == 1 else f"Over {clips} {noun}s"
    sentences = [
        f"{over}, all {len(levels)} levels together decode to {_figures(prefixes[-1], main)}."
    ]
    if len(levels) == 1:
        sentences = [
            f"{over}, this flat model of one level decodes to {_figures(prefixes[0], main)}."
        ]
    else:
        sentences += [_prefix(*pair, main) for pair in zip(levels, prefixes, strict=True)]
        bands = report["bands"].get("spatial") or report["bands"].get("temporal")
        known = bands and all(map(math.isfinite, itertools.chain(*bands["of_level"])))
        sentences += [_bands(bands)] if known else []
    if found := report["foundation"]:
        alone = _quality(found, main)
        sentences.append(f"The foundation alone gives {alone}, which is the ceiling.")
    active = sum(sum(level["active_by_rate"]) for level in levels)
    channels = sum(level["channels"] for level in levels)
    sentences.append(f"{active} of {channels} channels carry information.")
    return " ".join(sentences)


def _prefix(level: dict[str, Any], prefix: dict[str, Any], main: dict[str, Any]) -> str:
    stride = "×".join(map(str, level["stride"]))
    subject = "Level 0 alone" if level["level"] == 0 else f"Adding level {level['level']}"
    channels = f"{level['channels']} channels at stride {stride}"
    return f"{subject} ({channels}) gives {_figures(prefix, main)}."


def _quality(found: dict[str, Any], main: dict[str, Any]) -> str:
    value, (name, _, unit) = found[main["key"]], main["title"].partition(", ")
    if math.isnan(value):
        return "values that are not numbers (NaN)"
    if math.isinf(value):
        return "a perfect copy"
    return f"{value:.{main['digits']}f} {unit}" if unit else f"{name} of {value:.3f}"


def _figures(prefix: dict[str, Any], main: dict[str, Any]) -> str:
    return (
        f"{_quality(prefix, main)} from one number for {prefix['values_per_number']:,.0f} input "
        f"values and {prefix['bits_per_value']:.3g} bits per value"
    )


def _bands(shares: dict[str, Any]) -> str:
    parts = []
    for level, row in enumerate(shares["of_level"]):
        band = shares["bands"][max(range(len(row)), key=row.__getitem__)]
        parts.append(f"{_of(band)} {shares['unit']} for level {level} ({max(row):.0%})")
    return f"What redrawing a level changes lies mostly at wavelengths {_listed(parts)}."


def _of(band: str) -> str:
    return band if band.startswith(("over", "under")) else f"of {band}"


def _listed(parts: Sequence[str]) -> str:
    return ", ".join(parts[:-1]) + f" and {parts[-1]}"
