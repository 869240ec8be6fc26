"""A ladder as a video codec beside H.264 and AV1, all measured alike on the same clips:

    python tools/benchmarks/compare_codecs.py bikes.mp4 wolf.mp4 --out runs/codecs
    python tools/benchmarks/compare_codecs.py CLIPS --model runs/mine --steps 3.5 16 64
    python tools/benchmarks/compare_codecs.py CLIPS --model video-codec

The ladder's points are the bits that `stlatent encode --entropy-code` stores: of a model that takes
λ at prices over the whole of its range, of others at several steps; at the finest of them also for
every prefix of the levels. The others are bare streams of x264 and SVT-AV1 at settings made for
PSNR, one key frame each (of H.264 also key frames alone), in 4:2:0, which limits their PSNR. Expect
them to win: they search for the best way to code every block, and predict its motion.
"""

from __future__ import annotations

import argparse
import io
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from classical import Codec, measured, subsampled, x264
from curves import PRICES, Point, bd_rate, times
from torch import Tensor

import stlatent
from stlatent.bits.bitstream import make_coding
from stlatent.bits.decoder import read_clip
from stlatent.bits.encoder import StreamEncoder
from stlatent.bits.quantise import STEP
from stlatent.cli.outcome import command
from stlatent.evaluate import plots
from stlatent.files import replace_text
from stlatent.media.coder import TiledDecoder
from stlatent.media.metrics import psnr
from stlatent.media.video.clips import centre_clip
from stlatent.media.video.pixels import to_float, to_uint8

