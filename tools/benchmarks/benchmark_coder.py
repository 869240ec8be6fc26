"""What entropy coding takes beside the network, in one run:

    python tools/benchmarks/benchmark_coder.py clip.mp4 --size 33 256 256 --threads 1

The coder is all that turns latents and priors into bytes and back: rounding, rates, the grid that
probabilities are rounded to, and the range coder itself. The rest is the network: to make latents
and priors when bits are written, priors when they are read, and pixels when these are decoded. All
of it is timed in the same passes, so that the shares hold on a busy machine, too.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import stlatent
from stlatent.bits.bitstream import make_coding
from stlatent.bits.coding import Target
from stlatent.bits.decoder import read_clip
from stlatent.bits.encoder import StreamEncoder
from stlatent.bits.quantise import STEP, Reading, Writing
from stlatent.cli.outcome import command
from stlatent.files import replace_text
from stlatent.media.coder import TiledDecoder
from stlatent.media.video.clips import centre_clip

CODER = ((Writing, ("_round", "_code", "_exactly", "end_chunk")), (Reading, ("_read",)))


class Clock:
    """Seconds of processor time inside some calls."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any) -> Any:
            start = time.process_time()
            try:
                return call(*given)
            finally:
                self.seconds += time.process_time() - start

        return timed


@contextmanager
def coder_clock() -> Iterator[Clock]:
    """Of all that the coder does meanwhile."""
    clock, before = Clock(), [(kind, n, getattr(kind, n)) for kind, ns in CODER for n in ns]
    for kind, name, call in before:
        setattr(kind, name, clock.around(call))
    try:
        yield clock
    finally:
        for kind, name, call in before:
            setattr(kind, name, call)


def split(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """What some work gives, and the processor time of the network and of the coder in it."""
    with coder_clock() as clock:
        start = time.process_time()
        result = work()
        total = time.process_time() - start
    return result, {"network_s": total - clock.seconds, "coder_s": clock.seconds}


def measure(
    model: stlatent.Ladder, x: Tensor, step: float, target: Target | None
) -> dict[str, Any]:
    """Everything about one way to code a clip `[1, 3, T, H, W]`."""
    coding, size = make_coding(model, [step], target), tuple(x.shape[2:])

    def encode() -> list[Any]:
        encoder = StreamEncoder(model, size[1:], coding)
        return [part for part in (encoder.push(x), encoder.end()) if part]

    parts, writing = split(encode)
    streams = [b"".join(code.stream for code in level) for level in zip(*parts, strict=True)]
    files = [io.BytesIO(stream) for stream in streams]
    chunks, reading = split(lambda: list(read_clip(model, coding, size, files)))
    decoder = TiledDecoder(model, size[1:])
    _, decoding = split(lambda: [decoder.push(levels) for levels in chunks])
    return {
        "step": None if target else step,
        "target": target and target.model_dump(exclude_none=True),
        "bytes": sum(map(len, streams)),
        "encode": writing,
        "read": reading,
        "decode": {key: reading[key] + decoding[key] for key in reading},
    }


def table(rows: Sequence[dict[str, Any]], frames: int) -> str:
    """As Markdown."""
    lines = [
        "| | bytes | encode, ms a frame | of it the coder | bits to latents | of it the coder "
        "| bits to pixels | of it the coder |",
        "|---" * 8 + "|",
    ]
    for row in rows:
        name = f"step {row['step']:.3g}" if row["step"] else f"{row['target']}"
        cells = [name, f"{row['bytes']:,}"]
        for way in ("encode", "read", "decode"):
            network, coder = row[way]["network_s"], row[way]["coder_s"]
            total = network + coder
            cells += [f"{1000 * total / frames:.1f}", f"{coder / total:.0%}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def run(options: argparse.Namespace) -> None:
    """Measure, print the table, write all of it to `options.out`."""
    torch.set_num_threads(options.threads)
    model = stlatent.load(options.model)
    x, _ = centre_clip(options.clip, options.size)
    measure(model, x, STEP, None)  # nothing is warm the first time
    rows = [measure(model, x, step, None) for step in options.steps]
    rows += [measure(model, x, STEP, Target(psnr_db=db)) for db in options.psnr]
    print(table(rows, x.shape[2]))
    report = {"clip": options.clip.name, "size": list(x.shape[2:]), "threads": options.threads}
    options.out.mkdir(parents=True, exist_ok=True)
    replace_text(options.out / "coder.json", json.dumps(report | {"rows": rows}, indent=1) + "\n")


@command("benchmark_coder")
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clip", type=Path, help="a video; its beginning and centre")
    parser.add_argument("--model", default="video", help="name, run folder or file")
    parser.add_argument(
        "--size", type=int, nargs=3, default=[33, 256, 256], metavar=("T", "H", "W")
    )
    parser.add_argument("--steps", type=float, nargs="+", default=[STEP, 16.0, 64.0])
    parser.add_argument("--psnr", type=float, nargs="*", default=[28.0], help="targets, too")
    parser.add_argument("--threads", type=int, default=1, help="of the network")
    parser.add_argument("--out", type=Path, default=Path("runs/coder"), metavar="DIR")
    run(parser.parse_args(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
