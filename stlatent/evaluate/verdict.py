"""What is wrong with a ladder, if anything, and what to change: a level report's conclusions."""

from __future__ import annotations

import itertools
import math
from typing import Any

LEAST_ACTIVE = 0.25  # of a level's channels
LEAST_USED = 0.1  # of a codebook's codes


def verdicts(report: dict[str, Any]) -> list[str]:
    """One sentence or two per finding; empty where every level does its job."""
    found = _undefined(report)
    for level in report["levels"]:
        found += _activity(level)
    config, main = report["model"]["config"], report["figures"][0]
    prefixes = report["prefixes"][: len(config["levels"])]  # an exact level is as good as it is
    found += [
        _gain(k, *pair, main)
        for k, pair in enumerate(itertools.pairwise(prefixes), 1)
        if _too_small(*pair, main)
    ]
    found += [_use(use) for use in report["codes"] if use["used"] < LEAST_USED * use["size"]]
    return found


def _undefined(report: dict[str, Any]) -> list[str]:
    main, clips = report["figures"][0]["key"], report["clips"]
    found = [
        clip["name"] for clip in clips if any(math.isnan(one[main]) for one in clip["prefixes"])
    ]
    if not found:
        return []
    return [
        f"Of {len(clips)} {report['noun']}s {len(found)}, such as {found[0]}, decode to values "
        f"that are not numbers (NaN); means leave them out. The weights are damaged, or training "
        f"went astray: take an earlier checkpoint, or train at a lower rate (optimiser.lr)."
    ]


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


def _too_small(before: dict[str, Any], after: dict[str, Any], main: dict[str, Any]) -> bool:
    values = before[main["key"]], after[main["key"]]
    if not all(map(math.isfinite, values)):  # a perfect copy, or none at all
        return False
    return values[1] < values[0] + main["least_gain"]


def _gain(level: int, before: dict[str, Any], after: dict[str, Any], main: dict[str, Any]) -> str:
    gain, (name, _, unit) = after[main["key"]] - before[main["key"]], main["title"].partition(", ")
    unit = unit or name
    return (
        f"Level {level} adds {gain:+.{main['digits']}f} {unit} to the levels above it, less than "
        f"{main['least_gain']:g} {unit}: it is empty, or the decoder was not trained on this "
        f"prefix. Raise loss.prefix.share, or train longer."
    )


def _use(use: dict[str, Any]) -> str:
    return (
        f"Level {use['level']} uses {use['used']} of the {use['size']} codes of a codebook. Make "
        f"it smaller (codebook.size), restart idle codes sooner (codebook.restart_below), or use "
        f"codebook.kind: fsq, which has none that lie idle for want of training."
    )