STEPS = (STEP, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
FPS = 25.0  # where a clip has none
NOTES = {
    "psnr_db": "over all 8-bit RGB values of a clip",
    "bits_per_pixel": "bits of the bare streams, of all levels that are decoded, per pixel "
    "and frame; x264's note about itself is taken out",
    "times": "bits of the ladder over bits of the other at the same PSNR, log bits linear in PSNR "
    "between its points; null where it has no such PSNR",
    "bd_rate": "how many more bits the ladder takes, all levels, on average over the "
    "PSNR that both reach; log bits linear in PSNR between points; null where they share none",
    "ceiling_db": "PSNR of a clip that was only converted to 4:2:0 and back",
}


CODECS = {
    "H.264": x264(preset="slow"),
    "H.264 medium": x264(preset="medium"),
    "H.264 intra": x264(preset="slow", g="1"),
    "AV1": Codec("libsvtav1", "obu", {"preset": "4", "svtav1-params": "tune=1"}, range(8, 64, 5)),
}


def settings(model: stlatent.Ladder, steps: Sequence[float], count: int) -> list[Point]:
    """How the ladder codes, the most bits first: so many λ where it takes that, and else steps."""
    if model.config.rate:
        return [{"rate_weight": one} for one in model.config.rate.spaced(count)]
    return [{"step": step} for step in sorted(steps)]


def ladder(model: stlatent.Ladder, x: Tensor, ways: Sequence[Point]) -> list[Point]:
    """A clip `[1, 3, T, H, W]` in all these ways, and every prefix in the first of them."""
    levels, points = len(model.levels), []
    for way in ways:
        at = model.at_rate(way["rate_weight"]) if model.config.rate else model
        prefixes = range(1, levels + 1) if way is ways[0] else [levels]
        points += [
            way | point for point in _coded(at, x, [way["step"]] if "step" in way else [], prefixes)
        ]
    return points


def _coded(
    model: stlatent.Ladder, x: Tensor, steps: Sequence[float], prefixes: Sequence[int]
) -> Iterator[Point]:
    """What some prefixes take and decode to."""
    size, coding = x.shape[2:], make_coding(model, steps)
    encoder = StreamEncoder(model, size[1:], coding)
    shown = torch.from_numpy(to_uint8(x)).movedim(-1, 1)
    pieces = [piece for piece in (encoder.push(shown), encoder.end()) if piece]
    levels = list(zip(*pieces, strict=True))
    streams = [b"".join(code.stream for code in level) for level in levels]
    for count in prefixes:
        files = [io.BytesIO(stream) for stream in streams[:count]]
        decoder, level = TiledDecoder(model, size[1:]), levels[count - 1]
        frames = [to_uint8(decoder.push(z)[0]) for z in read_clip(model, coding, size, files)]
        decoded = to_float(np.concatenate(frames)[: size[0]])[None]
        point = {"levels": count, "level_bytes": len(streams[count - 1])}
        point["numbers"] = sum(code.latents.numel() for code in level)
        point["level_rate_bits"] = sum(code.bits.item() for code in level)
        yield point | measured(x, decoded, 8 * sum(map(len, streams[:count])))


def compare(
    model: stlatent.Ladder, path: Path, size: Sequence[int], ways: Sequence[Point]
) -> Point:
    """Everything about one clip."""
    x, fps = centre_clip(path, size)
    curves = {name: codec.curve(x, fps or FPS) for name, codec in CODECS.items()}
    points = ladder(model, x, ways)
    for point in points:
        point["times"] = {name: times(point, curve) for name, curve in curves.items()}
    ceiling = psnr(x, subsampled(x)).item()
    whole = [point for point in points if point["levels"] == len(model.levels)]
    rates = {name: bd_rate(whole, curve) for name, curve in curves.items()}
    about = {"clip": path.name, "size": list(x.shape[2:]), "ceiling_db": ceiling}
    return about | {"bd_rate": rates, "ladder": points, **curves}


def table(clip: Point, levels: int) -> str:
    """As Markdown: the curve of all levels and the prefixes where bits are most; then the levels'
    sizes there, beside those of bf16."""
    finest = _way(clip["ladder"][0])
    size = "x".join(map(str, clip["size"]))
    rows = [f"\n{clip['clip']}, {size}; 4:2:0 ends at {clip['ceiling_db']:.1f} dB"]
    rows += ["× n: times the bits of the other at the same PSNR; – where it has none so low\n"]
    rows += ["| ladder | PSNR | bits per pixel |" + "".join(f" × {name} |" for name in CODECS)]
    rows += ["|---" * (3 + len(CODECS)) + "|"]
    for p in clip["ladder"]:
        name = f"{_way(p)}, {plots.prefix_name(p['levels'], levels)}"
        shares = [" – |" if t is None else f" {t:.1f} |" for t in p["times"].values()]
        figures = f"{p['psnr_db']:.2f} dB | {p['bits_per_pixel']:.4f}"
        rows.append(f"| {name} | {figures} |" + "".join(shares))
    rates = [f"{name} {_times(rate)}" for name, rate in clip["bd_rate"].items()]
    rows += [f"\nbits on average over the same PSNR: {', '.join(rates)}"]
    rows += [f"\n| level, {finest} | numbers | bf16, bytes | coded, bytes | to the rate |"]
    rows += ["|---|---|---|---|---|"]
    for k, p in enumerate(clip["ladder"][:levels]):
        excess = 8 * p["level_bytes"] / p["level_rate_bits"] - 1
        sizes = f"{p['numbers']:,} | {2 * p['numbers']:,} | {p['level_bytes']:,} | {excess:+.2%}"
        rows.append(f"| {k} | {sizes} |")
    return "\n".join(rows)


def _way(point: Point) -> str:
    """How it was coded."""
    weight = point.get("rate_weight")
    return f"step {point['step']:.3g}" if weight is None else f"λ {weight:.3g}"


def _times(rate: float | None) -> str:
    """A BD-rate as a factor."""
    return "–" if rate is None else f"× {1 + rate:.2f}"


def summary(clips: Sequence[Point]) -> str:
    """The BD-rates of all clips, as Markdown."""
    rows = ["\n| bits on average over the same PSNR |" + "".join(f" {name} |" for name in CODECS)]
    rows += ["|---" * (1 + len(CODECS)) + "|"]
    for clip in clips:
        cells = [f" {_times(clip['bd_rate'][name])} |" for name in CODECS]
        rows.append(f"| {Path(clip['clip']).stem} |" + "".join(cells))
    found = [[r for c in clips if (r := c["bd_rate"][name]) is not None] for name in CODECS]
    medians = [_times(float(np.median(rates)) if rates else None) for rates in found]
    return "\n".join([*rows, "| median |" + "".join(f" {one} |" for one in medians)])


def picture(clips: Sequence[Point], levels: int) -> bytes:
    """PSNR against bits per pixel as PNG, a panel per clip."""
    from matplotlib.figure import Figure

    rows, columns = -(-len(clips) // 4), min(len(clips), 4)
    figure = Figure((1.0 + 3.0 * columns, 3.0 * rows), dpi=plots.DPI, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat
    panels = grid[: len(clips)]
    blue, *colours = (*plots.LIGHT.levels, "#8a8f98")
    for axes, clip in zip(panels, clips, strict=True):
        for (name, mark), colour in zip(zip(CODECS, "sDv^", strict=True), colours, strict=False):
            _line(axes, clip[name], f"{mark}-", color=colour, label=name)
        whole = [p for p in clip["ladder"] if p["levels"] == levels]
        _line(axes, whole, "o-", color=blue, label="ladder")
        prefixes = clip["ladder"][:levels]
        _line(axes, prefixes, ".--", color=blue, linewidth=0.7, alpha=0.5, label="its prefixes")
        axes.set_title(Path(clip["clip"]).stem, loc="left", size=9)
        axes.set(xscale="log")
        axes.grid(color=plots.LIGHT.faint, linewidth=0.4)
    for axes in panels[::columns]:
        axes.set_ylabel("PSNR, dB")
    for axes in panels[-columns:]:
        axes.set_xlabel("bits per pixel")
    for axes in grid[len(clips) :]:
        axes.set_axis_off()
    panels[0].legend(frameon=False, fontsize=7)
    return plots.png(figure)


def _line(axes: Any, points: Sequence[Point], style: str, **look: Any) -> None:
    x, y = ([p[key] for p in points] for key in ("bits_per_pixel", "psnr_db"))
    axes.plot(x, y, style, markersize=4, **look)


def run(options: argparse.Namespace) -> None:
    """Compare on every clip; print the tables, write them all to `options.out`."""
    model = stlatent.load(options.model)
    if model.domain.name != "video":
        raise ValueError(f"the model's domain is '{model.domain.name}'; give one of domain 'video'")
    levels, clips = len(model.levels), []
    ways = settings(model, options.steps, options.prices)
    for path in options.clips:
        clips.append(compare(model, path, options.size, ways))
        print(table(clips[-1], levels), flush=True)
    print(summary(clips))
    used = {name: codec._asdict() | {"crf": list(codec.crf)} for name, codec in CODECS.items()}
    report = {"notes": NOTES, "model": stlatent.fingerprint(model), "codecs": used}
    report |= {"versions": {"av": av.__version__, "libraries": av.library_versions}, "clips": clips}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "codecs.png").write_bytes(picture(clips, levels))
    replace_text(options.out / "codecs.json", json.dumps(report, indent=1) + "\n")


@command("compare_codecs")
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", type=Path, nargs="+", help="videos; their beginning and centre")
    parser.add_argument("--model", default="video", help="name, run folder or file")
    parser.add_argument(
        "--size", type=int, nargs=3, default=[17, 256, 256], metavar=("T", "H", "W")
    )
    parser.add_argument("--steps", type=float, nargs="+", default=STEPS, help="as of the writer")
    parser.add_argument("--prices", type=int, default=PRICES, metavar="N", help="λ, where it takes")
    parser.add_argument("--out", type=Path, default=Path("runs/codecs"), metavar="DIR")
    os.environ.setdefault("SVT_LOG", "1")  # errors only
    run(parser.parse_args(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
