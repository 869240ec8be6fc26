"""The README's code runs and prints what it says; its commands exist; its model is as described."""

import contextlib
import io
import itertools
import json
import math
import re
import shlex
from pathlib import Path

import torch

import stlatent
from stlatent.cli.verbs import parser
from stlatent.evaluate import prefix_quality
from stlatent.geometry import FieldSettings, field_from_surface, read_surface, volume_iou
from stlatent.geometry.values import Values
from stlatent.media.video.clips import centre_clip
from stlatent.shipped import shipped_models

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


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


def test_commands_exist():
    commands = [
        line
        for block in blocks("bash")
        for line in block.splitlines()
        if line.startswith("stlatent")
    ]
    words = [shlex.split(line, comments=True) for line in commands]
    assert {line[1] for line in words} == {
        "train", "encode", "decode", "inspect", "sample", "generate"
    }  # fmt: skip
    for line in words:
        parser().parse_args(line[1:])


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
