"""What is wrong with a ladder, if anything, and what to change: a level report's conclusions."""

from __future__ import annotations

from typing import Any

LEAST_GAIN_DB = 0.1  # that a level should add to the prefix before it
LEAST_ACTIVE = 0.25  # of a level's channels
LEAST_USED = 0.1  # of a codebook's codes


def verdicts(report: dict[str, Any]) -> list[str]:
    """One sentence or two per finding; empty where every level does its job."""
    found = []
    for level in report["levels"]:
        found += _activity(level)
    found += [
        _gain(k, *pair)
        for k, pair in enumerate(zip(report["prefixes"], report["prefixes"][1:], strict=False), 1)
        if _too_small(*pair)
    ]
    found += [_use(use) for use in report["codes"] if use["used"] < LEAST_USED * use["size"]]
    return found


def _activity(level: dict[str, Any]) -> list[str]:
    active, k = level["active_by_variance"], level["level"]
    if sum(active) > LEAST_ACTIVE * len(active):
        return []
    what = "has collapsed" if not any(active) else "has nearly collapsed"
    return [
        f"Level {k} {what}: {sum(active)} of its {len(active)} channels vary with the input. "
        f"Train prefixes (loss.prefix.share), make its bits cheaper (loss.rate.weight, one entry "
        f"per level) or free (loss.rate.free_bits), or protect it early (loss.rate.warmup_steps, "
        f"loss.rate.balance: nvae)."
    ]


def _too_small(before: dict[str, Any], after: dict[str, Any]) -> bool:
    if None in (before["psnr_db"], after["psnr_db"]):  # a perfect copy
        return False
    return after["psnr_db"] < before["psnr_db"] + LEAST_GAIN_DB


def _gain(level: int, before: dict[str, Any], after: dict[str, Any]) -> str:
    gain = after["psnr_db"] - before["psnr_db"]
    return (
        f"Level {level} adds {gain:+.2f} dB to the levels above it, less than {LEAST_GAIN_DB} dB: "
        f"it is empty, or the decoder was not trained on this prefix. Raise loss.prefix.share, or "
        f"train longer."
    )


def _use(use: dict[str, Any]) -> str:
    return (
        f"Level {use['level']} uses {use['used']} of the {use['size']} codes of a codebook. Make "
        f"it smaller (codebook.size), restart idle codes sooner (codebook.restart_below), or use "
        f"codebook.kind: fsq, which has none that lie idle for want of training."
    )
