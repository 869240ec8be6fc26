"""The studies in tools/, from the command line to their table and picture, on very little."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import on_foundation
import pytest
import torch
from deep_stack import diverges_at, worst
from diffusion_chairs import scores
from diffusion_clips import frechet_distance
from domains import config
from PIL import Image

from stlatent import Ladder, checkpoint

TOOLS = Path(__file__).parents[1] / "tools" / "studies"


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive laid out as MNIST: bars whose direction is their class."""
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 2, 400).astype(np.uint8)
    images = np.zeros((400, 28, 28), np.uint8)
    for image, kind in zip(images, classes, strict=True):
        at = rng.integers(8, 18)
        image[(slice(6, 22), slice(at, at + 3))[:: 1 if kind else -1]] = 255
    path = tmp_path_factory.mktemp("mnist") / "mnist.npz"
    np.savez(
        path, x_train=images[:300], y_train=classes[:300], x_test=images[300:], y_test=classes[300:]
    )
    return path


def study(script: str, out: Path, *arguments: object) -> dict:
    """Run a script and return its report."""
    command = [sys.executable, TOOLS / script, *arguments, "--out", out]
    code = "import runpy, sys, torch; torch.set_num_threads(1); sys.argv = sys.argv[1:]; "
    code += "sys.path.insert(0, str(__import__('pathlib').Path(sys.argv[0]).parent)); "
    code += "runpy.run_path(sys.argv[0], run_name='__main__')"
    subprocess.run([sys.executable, "-c", code, *map(str, command[1:])], check=True, timeout=600)
    return json.loads((out / "report.json").read_text())


def test_mnist_ladder(digits: Path, tmp_path: Path):
    few = ["--minutes", 0.02, "--batch-size", 16, "--few", 2, "--draws", 3, "--digits", 20]
    report = study("mnist_ladder.py", tmp_path, digits, *few, "--models", "naive", "residual")
    assert report["residual"]["units"] == [4, 8, 16, 32, 64]
    for row in report.values():
        rough, more = row["few_draws"], row["many_draws"]
        assert (rough["digits"], more["digits"]) == (100, 20)
        assert rough["nats"] >= row["elbo_nats"] - 1e-6
        assert row["log_likelihood_nats"] == pytest.approx(rough["nats"] + more["add"])
        assert sum(row["active_units"]) <= 124 and len(row["kl_nats"]) == 5
    again = study("mnist_ladder.py", tmp_path, digits, *few, "--models", "naive", "flat")
    assert again["naive"] == report["naive"] and "flat" in again
    assert Image.open(tmp_path / "samples.png").size[0] > 400


def test_mnist_two_level(digits: Path, tmp_path: Path):
    few = ["--minutes", 0.03, "--digits", 20, "--draws", 2]
    report = study("mnist_two_level.py", tmp_path, digits, *few)
    assert report["two levels"]["latents"] == report["flat"]["latents"] == 114
    assert 0 <= report["two levels"]["top_held_keeps_class"] <= 1
    assert report["ink_sharpness"] == 1
    assert (tmp_path / "held_and_redrawn.png").stat().st_size > 1000


