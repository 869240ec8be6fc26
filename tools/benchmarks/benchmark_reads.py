"""Random reads from a data set of latents, beside other ways to keep the same latents.

    pip install webdataset
    python tools/benchmarks/benchmark_reads.py latents/ --out reads.json

Beside it: a folder with one .safetensors file per item, and tar files as `webdataset` makes and
reads them, with one .npy file per level and item. A tar has no random access: its items come in
their order, through a shuffle buffer, and all bytes are read whatever levels are wanted.

All is read in one process from the page cache, in the dtypes of the data set, and becomes float32
tensors. Bytes are those that the process asks the system for (Linux).
"""

from __future__ import annotations

import argparse
import io
import json
import math
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from stlatent.cli.outcome import command
from stlatent.files import replace_text
from stlatent.store.reader import LatentStore
from stlatent.store.tensors import DTYPES

PER_TAR = 1000  # items


def bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


def rate(step: Callable[[], object], seconds: float) -> float:
    """Calls per second."""
    step()
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        step()
        count += 1
    return count / (time.perf_counter() - began)


def ours(path: str, levels: int, seconds: float) -> dict[str, float]:
    store, chance = LatentStore(path), random.Random(0)  # anew: it reads the headers of files once
    names = list(store.items)
    size = sum(
        DTYPES[level.dtype].itemsize * level.channels * math.prod(grid)
        for item in store.items.values()
        for level, grid in zip(store.header.levels[:levels], item.grids)
    )
    before = bytes_read()
    for name in names:
        store.read(name, levels)
    count = bytes_read() - before
    per_second = rate(lambda: store.read(chance.choice(names), levels), seconds)
    return {"per_second": per_second, "bytes_over_those_of_the_levels": count / size}


def write_files(store: LatentStore, folder: Path) -> list[Path]:
    """A .safetensors file per item."""
    files = []
    for i, name in enumerate(store.items):
        files.append(folder / f"{i:06d}.safetensors")
        save_file({f"level_{k}": z for k, z in enumerate(stored(store, name))}, files[-1])
    return files


def stored(store: LatentStore, name: str) -> Iterator[torch.Tensor]:
    """In the dtypes of the data set, but float16 for int8."""
    for level, z in zip(store.header.levels, store.read(name).levels, strict=True):
        dtype = torch.float16 if level.dtype == "int8" else DTYPES[level.dtype]
        yield z[0].to(dtype).contiguous()


def from_file(path: Path, levels: int) -> list[torch.Tensor]:
    with safe_open(path, "pt") as file:
        return [file.get_tensor(f"level_{k}").float() for k in range(levels)]


def write_tars(store: LatentStore, folder: Path) -> list[str]:
    """Tar files of `PER_TAR` items each; numpy has no bfloat16, which becomes float32."""
    import webdataset

    names = list(store.items)
    tars = [str(folder / f"{i:04d}.tar") for i in range(-(-len(names) // PER_TAR))]
    for i, tar in enumerate(tars):
        with webdataset.TarWriter(tar) as writer:
            for j, name in enumerate(names[i * PER_TAR : (i + 1) * PER_TAR]):
                sample: dict[str, object] = {"__key__": f"{i * PER_TAR + j:06d}"}
                for k, z in enumerate(stored(store, name)):
                    z, buffer = z.float() if z.dtype == torch.bfloat16 else z, io.BytesIO()
                    np.save(buffer, z.numpy(), allow_pickle=False)
                    sample[f"level_{k}.npy"] = buffer.getvalue()
                writer.write(sample)
    return tars


def from_tars(tars: list[str], levels: int) -> Iterator[list[torch.Tensor]]:
    """Without an end."""
    import webdataset

    def decoded(sample: dict[str, bytes]) -> list[torch.Tensor]:
        contents = (io.BytesIO(sample[f"level_{k}.npy"]) for k in range(levels))
        return [torch.from_numpy(np.load(c, allow_pickle=False)).float() for c in contents]

    yield from webdataset.WebDataset(tars, shardshuffle=100).shuffle(PER_TAR).repeat().map(decoded)


@command("benchmark_reads")
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("latents", help="a data set made by `stlatent encode`")
    parser.add_argument("--seconds", type=float, default=3.0, help="per figure (3)")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args(arguments)
    store = LatentStore(options.latents)
    torch.set_num_threads(1)
    figures: dict[str, object] = {"items": len(store.items)}
    with tempfile.TemporaryDirectory() as folder:
        files, tars = write_files(store, Path(folder)), write_tars(store, Path(folder))
        for levels in (1, len(store.header.levels)):
            chance, stream = random.Random(0), from_tars(tars, levels)
            list(islice(stream, len(store.items)))  # fills the buffer
            figures["level_0" if levels == 1 else "all_levels"] = {
                "stlatent": ours(options.latents, levels, options.seconds),
                "safetensors_files_per_second": rate(
                    lambda n=levels, c=chance: from_file(c.choice(files), n), options.seconds
                ),
                "webdataset_per_second": rate(lambda s=stream: next(s), options.seconds),
            }
    text = json.dumps(figures, indent=1)
    print(text)
    if options.out:
        replace_text(options.out, text)


if __name__ == "__main__":
    raise SystemExit(main())
