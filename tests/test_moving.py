"""Clips of things that move: rendered by seed, as the data of a model that ships."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import render_moving
import study_moving
import torch
from ship_pipeline import decoding_as

import stlatent
from stlatent import LadderPipeline
from stlatent.cli import main
from stlatent.diffusion.loss import surprise
from stlatent.geometry.read import read_surface
from stlatent.media.video.files import find_sources
from stlatent.shipped import shipped_pipelines
from stlatent.store.labels import folder_classes

ROOT = Path(__file__).parents[1]
DRILL = ROOT / "assets" / "meshes" / "power_drill.ply"


@pytest.fixture(scope="module")
def clips() -> dict[str, np.ndarray]:
    """One of each motion, of a coloured model."""
    surface = read_surface(DRILL)
    return {
        motion: render_moving.render(surface, motion, np.random.default_rng(3), frames=9, size=32)
        for motion in render_moving.MOTIONS
    }


def moved(clip: np.ndarray) -> np.ndarray:
    """Mean change of a pixel from each frame to the next."""
    return np.abs(np.diff(clip.astype(float), axis=0)).mean((1, 2, 3))


@pytest.mark.parametrize("motion", render_moving.MOTIONS)
def test_a_clip_of_each_motion(motion, clips):
    clip = clips[motion]
    assert clip.shape == (9, 32, 32, 3) and clip.dtype == np.uint8
    if motion == "drop":  # it comes to rest
        assert moved(clip)[1:3].min() > 3 * moved(clip)[-1]
    else:
        assert moved(clip).min() > 0.5
    again = render_moving.render(read_surface(DRILL), motion, np.random.default_rng(3), 9, 32)
    assert np.array_equal(clip, again)
    other = render_moving.render(read_surface(DRILL), motion, np.random.default_rng(4), 9, 32)
    assert not np.array_equal(clip, other)


def test_classes_are_folders(tmp_path, monkeypatch):
    """And what is there already is not made again."""
    monkeypatch.setattr(render_moving, "OBJECTS", {"drill": DRILL.name, "saw": DRILL.name})
    arguments = [str(DRILL.parent), "--out", str(tmp_path), "--frames=3", "--size=16"]
    assert render_moving.main([*arguments, "--clips=1"]) == 0
    first = {f: f.read_bytes() for f in tmp_path.rglob("*.mp4")}
    assert render_moving.main([*arguments, "--clips=2"]) == 0
    names = [source.name for source in find_sources(tmp_path)]
    assert len(names) == 2 * len(first) == 16
    assert all(f.read_bytes() == held for f, held in first.items())
    _, classes = folder_classes(names)
    assert classes == sorted(f"{m}-{o}" for m in render_moving.MOTIONS for o in ("drill", "saw"))


def test_a_tool_that_goes_on_says_so_when_interrupted(tmp_path, monkeypatch, capsys):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(render_moving, "read_surface", interrupt)
    assert render_moving.main([str(DRILL.parent), "--out", str(tmp_path)]) == 130
    assert capsys.readouterr().err.endswith("; the same command goes on from there\n")


def test_a_missing_model_is_named(tmp_path, capsys):
    assert render_moving.main([str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "barrel_large.glb" in capsys.readouterr().err


# the model that ships ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped() -> LadderPipeline:
    pipeline = LadderPipeline.from_pretrained("moving")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_it_is_small_and_knows_its_classes(shipped):
    weights = shipped_pipelines()["moving"].rglob("*.safetensors")
    assert sum(file.stat().st_size for file in weights) <= 12 * 2**20
    pairs = {f"{m}-{o}" for m in render_moving.MOTIONS for o in render_moving.OBJECTS}
    assert set(shipped.denoiser.condition.names) == pairs
    assert shipped.denoiser.dtype == shipped.vae.dtype == torch.float32


def test_what_ships_names_no_folder_of_the_machine_that_made_it():
    for folder in shipped_pipelines().values():
        for file in folder.rglob("*.json"):
            assert "_name_or_path" not in json.loads(file.read_text()), file


def test_a_seed_and_a_class_say_what_is_drawn(shipped):
    def draw(name: str, seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return shipped(name, num_inference_steps=2, generator=generator, output_type="pt").frames

    tree = draw("slide-tree", 0)
    assert tree.shape == (1, 3, 17, 64, 64)
    assert torch.equal(tree, draw("slide-tree", 0))
    assert not torch.equal(tree, draw("slide-tree", 1))
    pumpkin = draw("slide-pumpkin", 0)
    green, orange = (x[0, 1].mean() - x[0, 0].mean() for x in (tree, pumpkin))
    assert green > orange  # what was asked for comes out


def test_what_was_drawn_surprises_less_than_noise_of_its_deviation():
    pipeline = LadderPipeline.from_pretrained("moving")
    pipeline.set_progress_bar_config(disable=True)
    asked = pipeline.denoiser.condition.numbers(["drop-barrel", "turn-wizard"])
    noise = torch.Generator().manual_seed(0)
    drawn = pipeline(asked, num_inference_steps=6, generator=noise, output_type="latent").frames
    shuffled = [torch.randn(z.shape, generator=noise) * z.std() for z in drawn]
    size = pipeline.denoiser.config.size
    how = torch.tensor(asked), size
    found = [surprise(pipeline.denoiser, pipeline.scheduler, z, *how) for z in (drawn, shuffled)]
    assert (found[0] < 0.7 * found[1]).all()
    assert torch.equal(found[0], surprise(pipeline.denoiser, pipeline.scheduler, drawn, *how))


def test_the_command_takes_words(tmp_path, monkeypatch, capsys):
    arguments = ["generate", "moving", f"--out={tmp_path / 'out'}", "-n2", "--steps=1"]
    assert main([*arguments, "--classes", "drop-barrel", "drop-cat"]) == 2
    said = capsys.readouterr().err
    assert "'drop-cat' is no class" in said and "turn-wizard" in said
    assert not (tmp_path / "out").exists()
    with monkeypatch.context() as patch:
        patch.setattr(LadderPipeline, "__call__", lambda *_, **__: pytest.fail("it has drawn"))
        assert main([*arguments, "--beside-data", "2"]) == 2
        said = capsys.readouterr().err
        assert "--beside-data is for shapes" in said and not (tmp_path / "out").exists()
    assert main([*arguments, "--classes", "drop-barrel", "1"]) == 0
    assert len(list((tmp_path / "out").glob("*.mp4"))) == 2


def test_the_study_compares_it_with_real_clips(tmp_path, monkeypatch):
    monkeypatch.setattr(render_moving, "OBJECTS", {"police": DRILL.name, "taxi": DRILL.name})
    for name in ("real", "held-out"):
        arguments = [str(DRILL.parent), "--out", str(tmp_path / name), "--clips=2"]
        assert render_moving.main(arguments) == 0
    few = ["--samples=8", "--steps", "1", "2", "--classifier-steps=2", "--solver"]
    ways = ["--held-out", str(tmp_path / "held-out"), "--ways", "level 0=moving"]
    out = tmp_path / "study"
    assert study_moving.main([str(tmp_path / "real"), *ways, *few, "--out", str(out)]) == 0
    rows = json.loads((out / "report.json").read_text())
    assert rows["level 0, Euler, 2 steps"]["evaluations"] == 2
    assert {"other real clips", "real level 0, rest by mean", "ladder alone"} <= set(rows)
    assert (out / "samples.png").is_file() and "DPM-Solver++" in (out / "report.md").read_text()


def test_the_decoder_that_ships_may_be_another_one(shipped, tmp_path):
    """With the same latents; and a ladder of other latents is refused."""
    ladder = stlatent.load(shipped_pipelines()["moving"] / "vae")
    known = {"latents_of": stlatent.fingerprint(ladder)}
    ladder.config = ladder.config.model_copy(update=known)
    ladder.head.conv.bias += 0.1
    z = torch.randn(1, 12, 5, 4, 4, generator=torch.Generator().manual_seed(0))
    before, after = (
        vae.decode(z).sample for vae in (shipped.vae, decoding_as(shipped.vae, ladder))
    )
    assert not torch.allclose(before, after, atol=1e-2)
    ladder.config = ladder.config.model_copy(update={"latents_of": None})
    with pytest.raises(ValueError, match="those of --ladder"):
        decoding_as(shipped.vae, ladder)
