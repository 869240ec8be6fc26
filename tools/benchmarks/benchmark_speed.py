"""How fast a stlatent model is beside the autoencoders of `diffusers`, all on the same clip:

    python tools/benchmarks/benchmark_speed.py  # the shipped video model
    python tools/benchmarks/benchmark_speed.py --model runs/mine --device cuda --out speed.json
    python tools/benchmarks/benchmark_speed.py --only none --folder VIDEOS  # shares of encode

The others have the sizes their classes default to and random weights, which is all that speed asks
for. They take turns, round by round, so that a busy machine meets all of them alike.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import stlatent
from stlatent.cli.outcome import command
from stlatent.files import replace_text
from stlatent.jobs.encode import encode_folder
from stlatent.media.registry import medium_of
from stlatent.media.video import timeline
from stlatent.media.video.clips import centre_clip
from stlatent.media.video.pixels import to_float
from stlatent.media.video.readers import VideoReader
from stlatent.model.config import load as load_config
from stlatent.model.device import autocast, chunk_units, native_precision
from stlatent.model.stream import decode_chunk, encode_chunk, encode_end
from stlatent.train.config import RunConfig

CLIPS = Path(__file__).parents[2] / "assets" / "clips"
RIVALS = {  # class in diffusers, and how many frames make one of its latents (after the first)
    "wan": ("AutoencoderKLWan", 4),
    "cogvideox": ("AutoencoderKLCogVideoX", 4),
    "ltx": ("AutoencoderKLLTXVideo", 8),
    "cosmos": ("AutoencoderKLCosmos", 8),
    "tiny": ("AutoencoderTiny", 1),  # of pictures: every frame by itself
}
LEAST_SECONDS = 1.0  # a round repeats what is quick for so long
LONG_SECONDS = 10.0  # what takes longer is timed once
Row = dict[str, Any]


class Contender(NamedTuple):
    """An autoencoder, and the frames of the clip that it takes."""

    name: str
    frames: int
    model: nn.Module
    encode: Callable[[Tensor], Sequence[Tensor]]
    decode: Callable[[Sequence[Tensor]], Tensor]


def ours(model: stlatent.Ladder, name: str, size: Sequence[int]) -> Contender:
    """As `stlatent encode` and `decode` run it: piece by piece, the state handed on."""
    length = frames_per_piece(model, size[1:])

    def decode(latents: Sequence[Tensor]) -> Tensor:
        pieces = [z.split(length // lv.stride[0], 2) for z, lv in zip(latents, model.levels)]
        state, video = None, []
        for piece in zip(*pieces):
            frames, state = decode_chunk(model, piece, size[1:], state)
            video.append(frames)
        return torch.cat(video, 2)[:, :, : size[0]]

    return Contender(name, size[0], model, lambda x: encode(model, x.split(length, 2)), decode)


def encode(model: stlatent.Ladder, pieces: Iterable[Tensor]) -> list[Tensor]:
    state, done = None, []
    for frames in pieces:
        latents, state = encode_chunk(model, frames, state)
        done.append(latents.levels)
    return [torch.cat(level, 2) for level in zip(*done, encode_end(model, state)[0].levels)]


def frames_per_piece(model: stlatent.Ladder, size: Sequence[int]) -> int:
    unit = model.levels[0].stride[0]
    return unit * chunk_units(next(model.parameters()).device, size, unit)


def rival(name: str, frames: int, device: torch.device) -> Contender:
    kind, unit = RIVALS[name]
    try:
        import diffusers

        model = getattr(diffusers, kind)().eval().requires_grad_(False).to(device)
    except (ImportError, RuntimeError) as error:  # such as a torchvision made for another torch
        raise ValueError(f"no {kind} from diffusers: {str(error).splitlines()[-1]}") from None
    frames = 1 + (frames - 1) // unit * unit
    if name == "tiny":
        return Contender(
            *(kind, frames, model),
            lambda x: [model.encode(x[0].movedim(1, 0)).latents],
            lambda z: model.decode(z[0]).sample.movedim(0, 1)[None],
        )
    return Contender(
        *(kind, frames, model),
        lambda x: [model.encode(x).latent_dist.mode()],
        lambda z: model.decode(z[0]).sample,
    )


def clock(work: Callable[[], Any], device: torch.device, least: float = 0) -> tuple[float, Any]:
    """Median seconds of `work`, repeated until `least` seconds are over, and what it gives."""
    seconds: list[float] = []
    while not seconds or sum(seconds) < least:
        start = time.perf_counter()
        made = work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return median(seconds), made


@torch.inference_mode()
def compare(rivals: Sequence[Contender], clip: Tensor, precision: str, rounds: int) -> list[Row]:
    """A row of figures for each; ratios say how many times faster the first one is."""
    taken: dict[tuple[str, str], list[float]] = {}
    made: dict[tuple[str, str], Any] = {}
    for turn, one in product(range(rounds + 1), rivals):  # turn 0 warms up
        for way, work in (("encode", one.encode), ("decode", one.decode)):
            seconds = taken.setdefault((one.name, way), [])
            if seconds and seconds[0] > LONG_SECONDS:
                continue
            x = clip[:, :, : one.frames] if way == "encode" else made[one.name, "encode"]
            with autocast(clip.device, precision):
                last, y = clock(partial(work, x), clip.device, LEAST_SECONDS * (turn > 0))
            seconds[:] = [*seconds, last] if turn > 1 else [last]
            made[one.name, way] = y
    rows: list[Row] = []
    for one in rivals:
        if made[one.name, "decode"].shape != clip[:, :, : one.frames].shape:
            raise ValueError(f"{one.name} takes no clips of --size {list(clip.shape[2:])}")
        row: Row = {"model": one.name, "precision": precision, "frames": one.frames}
        for way in ("encode", "decode"):
            row[f"{way}_ms"] = 1000 * median(taken[one.name, way])
            row[f"{way}_fps"] = 1000 * one.frames / row[f"{way}_ms"]
            row[f"{way}_ratio"] = (rows or [row])[0][f"{way}_fps"] / row[f"{way}_fps"]
        numbers = sum(z.numel() for z in made[one.name, "encode"])
        row["latents_per_value"] = numbers / made[one.name, "decode"].numel()
        row["params_million"] = sum(p.numel() for p in one.model.parameters()) / 1e6
        rows.append(row)
    return rows


@torch.inference_mode()
def shares(model: stlatent.Ladder, folder: str) -> Row:
    """Seconds of `stlatent encode`, and of its parts by themselves; in the job they overlap."""
    device, reading, network = next(model.parameters()).device, 0.0, 0.0
    for source in medium_of(model).find(Path(folder)):
        start = time.perf_counter()
        with VideoReader(source.path, threads=0) as reader:
            pieces = list(reader.chunks(frames_per_piece(model, reader.size)))
        reading += time.perf_counter() - start
        floats = (to_float(torch.from_numpy(piece).to(device))[None] for piece in pieces)
        with autocast(device):
            network += clock(partial(encode, model, floats), device)[0]
    timeline._read.cache_clear()  # else the job would not have to look into the files again
    with tempfile.TemporaryDirectory() as out:
        job = encode_folder(model, folder, f"{out}/latents", "benchmark")
    parts = {"reading_share": reading / job.seconds, "network_share": network / job.seconds}
    return {"frames": job.frames, "seconds": job.seconds, **parts}


def table(rows: Sequence[Row]) -> str:
    lines = [[key.replace("_", " ") for key in rows[0]]]
    for row in rows:
        lines.append([_short(v) if isinstance(v, float) else str(v) for v in row.values()])
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(map(str.rjust, line, widths)) for line in lines)


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def run(options: argparse.Namespace) -> Row:
    """Do what the command line asks for, print it and return it."""
    device, size = torch.device(options.device), options.size
    threads = torch.get_num_threads() if options.threads is None else options.threads
    if min(*size, options.rounds, threads) < 1:
        raise ValueError("--size, --rounds and --threads take whole numbers from 1 on")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device is cuda, but torch sees no GPU here; leave it out")
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    if options.config:
        model = stlatent.Ladder(load_config(RunConfig, options.config).model).eval().to(device)
    else:
        model = stlatent.load(options.model, device)
    if model.domain.name != "video":
        raise ValueError(f"the model's domain is '{model.domain.name}'; give one of domain 'video'")
    names = [name for name in options.only.split(",") if name != "none"]
    if unknown := [name for name in names if name not in RIVALS]:
        raise ValueError(f"--only names {unknown}; there are {', '.join(RIVALS)}, or none")
    path = options.clip or min(CLIPS.glob("*.mp4"), default=None)
    if path is None:
        raise ValueError(f"no clip lies in {CLIPS}; name a video with --clip")
    clip = centre_clip(path, size)[0].to(device)
    if list(clip.shape[2:]) != list(size):
        raise ValueError(f"{path} gives {list(clip.shape[2:])} of --size {size}; give another")
    where = torch.cuda.get_device_name() if device.type == "cuda" else platform.machine()
    report = {"machine": where, "threads": threads, "torch": torch.__version__}
    print(", ".join(f"{key} {value}" for key, value in report.items()))
    us = ours(model, f"stlatent {options.config or options.model}", size)
    contenders = [us, *(rival(name, size[0], device) for name in names)]
    report["speed"] = []
    for precision in dict.fromkeys(["fp32", native_precision(device)]):
        report["speed"] += compare(contenders, clip, precision, options.rounds)
    print(table(report["speed"]))
    if options.folder:
        report["folder"] = shares(model, options.folder)
        print("\nstlatent encode; shares of its time that its parts, which overlap, take alone:")
        print(table([report["folder"]]))
    return report


@command("benchmark_speed")
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Speed of a stlatent model and of others.")
    add = parser.add_argument
    add("--model", default="video", help="a shipped model by name, a run folder or a file (video)")
    add("--config", help="of a training run: its model, with random weights")
    add("--only", default=",".join(RIVALS), help="some of %(default)s; or none")
    add("--clip", help="a video: its first frames, centre crop (the first of assets/clips)")
    add("--size", type=int, nargs=3, default=[17, 256, 256], help="frames, height, width")
    add("--device", choices=["cpu", "cuda"], default="cpu")
    add("--threads", type=int, help="of the CPU (all)")
    add("--rounds", type=int, default=3, help="of which the median is taken (3)")
    add("--folder", help="of videos: also print what takes the time of `stlatent encode`")
    add("--out", type=Path, help="JSON file for all figures")
    options = parser.parse_args(arguments)
    report = run(options)
    if options.out:
        replace_text(options.out, json.dumps(report, indent=1))


if __name__ == "__main__":
    raise SystemExit(main())
