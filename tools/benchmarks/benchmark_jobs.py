"""Figures of `stlatent encode` as a job: one at a time, by name, each printed as JSON.

    python tools/benchmarks/benchmark_jobs.py memory            peak of 10,000 frames beside 200
    python tools/benchmarks/benchmark_jobs.py kills --count 60  kill -9 at random, then go on
    python tools/benchmarks/benchmark_jobs.py damage            300 damaged files among good ones
    python tools/benchmarks/benchmark_jobs.py workers           a worker, two shards, two Ray actors

Clips are `--clips`, cut down; the model is `--model`, or with `--config` one with random weights.
How well decoding and the network overlap, `benchmark_speed.py --folder` measures; what tiles
change, `measure_seams.py`; reading, `benchmark_reads.py`.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

import stlatent
from stlatent.cli.outcome import command
from stlatent.files import replace_text
from stlatent.jobs.options import EncodeOptions
from stlatent.media.video.files import find_sources
from stlatent.media.video.readers import VideoReader
from stlatent.media.video.write import Mp4Writer
from stlatent.model.config import load as load_config
from stlatent.store.reader import LatentStore
from stlatent.train.config import RunConfig

CLIPS = Path(__file__).parents[2] / "assets" / "clips"
OPTIONS = EncodeOptions(precision="fp32", unit_files=2)
# A process of its own that says when it begins to work, and in the end how many sources failed.
WORKER = """
import sys, torch
from stlatent import load
from stlatent.jobs import EncodeOptions, encode_folder
from stlatent.jobs.ray_pool import RayPool
torch.set_num_threads(1)
model, root, out, options, limit, index, count, actors = sys.argv[1:]
model, pool = load(model), RayPool(int(actors)) if int(actors) else None
print("go", flush=True)
options = EncodeOptions.model_validate_json(options)
result = encode_folder(model, root, out, "benchmark", options, shard=(int(index), int(count)),
                       pool=pool, limit_seconds=float(limit))
print(len(result.failed), flush=True)
"""
Figures = dict[str, Any]


def start(model: Path, root: Path, out: Path, limit: float = 60.0) -> subprocess.Popen:
    """A process that encodes, which has just begun to."""
    process = launch(model, root, out, limit)
    process.stdout.readline()
    return process


def launch(
    model: Path,
    root: Path,
    out: Path,
    limit: float = 60.0,
    shard: tuple[int, int] = (0, 1),
    actors: int = 0,
) -> subprocess.Popen:
    """A process that will encode as soon as it has said so in a line."""
    given = [model, root, out, OPTIONS.model_dump_json(), limit, *shard, actors]
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, *map(str, given)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def finish(process: subprocess.Popen) -> int:
    """How many sources failed."""
    said = process.stdout.read()
    if process.wait():
        raise RuntimeError(f"encoding ended with code {process.returncode}")
    return int(said)


def memory(work: Path, model: Path, options: argparse.Namespace) -> Figures:
    """Peak memory of the process and its decoder together for a short and a long video."""
    peaks = {}
    for frames in (200, options.frames):
        root = work / str(frames)
        with Mp4Writer(root / "video.mp4", (options.size, options.size), 25) as writer:
            for i in range(frames):
                writer.write(pattern(i, options.size)[None])
        process = start(model, root, work / f"out-{frames}")
        peaks[frames] = 0.0
        while process.poll() is None:
            peaks[frames] = max(peaks[frames], resident_mib(process.pid))
            time.sleep(0.005)
        finish(process)
    return {"peak_mib": peaks, "ratio": peaks[options.frames] / peaks[200]}


def resident_mib(pid: int) -> float:
    """Of a process and its children; pages they share count for each."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return sum(one.memory_info().rss for one in family) / 2**20
    except psutil.NoSuchProcess:
        return 0.0


def pattern(i: int, size: int) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    waves = [np.sin(0.2 * x + 0.3 * i), np.cos(0.15 * y - 0.2 * i), np.sin(0.1 * (x + y) + 0.1 * i)]
    return np.round(127.5 + 120 * np.stack(waves, -1)).astype(np.uint8)


def kills(work: Path, model: Path, options: argparse.Namespace) -> Figures:
    """Kills a job at a random moment, lets it go on, and compares every byte of the outcome."""
    root = small_clips(work / "in", options, copies=2)
    process, began = start(model, root, work / "undisturbed"), time.perf_counter()
    finish(process)
    seconds = time.perf_counter() - began
    expected, chance = content(work / "undisturbed"), random.Random(options.seed)
    figures: Counter[str] = Counter(kills=0, equal=0, leftovers=0, orphans=0)
    while figures["kills"] < options.count:
        place = work / str(figures["kills"])
        process, began = start(model, root, place / "out"), time.perf_counter()
        with suppress(subprocess.TimeoutExpired):
            process.wait(chance.uniform(0, seconds))
            seconds = time.perf_counter() - began  # too late: the machine is faster by now
            shutil.rmtree(place)
            continue
        decoders = psutil.Process(process.pid).children()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        _, alive = psutil.wait_procs(decoders, timeout=10)
        figures["orphans"] += len(alive)
        figures["leftovers"] += any(path.name != "out" for path in place.glob("*"))
        finish(start(model, root, place / "out"))
        figures["equal"] += content(place / "out") == expected
        figures["kills"] += 1
        shutil.rmtree(place)
    return {"files": len(expected), **figures}


