"""Plots of the level report, as matplotlib figures; nothing global is touched.

Every plot is drawn 4.8 inches wide, so that two stand side by side on a page and one fills a phone.
Colours are told apart with any colour vision (Okabe & Ito 2008).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..media.figures import PSNR
from ..media.figures import Figure as Shown
from .diagnostics import LevelStatistics, PrefixQuality
from .spectrum import BandShares

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_INCHES, DPI = 4.8, 200
LABEL_INCHES = 1.5
FAST = {"compress_level": 3}  # a third of the time of the usual 6, files a few per cent larger


@dataclass(frozen=True)
class Theme:
    """Colours of a plot: text, ground, what stays in the background, and one per level."""

    ink: str
    paper: str
    faint: str
    levels: tuple[str, ...]


LIGHT = Theme("#1d2126", "#ffffff", "#c9ced6", ("#0072b2", "#d55e00", "#009e73", "#cc79a7"))
DARK = Theme("#e6e8eb", "#15181c", "#4a515b", ("#56b4e9", "#e69f00", "#2fbf93", "#e29ac4"))


def prefix_name(levels: int, total: int) -> str:
    """`level 0`, `levels 0–1`, ..., with `all` for the longest of several."""
    if levels == 1:
        return "level 0"
    return f"levels 0–{levels - 1}" + (" (all)" if levels == total else "")


def rate_quality(
    prefixes: Sequence[PrefixQuality], theme: Theme = LIGHT, shown: Shown = PSNR
) -> Figure:
    """A figure against rate: one faint line per clip, the mean over clips on top."""
    from matplotlib.ticker import LogLocator

    figure, (axes,) = _figure(3.3, 1, theme)
    for row in zip(*(prefix.clips for prefix in prefixes), strict=True):
        rates = [clip.bits / clip.values for clip in row]
        axes.plot(
            rates, [clip.figures[shown.key] for clip in row], color=theme.faint, linewidth=0.8
        )
    rates, quality = [p.bits_per_value for p in prefixes], [p.mean(shown.key) for p in prefixes]
    axes.plot(rates, quality, color=theme.ink, linewidth=1.4)
    for k, point in enumerate(zip(rates, quality, strict=True)):
        axes.plot(*point, "o", color=_colour(theme, k), markersize=7)
        axes.annotate(
            prefix_name(k + 1, len(prefixes)).removesuffix(" (all)"),
            point,
            xytext=(-7, 6),
            textcoords="offset points",
            ha="right",
            color=_colour(theme, k),
            weight="bold",
        )
    if min(rates) > 0:
        axes.set_xscale("log")
        near = max(rates) < 100 * min(rates)  # else these labels meet
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if near else (1,)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
    axes.margins(x=0.22, y=0.1)  # the first label stands left of its point
    axes.set_xlabel("rate, bits per input value")
    axes.set_ylabel(shown.title)
    _title(axes, "Quality of every prefix; faint: single samples", theme)
    return figure


def channel_rates(levels: Sequence[LevelStatistics], theme: Theme = LIGHT) -> Figure:
    """KL of every channel, one panel per level; channels without rate are hollow."""
    figure, panels = _figure(0.55 + 1.25 * len(levels), len(levels), theme)
    for axes, level in zip(panels, levels, strict=True):
        colour, bits = _colour(theme, level.level), np.array(level.position_bits)
        active = np.array(level.active_by_rate)
        fill = [colour if a else theme.paper for a in active]
        axes.bar(range(len(bits)), bits, width=0.75, color=fill, edgecolor=colour, linewidth=0.8)
        title = (
            f"Level {level.level}: {level.bits_per_value:.2g} bits per input value, "
            f"{active.sum()} of {len(active)} channels active"
        )
        _title(axes, title, theme)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set(xlim=(-0.7, len(bits) - 0.3), ylim=(0, None))
    panels[len(panels) // 2].set_ylabel("bits per latent position")
    panels[-1].set_xlabel("channel")
    return figure


def band_map(shares: BandShares, theme: Theme = LIGHT) -> Figure:
    """Two heat maps over [levels, bands]: who owns a band, and where a level acts."""
    tables = {
        "Share of each band's change (columns sum to 100 %)": shares.of_band,
        "Share of each level's change (rows sum to 100 %)": shares.of_level,
    }
    figure, panels = _figure(1.2 + 0.9 * len(shares.energy), 2, theme)
    for axes, (title, table) in zip(panels, tables.items(), strict=True):
        _heat(axes, np.array(table), theme)
        _title(axes, title, theme)
        axes.set_xticks(range(len(shares.bands)), shares.bands)
        axes.set_yticks(range(len(table)), [f"level {k}" for k in range(len(table))])
    panels[-1].set_xlabel(f"wavelength, {shares.unit}")
    return figure


def strip(rows: dict[str, np.ndarray], times: Sequence[int], theme: Theme = LIGHT) -> Figure:
    """Labelled rows of frames at their own resolution.

    Args:
        rows: label -> uint8 `[frames, H, W, 3]`, all of one shape.
        times: number of each frame shown.
    """
    from matplotlib.figure import Figure

    count, height, width, _ = next(iter(rows.values())).shape
    gap, dpi = 4, 100
    label, foot = LABEL_INCHES * dpi, 0.35 * dpi
    full = label + count * (width + gap), foot + len(rows) * (height + gap)
    figure = Figure((full[0] / dpi, full[1] / dpi), dpi=dpi, facecolor=theme.paper)
    for r, (name, frames) in enumerate(rows.items()):
        top = full[1] - r * (height + gap)
        figure.text(
            0.1 * dpi / full[0], (top - height / 2) / full[1], name, color=theme.ink, va="center"
        )
        for c, frame in enumerate(frames):
            figure.figimage(frame, label + c * (width + gap), top - height)
    for c, time in enumerate(times):
        x = (label + c * (width + gap) + width / 2) / full[0]
        figure.text(x, 0.4 * foot / full[1], f"frame {time}", color=theme.ink, ha="center", size=9)
    return figure


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None}, pil_kwargs=FAST)
    return buffer.getvalue()


def _figure(height_inches: float, panels: int, theme: Theme) -> tuple[Figure, list[Axes]]:
    """An empty figure with panels below each other, styled."""
    from matplotlib.figure import Figure

    figure = Figure(
        (WIDTH_INCHES, height_inches), dpi=DPI, facecolor=theme.paper, layout="constrained"
    )
    axes = [figure.add_subplot(panels, 1, 1 + i) for i in range(panels)]
    for ax in axes:
        ax.set_facecolor(theme.paper)
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(theme.faint)
        ax.tick_params(labelcolor=theme.ink, labelsize=8, color=theme.faint, which="both")
        for text in (ax.xaxis.label, ax.yaxis.label):
            text.set(color=theme.ink, size=8.5)
    return figure, axes


def _title(axes: Axes, text: str, theme: Theme) -> None:
    axes.set_title(text, loc="left", color=theme.ink, size=8.5)


def _heat(axes: Axes, table: np.ndarray, theme: Theme) -> None:
    """Shares in [0, 1] as shades with their per cent written on them."""
    from matplotlib.colors import LinearSegmentedColormap

    shades = LinearSegmentedColormap.from_list("share", [theme.paper, theme.levels[0]])
    axes.imshow(table, cmap=shades, vmin=0, vmax=1, aspect="auto")
    for (row, column), share in np.ndenumerate(table):
        colour = theme.paper if share > 0.75 else theme.ink
        axes.text(column, row, f"{share:.0%}", ha="center", va="center", color=colour, size=8.5)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelcolor=theme.ink)


def _colour(theme: Theme, level: int) -> str:
    return theme.levels[level % len(theme.levels)]
