"""A ladder beside a flat model: what do several levels cost, and what do they save?

    python tools/benchmarks/compare_flat.py configs/video/base.yaml data.root=VIDEOS \\
        'data.validation.names=[a.mp4, b.mp4]' steps=5000 --out runs/compare

Both are trained at every rate weight with the same code, data, steps and seed. The flat model has
one level at the ladder's finest stride, as many latent channels as fit into the ladder's latent
numbers, and the width that gives it as many parameters. The same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import stlatent
from stlatent.cli.outcome import command
from stlatent.evaluate import plots, prefix_quality
from stlatent.files import replace_text, resumable
from stlatent.losses.elbo import PrefixConfig
from stlatent.media.metrics import psnr
from stlatent.model.choose import Draw
from stlatent.model.config import ModelConfig, dump, load
from stlatent.model.gaussian import BITS_PER_NAT
from stlatent.model.ladder import Ladder
from stlatent.model.layers import Conv
from stlatent.train import RunConfig, run
from stlatent.train.data import open_data
from stlatent.train.plan import parameters

BASE = Path(__file__).parents[2] / "configs" / "video" / "base.yaml"
TOLERANCE = 0.05  # of the parameter count
NOTES = {
    "psnr_db": "mean over clips of 8-bit pixels, decoded from the posterior's mean",
    "bits_per_value": "KL of posterior from prior at the posterior's mean, per input value",
    "drawn": "the same with every latent drawn from its posterior",
    "bits_saved": "1 - ladder / flat at equal PSNR, log bits linear in PSNR between rate weights: "
    "at each point of either, and the mean over all PSNR that both reach; null where none",
}
Points = Sequence[dict[str, Any]]  # one per rate weight


def flat_model(model: ModelConfig, axes: Sequence[int]) -> ModelConfig:
    """One level at the finest stride: no more latent numbers on `axes`, as many parameters."""
    ladder, finest = Ladder(model), model.levels[-1]

    def flat(width: int, latent: int) -> ModelConfig:
        level = finest.model_copy(update={"width": width, "latent": latent, "groups": 1})
        return model.model_copy(update={"levels": (level,)})

    latent = numbers(ladder, axes) // numbers(Ladder(flat(64, 1)), axes)
    # parameters are quadratic in width: three small models tell the rest
    few = (64, 128, 192)
    counts = [parameters(Ladder(flat(width, latent))) - parameters(ladder) for width in few]
    width = float(max(np.roots(np.polyfit(few, counts, 2)).real))
    for step in (64,) if finest.attention else (64, 8, 1):  # round is fast; heads have 64 channels
        config = flat(max(round(width / step), 1) * step, latent)
        if abs(parameters(Ladder(config)) / parameters(ladder) - 1) <= TOLERANCE:
            return config
    raise ValueError(f"no flat model is within {TOLERANCE:.0%} of {parameters(ladder)} parameters")


def numbers(ladder: Ladder, axes: Sequence[int]) -> int:
    return sum(math.prod(shape) for shape in ladder.latent_shape(axes))


@torch.no_grad()
def size(model: ModelConfig, axes: Sequence[int]) -> dict[str, Any]:
    """Parameters, latent numbers and the convolutions' multiply-adds for one clip."""
    ladder, macs = Ladder(model).to("meta"), []  # shapes only, nothing is computed
    for conv in (module for module in ladder.modules() if isinstance(module, Conv)):
        conv.register_forward_hook(
            lambda conv, _, y: macs.append(conv.weight.numel() * y[:, 0].numel())
        )
    latents = ladder.encode(torch.empty(1, model.channels, *axes, device="meta"))
    encoding = sum(macs)
    ladder.decode(latents)
    counts = {"parameters": parameters(ladder), "numbers": latents.numel}
    counts |= {"encode_macs": encoding, "decode_macs": sum(macs) - encoding}
    return counts | {"config": model.model_dump(mode="json")}