def content(folder: Path) -> dict[str, bytes]:
    """Every file and folder below `folder`."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }


def workers(work: Path, model: Path, options: argparse.Namespace) -> Figures:
    """Seconds of one worker, of two that share the work, and of two actors of Ray; each with one
    thread, counted from when the first is ready; actors start only then."""
    root, seconds = small_clips(work / "in", options, options.copies), {}
    crews = {"one": [{}], "two shards": [{"shard": (i, 2)} for i in range(2)]}
    for name, crew in (crews | {"two actors of Ray": [{"actors": 2}]}).items():
        at_work = [launch(model, root, work / name, **one) for one in crew]
        at_work[0].stdout.readline()
        ready = time.perf_counter()
        for process in at_work[1:]:
            process.stdout.readline()
        for process in at_work:
            finish(process)
        seconds[name] = time.perf_counter() - ready
    return {"seconds": seconds, "ratios": {n: s / seconds["one"] for n, s in seconds.items()}}


def small_clips(folder: Path, options: argparse.Namespace, copies: int) -> Path:
    """The beginnings of the clips in small, `copies` of each of different lengths."""
    for source in find_sources(options.clips):
        with VideoReader(source.path) as reader:
            for copy in range(copies):
                frames = reader.read(range(min(9 + 8 * copy, reader.frames)))
                frames = frames[:, : options.size, : options.size]
                name = f"{Path(source.name).stem}-{copy}.mp4"
                with Mp4Writer(folder / name, frames.shape[1:3], reader.fps or 25) as writer:
                    writer.write(frames)
    return folder


def damage(work: Path, model: Path, options: argparse.Namespace) -> Figures:
    """Damaged files of every kind among good ones: which are encoded, and which named."""
    root = small_clips(work / "in", options, copies=2)
    good = {path.name: path.read_bytes() for path in sorted(root.iterdir())}
    chance = np.random.default_rng(options.seed)
    kinds: dict[str, str] = {}
    for i in range(options.count):
        kind = list(DAMAGE)[i % len(DAMAGE)]
        name, values = DAMAGE[kind](good[list(good)[i % len(good)]], chance)
        (root / f"{kind}-{i}{name}").write_bytes(values)
        kinds[f"{kind}-{i}{name}"] = kind
    began = time.perf_counter()
    failed = finish(start(model, root, work / "out", limit=20.0))
    seconds = time.perf_counter() - began
    store = LatentStore(work / "out")
    lines = (work / "out" / "failed.jsonl").read_text().splitlines()
    named = {json.loads(line)["name"] for line in lines}
    accounted = set(store.items) | named == set(good) | set(kinds) and not set(store.items) & named
    return {
        "seconds": seconds,
        "good": len(good),
        "good_encoded": len(set(good) & set(store.items)),
        "damaged": len(kinds),
        "damaged_named": dict(Counter(kinds[name] for name in named)),
        "damaged_but_decodable": dict(Counter(k for n, k in kinds.items() if n in store.items)),
        "every_file_accounted_for": accounted and failed == len(named),
    }


def flipped(content: bytes, chance: np.random.Generator) -> tuple[str, bytes]:
    values = np.frombuffer(content, np.uint8).copy()
    at = chance.integers(len(values), size=1 + len(values) // 500)
    values[at] ^= (1 << chance.integers(8, size=len(at))).astype(np.uint8)
    return ".mp4", values.tobytes()


def truncated(content: bytes, chance: np.random.Generator) -> tuple[str, bytes]:
    return ".mp4", content[: chance.integers(1, len(content))]


def bomb(content: bytes, chance: np.random.Generator) -> tuple[str, bytes]:
    """Headers that ask for thousands of megapixels."""
    side = int(chance.integers(30000, 65000))
    png = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    gif = b"GIF89a" + struct.pack("<HHBBB", side, side, 0xF0, 0, 0) + bytes(6) + b","
    bmp = b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, side, side, 1, 24, *[0] * 6)
    return (
        (".png", b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + png + bytes(4096)),
        (".gif", gif + struct.pack("<HHHHB", 0, 0, side, side, 0) + b"\x02" + bytes(4096)),
        (".bmp", bmp + bytes(4096)),
    )[chance.integers(3)]


DAMAGE: dict[str, Callable[[bytes, np.random.Generator], tuple[str, bytes]]] = {
    "flipped": flipped,
    "truncated": truncated,
    "mislabelled": lambda content, _: (".png", content),
    "empty": lambda *_: (".mkv", b""),
    "text": lambda *_: (".mp4", b"not a video\n" * 100),
    "noise": lambda _, chance: (".webm", chance.bytes(20000)),
    "bomb": bomb,
}


FIGURES = {"memory": memory, "kills": kills, "damage": damage, "workers": workers}


@command("benchmark_jobs")
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("figure", choices=FIGURES)
    add("--model", default="video", help="a shipped model by name, a run folder or a file (video)")
    add("--config", help="of a training run: its model, with random weights")
    add("--clips", type=Path, default=CLIPS, help="a folder of videos (assets/clips)")
    add("--size", type=int, default=96, help="at most so many pixels a side are used (96)")
    add("--frames", type=int, default=10000, help="for memory (10000)")
    add("--count", type=int, default=300, help="of kills, or of damaged files (300)")
    add("--copies", type=int, default=12, help="of each clip, for workers (12)")
    add("--seed", type=int, default=0, help="of moments and damages (0)")
    add("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        model = options.model
        if options.config:
            torch.manual_seed(0)
            model = work / "model.safetensors"
            stlatent.save(stlatent.Ladder(load_config(RunConfig, options.config).model), model)
        figures = FIGURES[options.figure](work, model, options)
    text = json.dumps({options.figure: figures}, indent=1)
    print(text)
    if options.out:
        replace_text(options.out, text)


if __name__ == "__main__":
    raise SystemExit(main())