def test_deep_stack(tmp_path: Path):
    torch.manual_seed(0)
    (tmp_path / "photos").mkdir()
    for i in range(2):
        pixels = np.random.default_rng(i).integers(0, 255, (96, 96, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{i}.png")
    few = ["--steps", 2, "--batch-size", 2, "--crops", 8, "--variants", "all on", "nothing"]
    report = study("deep_stack.py", tmp_path / "out", tmp_path / "photos", *few)
    assert [len(row["losses"]) for row in report.values()] == [2, 2]
    assert report["all on"]["not_finite"] == 0
    assert (tmp_path / "out" / "losses.png").stat().st_size > 1000


def test_where_a_loss_diverges():
    fine = [5.0] * 300
    assert diverges_at(fine) is None
    assert diverges_at(fine + [None] * 3 + fine) is None  # came back
    assert diverges_at(fine + [1e9] * 200) == 300
    assert diverges_at(fine + [None] * 150) == 300
    assert diverges_at(fine + [None] * 60 + [5.0] + [1e9] * 60) == 300  # once is not back
    assert worst([9.0] * 100 + [1.0] * 50 + [3.0, None] * 25 + [1.0] * 100) == 5 / 3
    assert worst([9.0] * 100 + [None] * 100) is None


def test_fine_lesions(tmp_path: Path):
    few = ["--minutes", 0.02, "--retinas", 8, "--test", 3, "--batch-size", 2]
    report = study("fine_lesions.py", tmp_path, *few)
    models = [row for row in report.values() if isinstance(row, dict) and "latents" in row]
    assert len(models) == 5 and {row["latents"] for row in models} == {1024}
    assert report["detector"]["recall"] > 0.9
    assert (tmp_path / "lesions.png").stat().st_size > 1000


def test_diffusion_of_clips(tmp_path: Path):
    few = ["--clips", 24, "--samples", 6, "--batch-size", 8, "--steps", 1, 2, "--save-every", 50]
    short = ["--ladder-minutes", 0.02, "--classifier-minutes", 0.02, "--minutes", 0.02]
    report = study("study_diffusion.py", tmp_path, "clips", *few, *short)
    assert {"ladder alone", "level 0 held, rest drawn", "other real clips"} <= set(report)
    for steps in (1, 2):
        packed, coarse = (
            report[f"packed, {steps} steps"],
            report[f"level 0, {steps} steps, rest drawn"],
        )
        assert packed["evaluations"] == coarse["evaluations"] == steps
        assert packed["network_ms"] > 0 and "motion_accuracy" in coarse
    before = (tmp_path / "report.json").stat().st_mtime_ns
    study("study_diffusion.py", tmp_path, "clips", *few, *short)
    assert (tmp_path / "report.json").stat().st_mtime_ns == before  # nothing was measured again
    assert "Packed is best at" in (tmp_path / "report.md").read_text()
    assert Image.open(tmp_path / "samples.png").size == (6 * 4 * 32 * 2, 6 * (32 + 2) * 2)


def test_diffusion_of_chairs(tmp_path: Path):
    grid = np.stack(np.meshgrid(*[np.arange(32)] * 3, indexing="ij"))
    boxes = [(abs(grid - 16).max(0) < side).ravel() for side in range(4, 12)] * 2
    np.savez(tmp_path / "boxes.npz", occupancy=np.packbits(boxes, axis=1), count=len(boxes))
    few = ["--held-out", 4, "--copies", 1, "--batch-size", 4, "--steps", 1, "--ways", "level 0"]
    short = ["--ladder-minutes", 0.02, "--minutes", 0.02, "--save-every", 50]
    data = ["--data", tmp_path / "boxes.npz"]
    report = study("study_diffusion.py", tmp_path / "out", "chairs", *data, *few, *short)
    assert report["level 0, 1 steps, rest by mean"]["evaluations"] == 1
    rows = (tmp_path / "out" / "report.md").read_text().splitlines()
    assert sum(line.startswith("| level 0, 1 steps") for line in rows) == 2  # drawn, by mean


def test_measures_of_sets():
    normal = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0))
    assert frechet_distance(normal, normal) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(normal, normal + torch.tensor([3.0, 4, 0])) == pytest.approx(25)
    wide = frechet_distance(normal, 2 * normal)  # (2 - 1)^2 per direction, and the mean's square
    by_hand = normal.double().var(0).sum() + normal.double().mean(0).square().sum()
    assert wide == pytest.approx(float(by_hand), rel=0.01)
    shapes = -torch.ones(6, 1, 32, 32, 32)
    for k in range(6):
        shapes[k, :, 4 : 8 + 3 * k, 4:20, 4:20] = 1
    same, apart = scores(shapes, shapes), scores(shapes[:3], shapes[3:])
    assert (same.coverage, same.mmd) == (1, 0)
    assert apart.mmd > 0 and scores(shapes[:1].repeat(6, 1, 1, 1, 1), shapes).coverage < 0.2


def test_on_foundation_shows_what_runs_hold(tmp_path, monkeypatch, capsys):
    """Of each photo a row per run, and of the first run one per temperature."""
    checkpoint.save(Ladder(config("image", exact=True)), tmp_path / "model.safetensors")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "photo.png")
    runs, data = 2 * [str(tmp_path / "model.safetensors")], ["--data", str(tmp_path / "photo.png")]
    out = ["--out", str(tmp_path / "out"), "--size", "64", "--temperatures", "1"]
    monkeypatch.setattr(sys, "argv", ["on_foundation.py", "show", *runs, *data, *out])
    assert on_foundation.main() == 0
    assert "what comes back differs by" in capsys.readouterr().out
    assert Image.open(tmp_path / "out" / "prefixes.png").size == (64 * (1 + 3 + 1), 64 * 3)
