"""A data set whose files say anything at all: it is decoded, or refused in one line.

Each example runs in a process of its own that may take little memory and time.
"""

from __future__ import annotations

import contextlib
import copy
import json
import multiprocessing
import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from domains import ladder
from hypothesis import given, settings
from hypothesis import strategies as st
from test_codec import EXACT, write_video

import stlatent
from stlatent.cli import main
from stlatent.jobs.encode import encode_folder

MEMORY = 700 * 2**20  # more than the parent has; decoding what is sound takes a fraction of it
SECONDS = 60
EXAMPLES = 60

DEEP = object()  # stands for brackets that nest deeply
GONE = object()  # stands for nothing: the entry is left out
HOSTILE = [GONE, DEEP, None, True, -1, 0, 1, 3, 2**31, 10**9, 10**18, 10**30, 0.5, 1e300]
HOSTILE += [float("inf"), float("nan"), "", "x", "../x", "/etc/x", "a\0b", "__metadata__", "video"]
HOSTILE += ["int8", "bits", "voxel", [], [0], [-1, 2], [1] * 9, [9, 100000, 100000], {}, {"a": 1}]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and what it made of two small clips: as numbers, as int8, and as bits."""
    root, model = tmp_path_factory.mktemp("sound"), ladder("video")
    stlatent.save(model, root / "model.safetensors")
    write_video(root / "in" / "a.mp4", (3, 16, 16))
    write_video(root / "in" / "b.mp4", (1, 16, 16))
    kinds = {"float32": EXACT, "int8": EXACT.model_copy(update={"dtype": ("int8",), "std": True})}
    with contextlib.suppress(ImportError):
        import constriction  # noqa: F401

        kinds["bits"] = EXACT.model_copy(update={"dtype": ("float16",), "entropy_code": True})
    for kind, options in kinds.items():
        encode_folder(model, root / "in", root / kind, str(root / "model.safetensors"), options)
    return root


def parts(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container of a JSON value and every key in it."""
    for key in value if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from parts(value[key])


def mutated(values: Any, where: int, new: Any) -> bytes:
    """One entry, however deep, is another."""
    values = copy.deepcopy(values)
    places = list(parts(values))
    container, key = places[where % len(places)]
    if new is GONE:
        del container[key]
        return json.dumps(values).encode()
    container[key] = "DEEP" if new is DEEP else new
    return json.dumps(values).replace('"DEEP"', "[" * 100_000 + "]" * 100_000).encode()


def change_header(file: Path, where: int, new: Any) -> None:
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = mutated(json.loads(content[8 : 8 + length]), where, new)
    file.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + length :])


def change_bytes(file: Path, where: int, new: Any) -> None:
    """Flips a bit, or cuts the file off."""
    content = bytearray(file.read_bytes())
    where %= 8 * len(content)
    if new is GONE:
        content = content[: where // 8]
    else:
        content[where // 8] ^= 1 << where % 8
    file.write_bytes(content)


def change_json(file: Path, where: int, new: Any) -> None:
    file.write_bytes(mutated(json.loads(file.read_bytes()), where, new))


def decoded(latents: Path, out: Path, said: Path) -> int | None:
    """The exit code of decoding in a small process; None where it had to be killed."""

    def run() -> None:
        with open("/proc/self/statm") as file:
            there = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (there + MEMORY,) * 2)
        with open(said, "w") as file, contextlib.redirect_stderr(file):
            os.dup2(file.fileno(), 2)
            with contextlib.redirect_stdout(file):
                code = 1
                with contextlib.suppress(BaseException):
                    code = main(["decode", str(latents), "--out", str(out), "--format", "npy"])
                file.flush()
        os._exit(code)

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(SECONDS)
    if process.exitcode is None:
        process.kill()
        process.join()
        return None
    return process.exitcode


FILES = [
    ("manifest.json", change_json),
    ("units/00000.json", change_json),
    ("level_0/00000.safetensors", change_header),
    ("level_2/00000.safetensors", change_header),
    ("manifest.json", change_bytes),
    ("units/00000.json", change_bytes),
    ("level_1/00000.safetensors", change_bytes),
]


@settings(max_examples=EXAMPLES, derandomize=True, deadline=None, database=None)
@given(
    kind=st.sampled_from(["float32", "int8", "bits"]),
    target=st.sampled_from(FILES),
    where=st.integers(0, 2**20),
    new=st.sampled_from(HOSTILE),
)
def test_whatever_a_data_set_says(sound, tmp_path_factory, kind, target, where, new):
    if not (sound / kind).exists():
        pytest.skip("bits need constriction")
    home = tmp_path_factory.mktemp("home")
    latents, out, said = home / "a" / "b" / "latents", home / "a" / "b" / "out", home / "said"
    shutil.copytree(sound / kind, latents)
    name, change = target
    change(latents / name, where, new)
    before = {path for path in home.rglob("*")}
    code, lines = decoded(latents, out, said), said.read_text().splitlines()
    made = {path for path in home.rglob("*")} - before - {said}
    assert all(path == out or path.is_relative_to(out) for path in made)
    assert code in (0, 2), (code, lines)
    if code == 2:
        assert len(lines) == 1 and "error" in lines[0] and len(lines[0]) < 2000, lines
    shutil.rmtree(home)
