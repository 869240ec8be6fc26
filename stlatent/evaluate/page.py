"""The HTML page of a level report: one file that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..media.figures import Figure
from .pictures import data_uri
from .plots import prefix_name
from .surfaces import Surfaces, viewer

Table = tuple[list[str], list[list[str]]]  # the header, and rows whose first cell heads them

FRAME_REM, VIDEO_REM = 7, 9  # least width of a frame in a strip and of a video's panel


@dataclass(frozen=True)
class Plot:
    """A plot in both themes, as PNG files."""

    light: bytes
    dark: bytes
    alt: str
    caption: str


@dataclass(frozen=True)
class ClipMedia:
    """What the page shows of one clip.

    Attributes:
        frames: numbers of the frames in the strips.
        strips: label -> one row of frames, a JPEG file.
        panels: what the video shows, from left to right.
        video: an MP4 file; None for pictures.
        surfaces: of shapes, to be turned.
    """

    frames: tuple[int, ...]
    strips: dict[str, bytes]
    panels: tuple[str, ...] = ()
    video: bytes | None = field(default=None, repr=False)
    surfaces: Surfaces | None = field(default=None, repr=False)


def page(report: dict[str, Any], plots: Iterable[Plot], media: Sequence[ClipMedia]) -> str:
    """The whole page, from the numbers of a report, those that JSON has not included, the plots and
    the first clips' media."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(__package__, ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.globals |= {"data_uri": data_uri, "FRAME_REM": FRAME_REM, "VIDEO_REM": VIDEO_REM}
    return environment.get_template("report.html").render(
        report=report,
        facts=_facts(report),
        prefixes=_prefix_table(report),
        levels=_level_table(report["levels"]),
        codes=_code_table(report["codes"]),
        latents=[
            (level["verdict"], _latent_table(level["channels"])) for level in report["latents"]
        ],
        plots=list(plots),
        clips=[
            _clip(clip, shown, _figures(report))
            for clip, shown in zip(report["clips"], media, strict=False)
        ],
        unshown=len(report["clips"]) - len(media),
        viewer=viewer() if any(one.surfaces for one in media) else "",
    )


def _facts(report: dict[str, Any]) -> list[str]:
    model = report["model"]
    clips = len(report["clips"])
    facts = [
        f"{model['config']['domain']} model",
        f"{model['parameters'] / 1e6:.2f} M parameters",
        f"fingerprint {model['fingerprint']}",
        f"{clips} {report['noun']}{'s' * (clips != 1)}",
        f"seed {report['seed']}",
    ]
    if found := report["log_likelihood"]:
        nats, bits = (sum(found[k]) / clips for k in ("nats", "bits_per_dimension"))
        mean = " on average" if clips > 1 else ""
        facts.append(
            f"log-likelihood {nats:,.1f} nats{mean}, {bits:.3f} bits per dimension "
            f"({found['draws']} draws)"
        )
    if found := report["exact"]:
        given, flat = found["bits_per_number"], found["flat_bits_per_number"]
        facts.append(f"exact level {given:.2f} bits per number, {flat:.2f} by themselves")
    return facts


def _prefix_table(report: dict[str, Any]) -> Table:
    (main, *others), prefixes = _figures(report), report["prefixes"]
    foundation = report["foundation"]
    rows = []
    for k, prefix in enumerate(prefixes):
        rows.append(
            [
                prefix_name(k + 1, len(prefixes)),
                _number(prefix, main),
                _gain(prefixes, k, main),
                *(_number(prefix, figure) for figure in others),
                f"{prefix['numbers']:,.0f}",
                f"1/{prefix['values_per_number']:,.0f}",
                f"{prefix['bits_per_value']:.3g}",
                f"{prefix['bits'] / 1000:,.1f}",
                _worst(report["clips"], k, main),
                *([f"{foundation['explained'][k]:.1%}"] if foundation else []),
            ]
        )
    if foundation:
        figures = [_number(foundation, figure) for figure in (main, *others)]
        rows.append(["foundation alone", figures[0], "–", *figures[1:], *"–" * 5, "100.0%"])
    _name, _, unit = main.title.partition(", ")
    header = ["Kept", main.title, "Gain" + (f", {unit}" if unit else "")]
    header += [*(figure.title for figure in others), "Mean numbers", "Numbers per value"]
    header += ["Bits per value", "Mean kbit", f"Worst {main.title}"]
    return [*header, *(["Latents explained"] if foundation else [])], rows


