"""The README's code runs and prints what it says; its commands exist; its model is as described."""

import contextlib
import io
import itertools
import json
import math
import re
import shlex
from pathlib import Path

import pytest
import torch
import trimesh
from PIL import Image
from test_codec import write_video

import stlatent
from stlatent.checkpoint import about
from stlatent.cli import main
from stlatent.cli.verbs import parser
from stlatent.evaluate import prefix_quality
from stlatent.evaluate.latents import ABOUT
from stlatent.geometry import FieldSettings, field_from_surface, read_surface, volume_iou
from stlatent.geometry.values import Values
from stlatent.media.video.clips import centre_clip
from stlatent.shipped import shipped_models

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_code_runs_and_prints_what_stands_below_it(tmp_path, monkeypatch):
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for code in blocks("python"):
        printed = io.StringIO()
        with torch.inference_mode(), contextlib.redirect_stdout(printed):
            exec(compile(code, "README.md", "exec"), names)
        promised = re.findall(r"^# (.*)$", code, re.MULTILINE)
        assert len(promised) == len(printed.getvalue().splitlines())
        for said, line in zip(promised, printed.getvalue().splitlines(), strict=True):
            assert line.startswith(said.removesuffix(" ...")), f"README: {said}; printed: {line}"
    whole = names["model"].encode(names["x"]).levels
    for level, parts in enumerate(zip(*names["pieces"], strict=True)):
        assert (torch.cat(parts, 2) - whole[level]).abs().max() < 1e-3


def commands(text: str = README) -> list[list[str]]:
    """The words of every `stlatent ...` that stands there, in order."""
    lines = (line for block in blocks("bash", text) for line in block.splitlines())
    return [shlex.split(line, comments=True) for line in lines if line.startswith("stlatent")]


def test_commands_exist():
    words = commands()
    assert {line[1] for line in words} == {
        "train", "encode", "decode", "inspect", "sample", "generate"
    }  # fmt: skip
    for line in words:
        parser().parse_args(line[1:])


# What makes each of them take seconds, by the words that it begins with.
TINY = {
    "train video/base": "steps=1 data.frames=9 data.crop=64 data.batch=1 data.workers=0",
    "train shape/voxel": "steps=1 data.variants=1 data.batch=1 data.workers=0 "
    "data.fields.resolution=32 data.cache=fields",
    "train diffusion/coarse": "steps=3 data.batch=4 data.workers=0 diffusion.stages.0.width=32 "
    "diffusion.stages.0.depth=1",
    "inspect runs/mine": "--frames 9 --size 64 --clips 2",
    "generate runs/diffusion": "--steps 2 -n 2",
}


def videos(root: Path) -> None:
    """An ordinary folder: videos of several sizes and lengths, one shorter than most, pictures."""
    for k, size in enumerate([(49, 64, 96), (34, 96, 64), (20, 64, 64), (5, 64, 96)]):
        write_video(root / f"{k}.mp4", size)
    for name, size in {"wide.png": (200, 128), "tall.jpg": (50, 70)}.items():
        Image.linear_gradient("L").resize(size).convert("RGB").save(root / name)


def run_block(heading: str) -> None:
    """Run the first commands below a heading, word for word but for what `TINY` adds."""
    for words in commands(README.partition(f"{heading}\n")[2].partition("```\n\n")[0] + "```"):
        line = " ".join(words[1:])
        tiny = next((more for start, more in TINY.items() if line.startswith(start)), "")
        assert main([*words[1:], *tiny.split()]) == 0, line


def test_commands_run_on_an_ordinary_folder_of_videos(tmp_path, monkeypatch):
    videos(tmp_path / "VIDEOS")
    write_video(tmp_path / "clip.mp4", (40, 144, 160))
    monkeypatch.chdir(tmp_path)
    run_block("## What one does with it")
    names = [{p.stem for p in Path(folder).iterdir()} for folder in ("previews", "VIDEOS")]
    assert names[0] == names[1]
    assert len(list(Path("samples").iterdir())) == 8 and Path("report/index.html").is_file()
    assert ABOUT in about("runs/mine")  # exported without data
    run_block("### Latent diffusion")
    assert {p.name for p in Path("videos").iterdir()} >= {"0000.mp4", "0001.mp4", "sheet.png"}


def test_commands_run_on_a_folder_of_meshes(tmp_path, monkeypatch):
    pytest.importorskip("igl")
    (tmp_path / "MESHES").symlink_to(ROOT / "assets" / "meshes")
    trimesh.load(ROOT / "assets" / "meshes" / "power_drill.ply").export(tmp_path / "mesh.glb")
    monkeypatch.chdir(tmp_path)
    run_block("### Shapes")
    assert {p.name for p in Path("meshes").iterdir()} == {"featuretype.glb", "power_drill.glb"}


def test_the_map_of_the_house_is_true():
    """CONTRIBUTING.md: every folder has its paragraph, and what it names is there."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    folders = {f"stlatent/{f.parent.name}/" for f in (ROOT / "stlatent").glob("*/__init__.py")}
    assert folders == {name for name in re.findall(r"^\*\*`(stlatent/\w+/)`", text, re.MULTILINE)}
    for path in re.findall(r"`((?:stlatent|tools|configs)/[\w/.]*)`", text):
        assert (ROOT / path).exists() or "NAME" in path, path
    for paragraph in re.findall(r"^\*\*`(stlatent/\w+/)`(.*)$", text, re.MULTILINE):
        for name in re.findall(r"`(\w+\.(?:py|html))`", paragraph[1]):
            assert (ROOT / paragraph[0] / name).is_file(), name


def test_scripts_exist():
    for script in re.findall(r"(?:bash|python) (tools/[\w/]+\.\w+)", README):
        assert (ROOT / script).is_file(), script


@torch.inference_mode()
def test_shipped_video_model_is_as_described():
    file = shipped_models()["video"]
    assert file.stat().st_size <= 12 * 2**20
    figures = json.loads((file.parent / "figures.json").read_text())
    model = stlatent.load("video")
    assert figures["parameters"] == sum(p.numel() for p in model.parameters())
    recorded = figures["prefixes"]
    assert recorded[0]["values_per_number"] >= 1500 and recorded[-1]["values_per_number"] >= 48
    x, _ = centre_clip(ROOT / "assets" / "clips" / "wolf.mp4", (17, 256, 256))
    found = prefix_quality(model, [x])
    quality = [prefix.psnr_db for prefix in found]
    assert all(fine > coarse + 1.5 for coarse, fine in itertools.pairwise(quality))
    assert quality[0] > 18 and quality[-1] > 26
    assert found[-1].values_per_number >= 48


@torch.inference_mode()
def test_shipped_voxel_model_is_as_described():
    file = shipped_models()["voxel"]
    assert file.stat().st_size <= 12 * 2**20
    figures, model = json.loads((file.parent / "figures.json").read_text()), stlatent.load("voxel")
    assert figures["parameters"] == sum(p.numel() for p in model.parameters())
    numbers = [math.prod(shape) for shape in model.latent_shape((64, 64, 64))]
    assert numbers[0] <= 128 and sum(numbers) <= 4096
    field = field_from_surface(
        read_surface(ROOT / "assets" / "meshes" / "power_drill.ply"), FieldSettings(resolution=64)
    )
    values = Values.of(model.config)
    latents = model.encode(values.from_field(field)[None])
    decoded = [values.to_field(model.decode(latents, k + 1)[0], 4.0) for k in range(3)]
    found = [volume_iou(field.distance, shape.distance) for shape in decoded]
    assert found[0] > 0.6 and found[0] < found[1] < found[2] and found[2] > 0.9
