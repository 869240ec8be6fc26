"""The level report: what every level of a ladder holds, as numbers, plots, strips and one page.

OUT/report.json   all numbers; those that cannot be computed are null, those without bound, such as
                  the PSNR of a perfect copy, "Infinity"
OUT/index.html    one page that needs no other file
OUT/plots/*.png   quality against rate, rate per channel, shares of frequency bands
OUT/clips/*       strips of frames (png) and the prefixes side by side (mp4)
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from tqdm import tqdm

from ..files import writing
from ..media.figures import Figure
from ..media.registry import medium_of
from ..model.fingerprint import fingerprint
from ..model.ladder import Ladder
from . import plots
from .diagnostics import LevelStatistics, PrefixQuality, Quality
from .measurement import Measurement
from .motion import DEFINITION
from .page import ClipMedia, Plot, page
from .pictures import fitted, jpeg, mp4, side_by_side
from .spectrum import BandShares
from .summary import definitions, summary
from .surfaces import Surfaces, surfaces_of
from .verdict import verdicts

FORMAT = "stlatent.report.1"
STRIP_FRAMES = 5
NAMED = 50  # letters of a clip's name, its last ones, in those of its files: at most 200 bytes


def write_report(
    model: Ladder,
    clips: Iterable[tuple[str, Tensor]],
    out: str | Path,
    *,
    title: str = "Ladder",
    seed: int = 0,
    fps: float = 12.0,
    shown: int = 8,
    draws: int = 0,
    replace: bool = False,
) -> dict[str, Any]:
    """Evaluate `model` on `clips` and write the report to the folder `out`, whole or not at all.

    Args:
        model: of clips with 1 or 3 channels, of shapes with 1 or 4, or of any other medium.
        clips: name and `[1, C, *axes]` in [-1, 1], taken one at a time.
        out: a new or empty folder.
        title: heads the page, such as the model's name.
        seed: of the latents that are drawn anew.
        fps: at which the page plays the clips.
        shown: the page shows the first so many clips; the numbers are over all.
        draws: of the importance-weighted log-likelihood of every clip, one pass each; 0 leaves it
            out.
        replace: whether `out` may be a former report, which is then replaced.

    Returns:
        What stands in `report.json`.

    Raises:
        ValueError: `out` is something else than a report or is not to be replaced, there are no
            clips, a clip does not fit the model, or draws are asked for of a likelihood that is an
            error and no density.
    """
    out = Path(out).resolve()
    _check_out(out, replace)
    medium = medium_of(model)
    medium.check_report()
    with writing(out) as folder:
        folder.mkdir()
        measured = Measurement(model, medium, seed, draws)
        media = []
        for index, (name, x) in enumerate(tqdm(clips, unit="file", disable=None)):
            samples = measured.add(name, x)
            if index < shown:
                named = re.sub(r"[^\w.-]+", "_", os.path.splitext(name)[0])[-NAMED:]
                frames = {label: fitted(medium.frames(y)) for label, y in samples.items()}
                found = surfaces_of(medium, samples)
                place = folder / "clips" / f"{index:02d}_{named}"
                media.append(_write_media(place, frames, fps, found))
        prefixes, levels, bands = measured.result()
        told = _numbers(measured, prefixes, levels, bands, title)
        numbers = jsonable(told)
        drawn = list(_plots(folder / "plots", prefixes, levels, bands, medium.figures[0]))
        text = json.dumps(numbers, indent=1, allow_nan=False, ensure_ascii=False)
        (folder / "report.json").write_text(text + "\n", encoding="utf-8")
        (folder / "index.html").write_text(page(told, drawn, media), encoding="utf-8")
    return numbers


def _numbers(
    measured: Measurement,
    prefixes: Sequence[PrefixQuality],
    levels: Sequence[LevelStatistics],
    bands: dict[str, BandShares],
    title: str,
) -> dict[str, Any]:
    """The content of `report.json`."""
    model = measured.model
    report = {
        "format": FORMAT,
        "title": title,
        "seed": measured.seed,
        "model": {
            "fingerprint": fingerprint(model),
            "parameters": sum(p.numel() for p in model.parameters()),
            "config": model.config.model_dump(mode="json"),
        },
        "noun": measured.medium.noun,
        "figures": [asdict(figure) for figure in measured.medium.figures],
        "prefixes": [_prefix(prefix, measured.medium.figures) for prefix in prefixes],
        "levels": [_level(level, model, prefixes) for level in levels],
        "codes": [asdict(use) for use in measured.codes.result()],
        "latents": [asdict(level) for level in measured.latents.result()],
        "log_likelihood": _log_likelihood(measured),
        **measured.beneath.result(),
        "bands": {
            name: {**asdict(share), "of_band": share.of_band, "of_level": share.of_level}
            for name, share in bands.items()
        },
        "clips": [
            {"name": name, "size": size, "prefixes": [_flat(quality) for quality in row]}
            for name, size, row in zip(measured.names, measured.sizes, measured.rows, strict=True)
        ],
    }
    report["definitions"] = {**measured.medium.definitions, **definitions(report)}
    if model.config.motion:
        report["definitions"]["motion"] = DEFINITION
    told = {"summary": summary(report), "verdicts": verdicts(report)}
    return {"format": FORMAT, **told, **report}


def _prefix(prefix: PrefixQuality, figures: Sequence[Figure]) -> dict[str, Any]:
    return {
        "levels": prefix.levels,
        **{figure.key: prefix.mean(figure.key) for figure in figures},
        "numbers": prefix.numbers,
        "values_per_number": prefix.values_per_number,
        "bits_per_value": prefix.bits_per_value,
        "bits": prefix.bits,
    }


def _flat(quality: Quality) -> dict[str, float]:
    """Figures and all else side by side."""
    found = asdict(quality)
    return found.pop("figures") | found


def _log_likelihood(measured: Measurement) -> dict[str, Any] | None:
    """Importance-weighted, per clip; None if it was not asked for."""
    if not measured.likelihoods:
        return None
    return {
        "draws": measured.draws,
        "nats": [float(found.weighted) for found in measured.likelihoods],
        "bits_per_dimension": [found.bits_per_dimension for found in measured.likelihoods],
    }


def _level(
    level: LevelStatistics, model: Ladder, prefixes: Sequence[PrefixQuality]
) -> dict[str, Any]:
    values = sum(clip.values for clip in prefixes[0].clips)
    kept = [sum(clip.numbers for clip in prefix.clips) for prefix in prefixes]
    numbers = kept[level.level] - (kept[level.level - 1] if level.level else 0)
    return {
        **asdict(level),
        "stride": model.levels[level.level].stride,
        "channels": len(level.channel_bits),
        "values_per_number": values / numbers,
        "bits": level.bits,
        "group_bits": _per_group(level.channel_bits, model.levels[level.level].groups),
        "active_by_rate": level.active_by_rate,
        "active_by_variance": level.active_by_variance,
    }


def _per_group(channel_bits: Sequence[float], groups: int) -> list[float]:
    size = len(channel_bits) // groups
    return [sum(channel_bits[i * size : (i + 1) * size]) for i in range(groups)]


def _plots(
    folder: Path,
    prefixes: Sequence[PrefixQuality],
    levels: Sequence[LevelStatistics],
    bands: dict[str, BandShares],
    main: Figure,
) -> Iterator[Plot]:
    """Draw every plot in both themes; the light one is also written as a file."""
    words = {"spatial": "in space", "temporal": "in time"}
    words |= {f"latents_{name}": f"{word}, of latents" for name, word in words.items()}
    drawings = {
        "rate_quality": (
            partial(plots.rate_quality, shown=main),
            prefixes,
            f"{main.title.partition(',')[0]} against rate for every prefix.",
        ),
        "channel_rates": (plots.channel_rates, levels, "KL per channel and latent position."),
    }
    for name, share in bands.items():
        caption = f"What redrawing a level changes, by frequency {words[name]}."
        drawings[f"bands_{name}"] = (plots.band_map, share, caption)
    folder.mkdir(parents=True)
    for name, (draw, data, caption) in drawings.items():
        light, dark = (plots.png(draw(data, theme=theme)) for theme in (plots.LIGHT, plots.DARK))
        (folder / f"{name}.png").write_bytes(light)
        yield Plot(light, dark, name.replace("_", " "), caption)


def _write_media(
    path: Path, frames: dict[str, np.ndarray], fps: float, found: Surfaces | None
) -> ClipMedia:
    """Write a clip's strip and video as files, and return what the page shows of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    length = len(frames["original"])
    times = tuple(int(t) for t in np.linspace(0, length - 1, min(length, STRIP_FRAMES)).round())
    rows = {label: video[list(times)] for label, video in frames.items()}
    path.with_name(f"{path.name}.png").write_bytes(plots.png(plots.strip(rows, times)))
    strips = {label: jpeg(side_by_side(list(row))) for label, row in rows.items()}
    if length == 1:
        return ClipMedia(times, strips, surfaces=found)
    panels = tuple(label for label in frames if not label.endswith("redrawn"))
    video = mp4(side_by_side([frames[label] for label in panels]), fps)
    path.with_name(f"{path.name}.mp4").write_bytes(video)
    return ClipMedia(times, strips, panels, video)


def _check_out(out: Path, replace: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not _is_report(out):
        raise ValueError(f"{out} exists and is no level report; give a new folder")
    if not replace:
        raise ValueError(f"{out} holds a former report; give a new folder, or ask to replace it")


def _is_report(folder: Path) -> bool:
    try:
        content = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("format") == FORMAT


def jsonable(value: Any) -> Any:
    """JSON has neither infinity nor NaN: one is called "Infinity" or "-Infinity", which most
    languages read as numbers, and the other null."""
    if isinstance(value, dict):
        return {key: jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return None if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"
