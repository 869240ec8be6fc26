"""The HTML page of a level report: one file that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from .media import data_uri
from .plots import prefix_name

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
    """

    frames: tuple[int, ...]
    strips: dict[str, bytes]
    panels: tuple[str, ...] = ()
    video: bytes | None = field(default=None, repr=False)


def page(report: dict[str, Any], plots: Iterable[Plot], media: Sequence[ClipMedia]) -> str:
    """The whole page, from the numbers of `report.json`, the plots and the first clips' media."""
    video = any(clip.video for clip in media)
    button = '<div class="bar"><button type="button">Play all videos</button></div>'
    body = [
        _head(report),
        *(f'<p class="verdict">{escape(verdict)}</p>' for verdict in report["verdicts"]),
        "<h2>Every prefix</h2>",
        _prefix_table(report),
        "<h2>Every level</h2>",
        _level_table(report["levels"]),
        _code_table(report["codes"]) if report["codes"] else "",
        '<h2>Plots</h2><div class="plots">',
        *map(_plot, plots),
        f"</div><h2>{report['noun'].capitalize()}s</h2>",
        "<p>Shown are the original, every prefix with its finer levels at their prior’s mean, and "
        "one or several levels drawn anew from their priors while the others are held.</p>",
        button if video else "",
        *(
            _clip(clip, shown, report["figures"])
            for clip, shown in zip(report["clips"], media, strict=False)
        ),
        _unshown(len(report["clips"]) - len(media)),
        "<h2>How it is measured</h2><dl>",
        *(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in report["definitions"].items()),
        "</dl>",
    ]
    template = Template(files(__package__).joinpath("report.html").read_text(encoding="utf-8"))
    return template.substitute(title=escape(report["title"]), body="\n".join(body))


def _head(report: dict[str, Any]) -> str:
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
    return (
        f'<header><p class="kicker">stlatent · level report</p><h1>{escape(report["title"])}</h1>'
        f'<p class="meta">{escape(" · ".join(facts))}</p></header>'
        f'<p class="lead">{escape(report["summary"])}</p>'
    )


def _prefix_table(report: dict[str, Any]) -> str:
    (main, *others), prefixes = report["figures"], report["prefixes"]
    rows = []
    for k, prefix in enumerate(prefixes):
        rows.append(
            [
                prefix_name(k + 1, len(prefixes)),
                _number(prefix, main),
                _gain(prefixes, k, main),
                *(_number(prefix, figure) for figure in others),
                f"1/{prefix['values_per_number']:,.0f}",
                f"{prefix['bits_per_value']:.3g}",
                f"{prefix['bits'] / 1000:,.1f}",
                _worst(report["clips"], k, main),
            ]
        )
    _name, _, unit = main["title"].partition(", ")
    header = ["Kept", main["title"], "Gain" + (f", {unit}" if unit else "")]
    header += [*(figure["title"] for figure in others), "Numbers per value", "Bits per value"]
    return _table([*header, "Mean kbit", f"Worst {main['title']}"], rows)


def _worst(clips: Sequence[dict[str, Any]], k: int, main: dict[str, Any]) -> str:
    def value(clip: dict[str, Any]) -> float:
        found = clip["prefixes"][k][main["key"]]
        return float("inf") if found is None else found

    worst = min(clips, key=value)
    return f"{_number(worst['prefixes'][k], main)} ({worst['name']})"


def _level_table(levels: Sequence[dict[str, Any]]) -> str:
    total = sum(level["bits"] for level in levels) or 1.0
    rows = [
        [
            f"level {level['level']}",
            "×".join(map(str, level["stride"])),
            f"{level['channels']}",
            f"1/{level['values_per_number']:,.0f}",
            f"{level['bits_per_value']:.3g}",
            f"{level['bits'] / total:.0%}",
            f"{sum(level['active_by_rate'])}",
            f"{sum(level['active_by_variance'])}",
        ]
        for level in levels
    ]
    header = ["Level", "Stride", "Channels", "Numbers per value", "Bits per value"]
    return _table([*header, "Share of bits", "Active by rate", "Active by variance"], rows)