def _worst(clips: Sequence[dict[str, Any]], k: int, main: Figure) -> str:
    def value(clip: dict[str, Any]) -> float:
        found = clip["prefixes"][k][main.key]
        return -math.inf if math.isnan(found) else found

    worst = min(clips, key=value)
    return f"{_number(worst['prefixes'][k], main)} ({worst['name']})"


def _level_table(levels: Sequence[dict[str, Any]]) -> Table:
    total = sum(level["bits"] for level in levels) or 1.0
    marked = any(level["mark_bits"] for level in levels)
    rows = [
        [
            f"level {level['level']}",
            "×".join(map(str, level["stride"])),
            f"{level['channels']}",
            f"{level['positions']:,.0f}",
            f"1/{level['values_per_number']:,.0f}",
            f"{level['bits_per_value']:.3g}",
            f"{level['bits'] / total:.0%}",
            f"{sum(level['active_by_rate'])}",
            f"{sum(level['active_by_variance'])}",
            *([f"{level['mark_bits'] / (level['bits'] or 1.0):.0%}"] if marked else []),
        ]
        for level in levels
    ]
    header = ["Level", "Stride", "Channels", "Mean positions", "Numbers per value"]
    header += ["Bits per value", "Share of bits", "Active by rate", "Active by variance"]
    return [*header, *(["Of these bits, marks"] if marked else [])], rows


def _latent_table(channels: Sequence[dict[str, Any]]) -> Table:
    rows = [
        [
            f"channel {k}",
            f"{channel['mean']:.3g}",
            f"{channel['std']:.3g}",
            f"{channel['kurtosis']:.1f}",
            f"{channel['least']:.1f} to {channel['largest']:.1f}",
            f"{channel['clip_std'][0]:.2f} to {channel['clip_std'][1]:.2f}",
            f"{channel['noise']:.1%}",
            "–" if channel["fine"] is None else f"{channel['fine']:.0%}",
            "–" if channel["same_as"] is None else f"channel {channel['same_as']}",
        ]
        for k, channel in enumerate(channels)
    ]
    header = ["Channel", "Mean", "Deviation", "Kurtosis", "Range", "Of a sample", "Noise"]
    return [*header, "Fine", "Copy of"], rows


def _code_table(codes: Sequence[dict[str, Any]]) -> Table:
    rows = [
        [
            f"level {use['level']}, group {use['group']}, depth {use['depth']}",
            f"{use['used']} of {use['size']}",
            f"{use['perplexity']:.1f}",
        ]
        for use in codes
    ]
    return ["Codebook", "Codes used", "Perplexity"], rows


def _clip(clip: dict[str, Any], media: ClipMedia, figures: Sequence[Figure]) -> dict[str, Any]:
    total = len(clip["prefixes"])
    rows = [
        [
            prefix_name(k + 1, total),
            *(_number(quality, figure) for figure in figures),
            f"{quality['numbers']:,}",
            f"1/{quality['values'] / quality['numbers']:,.0f}",
            f"{quality['bits'] / quality['values']:.3g}",
            f"{quality['bits'] / 1000:,.1f}",
        ]
        for k, quality in enumerate(clip["prefixes"])
    ]
    header = ["Kept", *(figure.title for figure in figures)]
    header += ["Numbers", "Numbers per value", "Bits per value", "kbit"]
    size = "×".join(map(str, clip["size"]))
    return {"name": clip["name"], "size": size, "table": (header, rows), "media": media}


def _figures(report: dict[str, Any]) -> list[Figure]:
    return [Figure(**one) for one in report["figures"]]


def _number(quality: dict[str, Any], figure: Figure) -> str:
    return figure.text(quality[figure.key])


def _gain(prefixes: Sequence[dict[str, Any]], k: int, main: Figure) -> str:
    here, before = (prefixes[i][main.key] for i in (k, max(k - 1, 0)))
    known = k and all(map(math.isfinite, (here, before)))
    return f"{here - before:+.{main.digits}f}" if known else "–"
