"""A ladder that takes λ as an image codec, beside JPEG, WebP and AVIF, and published curves:

    python tools/benchmarks/compare_images.py KODAK --model runs/image-codec --out runs/images

The ladder's points are the files that `stlatent encode --entropy-code --rate-weight` writes, at
prices over the whole range of the model, all levels, decoded by `stlatent decode`. The others are
files of Pillow, colours in 4:2:0, which limits their PSNR. On the 24 Kodak images the curves of VTM
and of the hyperprior model (Ballé et al. 2018) are those that CompressAI publishes. With `--psnr`
each picture is encoded to these targets as well, where λ is chosen, beside its own curve.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL
import torch
from curves import PRICES, Point, bd_rate
from PIL import Image, features

import stlatent
from stlatent.cli.outcome import command
from stlatent.evaluate import plots
from stlatent.files import replace_text
from stlatent.jobs.decode import decode_store
from stlatent.jobs.encode import encode_folder
from stlatent.jobs.options import EncodeOptions
from stlatent.media.metrics import psnr
from stlatent.media.video.pixels import to_float
from stlatent.store.header import level_file
from stlatent.store.reader import LatentStore
from stlatent.store.tensors import read_spans

KODAK = {f"kodim{number:02d}" for number in range(1, 25)}
SOURCE = (
    "InterDigitalInc/CompressAI, results/image/kodak/vtm.json (128f004) and "
    "compressai-bmshj2018-hyperprior_mse_cuda.json (3d3c9bb)"
)
PUBLISHED = {  # bits per pixel and PSNR in dB, means over the 24 images
    "VTM": (
        (0.0482, 26.145),
        (0.1125, 28.493),
        (0.2458, 31.200),
        (0.4905, 34.262),
        (0.8748, 37.420),
        (1.4308, 40.424),
        (2.3246, 43.506),
    ),
    "hyperprior": (
        (0.1313, 27.582),
        (0.2089, 29.197),
        (0.3199, 30.972),
        (0.4784, 32.838),
        (0.6687, 34.526),
        (0.9388, 36.743),
        (1.2592, 38.584),
        (1.6602, 40.557),
    ),
}
NOTES = {
    "psnr_db": "over all 8-bit RGB values of a picture, mean over pictures",
    "bits_per_pixel": "of whole files of Pillow; of the ladder, of the bytes of all its levels; "
    "mean over pictures",
    "folder_bits_per_pixel": "of the ladder: all files of the data set but its preview",
    "bd_rate": "how many more bits the ladder takes on average over the PSNR that both reach; log "
    "bits linear in PSNR between the mean points; null where they share none",
    "published": SOURCE,
}


class Format(NamedTuple):
    """A format of Pillow, its options and its quality settings."""

    options: dict[str, Any]
    quality: Sequence[int]


FORMATS = {
    "JPEG": Format(
        {"subsampling": "4:2:0", "optimize": True}, (5, 10, 20, 30, 45, 60, 75, 85, 90, 95)
    ),
    "WEBP": Format({"method": 6}, (0, 5, 15, 30, 50, 70, 80, 90, 95)),
    "AVIF": Format({"subsampling": "4:2:0", "speed": 6}, (5, 15, 25, 35, 50, 65, 75, 85, 92)),
}


def others(pictures: Mapping[str, np.ndarray]) -> dict[str, list[Point]]:
    """What each format makes of the pictures, uint8 `[H, W, 3]`, the fewest bits first."""
    return {
        name: [_pillow(pictures, name, quality) for quality in one.quality]
        for name, one in FORMATS.items()
        if name == "JPEG" or features.check(name.lower())
    }


def _pillow(pictures: Mapping[str, np.ndarray], name: str, quality: int) -> Point:
    sizes, shown = {}, {}
    for picture, x in pictures.items():
        file = io.BytesIO()
        Image.fromarray(x).save(file, name, quality=quality, **FORMATS[name].options)
        sizes[picture] = len(file.getvalue())
        shown[picture] = np.array(Image.open(file).convert("RGB"))
    return _point(pictures, shown, sizes) | {"quality": quality}


def ladder(
    model: stlatent.Ladder, folder: Path, pictures: Mapping[str, np.ndarray], weights: Sequence
) -> list[Point]:
    """The pictures in `folder` at each price, the fewest bits first."""
    points = []
    for weight in sorted(weights, reverse=True):
        point = _stored(
            model, folder, pictures, EncodeOptions(entropy_code=True, rate_weight=weight)
        )
        points.append(point | {"rate_weight": weight})
    return points


def _stored(
    model: stlatent.Ladder, folder: Path, pictures: Mapping[str, np.ndarray], options: EncodeOptions
) -> Point:
    """The pictures in `folder` as a data set."""
    with tempfile.TemporaryDirectory() as work:
        out = Path(work) / "z"
        result = encode_folder(model, folder, out, "model", options)
        if result.failed:
            raise ValueError(f"{result.failed[0].name}: {result.failed[0].reason}")
        store = LatentStore(out, model)
        made = decode_store(model, store, Path(work) / "shown", format="png", precision="fp32")
        shown = {path.stem: np.array(Image.open(path).convert("RGB")) for path in made}
        levels = [_level_bytes(store, k) for k in range(len(model.levels))]
        sizes = {name: sum(level[name] for level in levels) for name in pictures}
        files = [f for f in out.rglob("*") if f.is_file() and f.name != "preview.png"]
        point = _point(pictures, shown, sizes)
        pixels = sum(x.shape[0] * x.shape[1] for x in pictures.values())
        point["level_bits_per_pixel"] = [8 * sum(one.values()) / pixels for one in levels]
        point["folder_bits_per_pixel"] = 8 * sum(f.stat().st_size for f in files) / pixels
        return point


def aimed(
    model: stlatent.Ladder,
    folder: Path,
    pictures: Mapping[str, np.ndarray],
    targets: Sequence[float],
    curve: Sequence[Point],
) -> list[Point]:
    """The pictures at each target in dB; of each `fixed_bits_per_pixel` too, what its own curve of
    fixed prices has at the PSNR that is reached, None where it does not go."""
    points = []
    for target in targets:
        point = _stored(model, folder, pictures, EncodeOptions(psnr_db=target))
        fixed = {}
        for name, (reached, _) in point["pictures"].items():
            decibels, bits = zip(*(one["pictures"][name] for one in curve), strict=True)
            found = np.interp(reached, decibels, np.log(bits), np.nan, np.nan)
            fixed[name] = None if np.isnan(found) else float(np.exp(found))
        points.append(point | {"target_db": target, "fixed_bits_per_pixel": fixed})
    return points


def _level_bytes(store: LatentStore, level: int) -> dict[str, int]:
    """What each picture takes in the files of a level."""
    files = {level_file(level, store.unit(name)) for name in store.items}
    spans = {name: e for file in files for name, e in read_spans(store.place, file).items()}
    return {Path(name).stem: spans[name].shape[0] for name in store.items}


def _point(
    pictures: Mapping[str, np.ndarray], shown: Mapping[str, np.ndarray], sizes: Mapping[str, int]
) -> Point:
    """Means over pictures."""
    found = {}
    for name, x in pictures.items():
        pair = [to_float(one[None])[None] for one in (x, shown[name])]
        found[name] = (psnr(*pair).item(), 8 * sizes[name] / (x.shape[0] * x.shape[1]))
    decibels, bits = (float(np.mean(values)) for values in zip(*found.values(), strict=True))
    return {"psnr_db": decibels, "bits_per_pixel": bits, "bits": bits, "pictures": found}


def table(points: Sequence[Point], rates: Mapping[str, float | None]) -> str:
    """The ladder's curve, and its bits beside those of the others, as Markdown."""
    rows = ["| λ | bits per pixel | PSNR | with all of the data set |", "|---|---|---|---|"]
    for p in points:
        figures = f"{p['bits_per_pixel']:.3f} | {p['psnr_db']:.2f} dB"
        rows.append(f"| {p['rate_weight']:.4f} | {figures} | {p['folder_bits_per_pixel']:.3f} |")
    rows += ["", "| BD-rate against |" + "".join(f" {name} |" for name in rates)]
    rows += ["|---" * (1 + len(rates)) + "|"]
    cells = ["–" if rate is None else f"{rate:+.1%}" for rate in rates.values()]
    return "\n".join([*rows, "| ladder |" + "".join(f" {cell} |" for cell in cells)])