def size_table(sizes: dict[str, dict[str, Any]], axes: Sequence[int]) -> str:
    values = math.prod(axes) * sizes["ladder"]["config"]["channels"]
    rows = [["model", "widths", "parameters", "latent numbers", "MACs encode", "MACs decode"]]
    for name, s in sizes.items():
        widths = ", ".join(str(level["width"]) for level in s["config"]["levels"])
        part = f"{s['numbers']} (1/{values / s['numbers']:.1f})"
        macs = [f"{s[f'{way}_macs'] / 1e9:.2f} G" for way in ("encode", "decode")]
        rows.append([name, widths, f"{s['parameters']}", part, *macs])
    return f"One clip of {'x'.join(map(str, axes))}, {values} values:\n\n{markdown(rows)}\n"


def trained(config: RunConfig, model: ModelConfig, rate: float, out: Path) -> Path:
    """Train one model, or go on with it; returns its run folder."""
    prices = config.loss.rate.model_copy(update={"weight": rate})
    loss = config.loss.model_copy(update={"rate": prices})
    if len(model.levels) == 1:  # no prefixes, nor the previews that help them
        loss = loss.model_copy(update={"prefix": PrefixConfig(share=0, preview=0)})
    out.parent.mkdir(parents=True, exist_ok=True)
    file = out.with_name(f"{out.name}.yaml")
    replace_text(file, dump(config.model_copy(update={"model": model, "loss": loss, "out": out})))
    return run(file)


@torch.no_grad()
def measure(out: Path, clips: Sequence[Tensor], seed: int) -> dict[str, Any]:
    """PSNR and rate of every prefix, of the whole, and of the whole with drawn latents."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model, clips = stlatent.load(out / "last", device), [clip.to(device) for clip in clips]
    names = ("psnr_db", "bits_per_value")
    prefixes = [{n: getattr(p, n) for n in names} for p in prefix_quality(model, clips)]
    draw, quality, nats = Draw(generator=torch.Generator(device).manual_seed(seed)), [], 0.0
    for clip in clips:
        result = model(clip, draw)
        quality.append(float(psnr(clip, result.x)))
        nats += sum(float(kl.sum()) for kl in result.latents.kl)
    bits = nats * BITS_PER_NAT / sum(clip.numel() for clip in clips)
    drawn = {"psnr_db": float(np.mean(quality)), "bits_per_value": bits}
    return {**prefixes[-1], "drawn": drawn, "prefixes": prefixes}


def bits_saved(flat: Points, ladder: Points) -> dict[str, Any]:
    """Share of the flat model's bits that the ladder saves at equal PSNR; see `NOTES`."""

    def log_bits(points: Points, psnr_db: Any) -> Any:
        curve = sorted((p["psnr_db"], math.log(p["bits_per_value"])) for p in points)
        return np.interp(psnr_db, *zip(*curve, strict=True), left=math.nan, right=math.nan)

    def saved(psnr_db: Any) -> float | None:
        share = 1 - math.exp(np.mean(log_bits(ladder, psnr_db) - log_bits(flat, psnr_db)))
        return None if math.isnan(share) else share

    reach = [[p["psnr_db"] for p in points] for points in (flat, ladder)]
    low, high = max(map(min, reach)), min(map(max, reach))
    over = saved(np.linspace(low, high, 1001)) if low < high else None
    at_flat, at_ladder = ([saved(psnr_db) for psnr_db in row] for row in reach)
    return {"at_flat": at_flat, "at_ladder": at_ladder, "over": over}


def markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|---" * len(rows[0]) + "|", *body])