def _code_table(codes: Sequence[dict[str, Any]]) -> str:
    rows = [
        [
            f"level {use['level']}, group {use['group']}, depth {use['depth']}",
            f"{use['used']} of {use['size']}",
            f"{use['perplexity']:.1f}",
        ]
        for use in codes
    ]
    return "<h2>Every codebook</h2>" + _table(["Codebook", "Codes used", "Perplexity"], rows)


def _plot(plot: Plot) -> str:
    dark, light = data_uri(plot.dark, "image/png"), data_uri(plot.light, "image/png")
    return (
        f'<figure><picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img src="{light}" alt="{escape(plot.alt)}"></picture>'
        f"<figcaption>{escape(plot.caption)}</figcaption></figure>"
    )


def _clip(clip: dict[str, Any], media: ClipMedia, figures: Sequence[dict[str, Any]]) -> str:
    total = len(clip["prefixes"])
    rows = [
        [
            prefix_name(k + 1, total),
            *(_number(quality, figure) for figure in figures),
            f"1/{quality['values'] / quality['numbers']:,.0f}",
            f"{quality['bits'] / quality['values']:.3g}",
        ]
        for k, quality in enumerate(clip["prefixes"])
    ]
    header = ["Kept", *(figure["title"] for figure in figures), "Numbers per value"]
    header.append("Bits per value")
    size = "×".join(map(str, clip["size"]))
    return (
        f'<section class="clip"><div><h3>{escape(clip["name"])}</h3>'
        f'<span class="meta">{size}</span></div>{_table(header, rows)}'
        f"{_video(clip['name'], media)}{_strips(clip['name'], media)}</section>"
    )


def _video(name: str, media: ClipMedia) -> str:
    if media.video is None:
        return ""
    panels = "".join(f"<span>{escape(panel)}</span>" for panel in media.panels)
    title = escape(f"{name}: {', '.join(media.panels)}")
    width = VIDEO_REM * len(media.panels)
    return (
        f'<div class="scroll"><div class="wide" style="--width: {width}rem">'
        f'<div class="captions">{panels}</div>'
        f'<video src="{data_uri(media.video, "video/mp4")}" title="{title}" '
        f"controls loop muted playsinline preload=auto></video></div></div>"
    )


def _strips(name: str, media: ClipMedia) -> str:
    """Rows of frames with labels at their side; single pictures in a grid, labels above."""
    pictures = "".join(
        f'<div class="row"><b>{escape(label)}</b><img src="{data_uri(row, "image/jpeg")}" '
        f'alt="{escape(name)}: {escape(label)}"></div>'
        for label, row in media.strips.items()
    )
    if len(media.frames) == 1:
        return f'<div class="stills">{pictures}</div>'
    times = "".join(f"<span>frame {time}</span>" for time in media.frames)
    width = FRAME_REM * len(media.frames)
    return (
        f'<div class="scroll"><div class="wide strips" style="--width: {width}rem">'
        f'<div class="captions">{times}</div>{pictures}</div></div>'
    )


def _unshown(count: int) -> str:
    if not count:
        return ""
    more = "1 more is" if count == 1 else f"{count} more are"
    return f'<p class="note">{more} in the numbers above and in report.json.</p>'


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The first column heads its row."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in rows
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll">{table}</div>'


def _number(quality: dict[str, Any], figure: dict[str, Any]) -> str:
    """`None` stands for what JSON has not: infinity, or nothing to measure."""
    value = quality[figure["key"]]
    return figure["none"] if value is None else f"{value:.{figure['digits']}f}"


def _gain(prefixes: Sequence[dict[str, Any]], k: int, main: dict[str, Any]) -> str:
    here, before = (prefixes[i][main["key"]] for i in (k, max(k - 1, 0)))
    return "–" if k == 0 or None in (here, before) else f"{here - before:+.{main['digits']}f}"