def table_of_targets(points: Sequence[Point]) -> str:
    """What is reached, and the bits that it takes beside those of fixed prices, as Markdown."""
    rows = ["| target | picture | reached | bits per pixel | of a fixed λ | |"]
    rows += ["|---|---|---|---|---|---|"]
    for p in points:
        for name, (decibels, bits) in p["pictures"].items():
            fixed = p["fixed_bits_per_pixel"][name]
            beside = f"{fixed:.3f} | {bits / fixed - 1:+.1%}" if fixed else "– | –"
            figures = f"{decibels:.2f} dB | {bits:.3f} | {beside}"
            rows.append(f"| {p['target_db']:g} dB | {name} | {figures} |")
    return "\n".join(rows)


def picture(curves: Mapping[str, Sequence[Point]], published: Sequence[str]) -> bytes:
    """PSNR against bits per pixel as PNG; the first curve is the ladder's."""
    from matplotlib.figure import Figure

    figure = Figure((6.0, 4.2), dpi=plots.DPI, layout="constrained")
    axes, (blue, *colours) = figure.subplots(), plots.LIGHT.levels
    styles = dict(zip(curves, [blue, *colours, "#8a8f98", "#4a4f58"], strict=False))
    for name, curve in curves.items():
        x, y = ([p[key] for p in curve] for key in ("bits_per_pixel", "psnr_db"))
        style = "--" if name in published else "o-"
        label = f"{name} (published)" if name in published else name
        axes.plot(x, y, style, color=styles[name], label=label, markersize=3.5, linewidth=1.2)
    axes.set(xscale="log", xlabel="bits per pixel", ylabel="PSNR, dB")
    axes.set_xlim(0.08, 4)
    axes.grid(color=plots.LIGHT.faint, linewidth=0.4)
    axes.legend(frameon=False, fontsize=8)
    return plots.png(figure)


