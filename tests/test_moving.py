"""Clips of things that move: rendered by seed, as the data of a model that ships."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import render_moving

from stlatent.geometry.read import read_surface
from stlatent.media.video.files import find_sources
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


def test_a_missing_model_is_named(tmp_path, capsys):
    assert render_moving.main([str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "barrel_large.glb" in capsys.readouterr().err