def table(points: Points, saved: dict[str, Any]) -> str:
    def share(value: float | None) -> str:
        return "no overlap" if value is None else f"{value:+.1%}"

    coarse = [plots.prefix_name(k + 1, 0) for k in range(len(points[0]["ladder"]["prefixes"]) - 1)]
    rows = [["rate weight", "flat: PSNR, bits per value", "ladder", "difference"]]
    rows[0] += ["bits saved at the flat's PSNR", "at the ladder's PSNR", *coarse]
    for p, *shares in zip(points, saved["at_flat"], saved["at_ladder"], strict=True):
        codes = [p["flat"], p["ladder"], *p["ladder"]["prefixes"][:-1]]
        cells = [f"{code['psnr_db']:.2f} dB, {code['bits_per_value']:.4f}" for code in codes]
        difference = f"{codes[1]['psnr_db'] - codes[0]['psnr_db']:+.2f} dB"
        rows.append([f"{p['rate_weight']:g}", *cells[:2], difference, *map(share, shares)])
        rows[-1] += cells[2:]
    return f"{markdown(rows)}\n\nBits saved, mean over common PSNR: {share(saved['over'])}"


def picture(points: Points) -> bytes:
    """PSNR against bits per value as PNG: both curves, and the ladder's prefixes."""
    from matplotlib.figure import Figure

    figure = Figure((6.4, 4.2), dpi=plots.DPI, layout="constrained")
    axes = figure.add_subplot(xscale="log", xlabel="bits per input value", ylabel="PSNR, dB")

    def draw(row: Points, style: str, **look: Any) -> None:
        axes.plot([p["bits_per_value"] for p in row], [p["psnr_db"] for p in row], style, **look)

    blue, red = plots.LIGHT.levels[:2]
    for p in points:
        label = "the ladder's prefixes" if p is points[0] else None
        draw(p["ladder"]["prefixes"], ".--", color=blue, linewidth=0.8, alpha=0.6, label=label)
    for name, colour in (("flat", red), ("ladder", blue)):
        draw([p[name] for p in points], "o-", color=colour, label=name)
    axes.legend(frameon=False)
    return plots.png(figure)


def compare(config: RunConfig, rates: Sequence[float], out: Path, plan: bool = False) -> None:
    """Train and measure both models at every rate weight; write what comes out to `out`."""
    asked = config.data.validation
    axes = config.model.axes.size(asked.frames, (asked.crop, asked.crop))
    models = {"flat": flat_model(config.model, axes), "ladder": config.model}
    sizes = {name: size(model, axes) for name, model in models.items()}
    print(size_table(sizes, axes), flush=True)
    if plan:
        return
    if not asked.names:
        raise ValueError("data.validation.names is empty; name the files to measure on")
    if config.minutes is not None:
        raise ValueError("minutes is set, but both models train for equal steps: give steps alone")
    clips = list(open_data(config).held_out.values())
    points = []
    for rate in sorted(rates):
        runs = {n: trained(config, m, rate, out / f"{n}-{rate:g}") for n, m in models.items()}
        points.append({n: measure(folder, clips, config.seed) for n, folder in runs.items()})
        points[-1]["rate_weight"] = rate
    report = {"notes": NOTES, "clip": axes, "steps": config.steps, "seed": config.seed}
    flat, ladder = ([p[name] for p in points] for name in models)
    report |= {"models": sizes, "points": points, "bits_saved": bits_saved(flat, ladder)}
    flat, ladder = ([p["drawn"] for p in row] for row in (flat, ladder))
    report["bits_saved_drawn"] = bits_saved(flat, ladder)
    print("\n" + table(points, report["bits_saved"]))
    (out / "compare.png").write_bytes(picture(points))
    replace_text(out / "compare.json", json.dumps(report, indent=1) + "\n")


@command("compare_flat")
@resumable()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    words = "CONFIG.yaml key.sub=value"
    parser.add_argument("words", nargs="*", metavar=words, help="as of `stlatent train`")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.005, 0.02, 0.08])
    parser.add_argument("--out", type=Path, default=Path("runs/compare"), metavar="DIR")
    parser.add_argument("--plan", action="store_true", help="only print both models' sizes")
    options = parser.parse_intermixed_args(arguments)
    named = bool(options.words) and "=" not in options.words[0]
    path, overrides = (options.words[0], options.words[1:]) if named else (BASE, options.words)
    compare(load(RunConfig, path, overrides), options.rates, options.out, options.plan)


if __name__ == "__main__":
    raise SystemExit(main())