def run(options: argparse.Namespace) -> None:
    """Compare on all pictures of a folder; print the table, write all to `options.out`."""
    model = stlatent.load(options.model)
    if model.domain.name != "image" or not model.config.rate:
        raise ValueError("give a model of domain 'image' that takes λ, such as image/codec trained")
    paths = sorted(p for p in options.folder.iterdir() if p.suffix.lower() == ".png")
    if not paths:
        raise ValueError(f"{options.folder} holds no .png pictures")
    pictures = {path.stem: np.array(Image.open(path).convert("RGB")) for path in paths}
    weights = model.config.rate.spaced(options.prices)
    curves = {"ladder": ladder(model, options.folder, pictures, weights), **others(pictures)}
    published = {}
    if pictures.keys() == KODAK:
        for name, points in PUBLISHED.items():
            keys = "bits_per_pixel", "psnr_db"
            published[name] = [dict(zip(keys, p, strict=True)) | {"bits": p[0]} for p in points]
    curves |= published
    rates = {n: bd_rate(curves["ladder"], c) for n, c in curves.items() if n != "ladder"}
    print(table(curves["ladder"], rates))
    report = {"notes": NOTES, "model": stlatent.fingerprint(model), "pictures": len(pictures)}
    report |= {"versions": {"pillow": PIL.__version__, "torch": torch.__version__}}
    report |= {"formats": {name: one._asdict() for name, one in FORMATS.items()}}
    report |= {"bd_rate": rates, "curves": curves}
    if options.psnr:
        found = aimed(model, options.folder, pictures, options.psnr, curves["ladder"])
        report["targets"] = found
        print("", table_of_targets(found), sep="\n")
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "images.png").write_bytes(picture(curves, list(published)))
    replace_text(options.out / "images.json", json.dumps(report, indent=1) + "\n")


@command("compare_images")
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="of .png pictures")
    parser.add_argument("--model", required=True, help="name, run folder or file")
    parser.add_argument("--prices", type=int, default=PRICES, metavar="N", help="of the rate")
    parser.add_argument("--psnr", type=float, nargs="*", default=[], metavar="DB", help="targets")
    parser.add_argument("--out", type=Path, default=Path("runs/images"), metavar="DIR")
    run(parser.parse_args(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
