"""Documents whose commands and code are run: the README and every page of `docs/`.

A block of ```bash or ```python is run, in the order of its page, in a folder that holds what such
pages speak of: `VIDEOS`, `PICTURES`, `MESHES`, `SOUNDS`, `SCANS`, `FOUNDATION`, `clip.mp4`, ….
Other blocks (```text) are to be read. A line `<!-- long: why -->` before a block puts it off to
`pytest -m long tests/test_docs.py`; `<!-- needs X -->` says what else it needs.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import torch
import trimesh
from PIL import Image
from scipy.io import wavfile
from test_codec import write_video

from stlatent.cli import main

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"(?:^<!-- (.*?) -->\n)?^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)

# What makes each command take seconds, by the words that it begins with.
SMALL_FIELDS = "steps=1 data.variants=1 data.batch_size=1 data.workers=0 data.fields.resolution=32 "
TINY = {
    "train video/": "steps=1 data.frames=9 data.crop=64 data.batch_size=1 data.workers=0",
    "train image/on_foundation": "steps=1 data.crop=64 data.batch_size=1 data.workers=0",
    "train shape/": SMALL_FIELDS + "data.cache=fields",
    "train audio/": "steps=1 data.batch_size=1 data.workers=0",
    "train volumes/": "steps=1 data.batch_size=1 data.workers=0",
    "train diffusion/coarse": "steps=3 data.batch_size=4 data.workers=0 "
    "diffusion.stages.0.width=32 diffusion.stages.0.depth=1",
    "inspect voxel": "--count 1",
    "inspect": "--frames 9 --size 64 --count 2",
    "generate runs/diffusion": "--steps 2 -n 2",
    "generate assets": "--steps 2 -n 2",
}


@dataclass(frozen=True)
class Block:
    """Of a document.

    Attributes:
        note: of the comment before it, such as `long: traces four graphs`.
        language: `bash` or `python`, where it is run.
    """

    note: str
    language: str
    text: str


def blocks(text: str, *languages: str) -> list[Block]:
    """The blocks of a document in these languages, in their order."""
    found = [Block(note or "", language, body) for note, language, body in FENCE.findall(text)]
    return [block for block in found if block.language in languages]


def lines(block: Block) -> list[str]:
    """The commands of a block, those over several lines joined."""
    joined = re.sub(r"\\\n\s*", "", block.text)
    return [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]


def split(line: str) -> list[str]:
    """The words of a command, as a shell has them: a comment begins after a space."""
    return shlex.split(re.sub(r"\s#.*", "", line))


def commands(text: str) -> list[list[str]]:
    """The words of every `stlatent ...` of a document, in order."""
    words = (split(line) for b in blocks(text, "bash") for line in lines(b))
    return [line for line in words if line[:1] == ["stlatent"]]


def run_document(text: str, long: bool = False) -> dict[str, object]:
    """Run the blocks of a document in this folder: the fast ones, or all. The names that its code
    has left behind."""
    names: dict[str, object] = {}
    for block in blocks(text, "bash", "python"):
        if not long and block.note.startswith("long"):
            continue
        if missing := [module for module in re.findall(r"needs (\w+)", block.note)
                       if importlib.util.find_spec(module) is None]:  # fmt: skip
            print(f"left out, as {missing[0]} is missing: {block.text}")
            continue
        if block.language == "python":
            run_code(block.text, names)
        else:
            for line in lines(block):
                run_line(line)
    return names


def run_code(code: str, names: dict[str, object]) -> None:
    """Its lines of comment alone are what it prints, in order; `...` at an end is anything."""
    printed = io.StringIO()
    with torch.inference_mode(), contextlib.redirect_stdout(printed):
        exec(compile(code, "a page", "exec"), names)
    promised, found = re.findall(r"^# (.*)$", code, re.MULTILINE), printed.getvalue().splitlines()
    assert len(promised) == len(found), f"promised {promised}, printed {found}"
    for said, line in zip(promised, found, strict=True):
        assert line.startswith(said.removesuffix(" ...")), f"promised: {said}; printed: {line}"


def run_line(line: str) -> None:
    """One command, word for word but for what `TINY` adds."""
    words = split(line)
    if words[0] == "stlatent":
        assert main([*words[1:], *smaller(words[1:])]) == 0, line
    elif words[:2] == ["pip", "install"]:
        check_installs(words[2:], line)
    elif words[0] in ("torchrun", "accelerate"):
        module = "torch.distributed.run" if words[0] == "torchrun" else "accelerate.commands.launch"
        rest = words[1:] if words[0] == "torchrun" else words[2:]
        verb = rest[rest.index("stlatent") + 1 :]
        command = [sys.executable, "-m", module, *rest, *smaller(verb)]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True)
        assert done.returncode == 0, f"{line}: {done.stderr[-2000:]}"
    else:
        assert words[0] in ("bash", "python"), f"nothing here knows how to run: {line}"
        assert (ROOT / words[1]).is_file(), line


def smaller(words: list[str]) -> list[str]:
    given = " ".join(words)
    return next((more for start, more in TINY.items() if given.startswith(start)), "").split()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}


def check_installs(words: list[str], line: str) -> None:
    """Extras that a document speaks of exist."""
    known = (ROOT / "pyproject.toml").read_text().partition("[project.optional-dependencies]")[2]
    for word in words:
        if found := re.search(r"\[(.+)\]", word):
            for name in found[1].split(","):
                assert re.search(rf"^{name} = \[", known, re.MULTILINE), line


def folder(root: Path) -> None:
    """What documents speak of."""
    (root / "assets").symlink_to(ROOT / "assets")
    videos(root / "VIDEOS")
    write_video(root / "clip.mp4", (40, 144, 160))
    pictures(root / "PICTURES")
    (root / "MESHES").symlink_to(ROOT / "assets" / "meshes")
    drill = trimesh.load(ROOT / "assets" / "meshes" / "power_drill.ply")
    for name in ("mesh.glb", "A.glb", "B.glb"):
        drill.export(root / name)
    (root / "SOUNDS").mkdir()
    wave = (np.sin(np.arange(48_000) / 20) * 20_000).astype(np.int16)
    for path in (root / "SOUNDS" / "a.wav", root / "SOUNDS" / "b.wav", root / "sound.wav"):
        wavfile.write(path, 16_000, wave)
    scans(root / "SCANS")
    foundation(root / "FOUNDATION" / "vae")


def videos(root: Path) -> None:
    """An ordinary folder: videos of several sizes and lengths, one shorter than most, pictures."""
    for k, size in enumerate([(49, 64, 96), (34, 96, 64), (20, 64, 64), (5, 64, 96)]):
        write_video(root / f"{k}.mp4", size)
    for name, size in {"wide.png": (200, 128), "tall.jpg": (50, 70)}.items():
        Image.linear_gradient("L").resize(size).convert("RGB").save(root / name)


def pictures(root: Path) -> None:
    """Two small ones, of noise."""
    root.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (72, 96, 3), np.uint8)
    for name in ("a.png", "b.png"):
        Image.fromarray(noise).save(root / name)


def scans(root: Path) -> None:
    """Two balls of unlike density, as NIfTI files."""
    root.mkdir()
    x = np.stack(np.meshgrid(*[np.arange(40)] * 3, indexing="ij"))
    for name, radius in (("a.nii.gz", 12), ("b.nii.gz", 17)):
        values = 100.0 * (np.linalg.norm(x - 20, axis=0) < radius) + x[0]
        nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), np.eye(4)), root / name)


def foundation(root: Path) -> None:
    """A small autoencoder of diffusers with random weights."""
    from diffusers import AutoencoderTiny

    channels, counts = 4 * (8,), (1, 1, 1, 1)
    AutoencoderTiny(
        encoder_block_out_channels=channels,
        decoder_block_out_channels=channels,
        num_encoder_blocks=counts,
        num_decoder_blocks=counts,
    ).save_pretrained(root)


def pages() -> Iterator[Path]:
    """Those of the documentation that are written by hand."""
    yield from sorted((ROOT / "docs").rglob("*.md"))


def browser() -> str | None:
    """A Chromium, if there is one here."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for name in names if (path := shutil.which(name))), None)
