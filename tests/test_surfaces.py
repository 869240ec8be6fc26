"""Surfaces on the page of a report: what is packed, and that one camera turns all of them."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from chromium import tab
from documents import browser
from domains import SPARSE_CONFIG

import stlatent
from stlatent.checkpoint import build
from stlatent.evaluate.report import write_report
from stlatent.evaluate.surfaces import STEPS, lighter, surfaces
from stlatent.geometry.extract import mesh_from_field
from stlatent.geometry.field import Field, FieldSettings
from stlatent.geometry.near import band_from_surface
from stlatent.geometry.read import surface_of
from stlatent.geometry.voxelise import field_from_surface
from stlatent.media.registry import medium_of
from stlatent.media.shape.near import blocks_of
from stlatent.model.config import Level, ModelConfig, Stage, parse
from stlatent.model.gaussian import BITS_PER_NAT

# What canvases show: how many pixels of each, and whether they differ from what was kept.
CANVASES = """[...document.querySelectorAll("canvas")].map((c, i) => {
  const data = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
  const before = (window.kept ??= [])[i] ?? data;
  return { data, count: data.filter((v, k) => k % 4 === 3 && v).length,
           moved: data.some((v, k) => v !== before[k]) };
})"""
KEEP = f"window.kept = {CANVASES}.map((c) => c.data); true"
MIDDLE = """{
  const box = document.querySelector("canvas").getBoundingClientRect();
  [box.x + box.width / 2, box.y + box.height / 2]
}"""


CONFIG = SPARSE_CONFIG | {
    "levels": [
        {"stride": [16] * 3, "width": 16, "latent": 4},
        {"stride": [8] * 3, "width": 16, "latent": 2},
    ],
    "cube": {"resolution": 32},
}


def model(channels: int = 1) -> stlatent.Ladder:
    torch.manual_seed(0)
    levels = tuple(Level(stride=(s, s, s), width=16, latent=8, blocks=0) for s in (8, 4))
    config = ModelConfig(
        domain="voxel",
        channels=channels,
        stem=Stage(stride=(2, 2, 2), width=8, blocks=0),
        levels=levels,
        likelihood="sdf",
    )
    return stlatent.Ladder(config).eval().requires_grad_(False)


def sample(ladder: stlatent.Ladder) -> torch.Tensor:
    mesh = trimesh.creation.box((2, 1, 1))
    mesh.visual.vertex_colors = [200, 30, 60, 255]
    field = field_from_surface(surface_of(mesh), FieldSettings(resolution=16))
    return medium_of(ladder).values.from_field(field)[None]


@pytest.mark.parametrize("channels", [1, 4])
def test_what_is_packed_is_the_surface(channels: int) -> None:
    ladder = model(channels)
    mesh = medium_of(ladder).surface(sample(ladder))
    found = surfaces({"original": mesh})
    (packed,) = json.loads(found.content)

    def read(name: str, kind: str) -> np.ndarray:
        return np.frombuffer(base64.b64decode(packed[name]), kind).reshape(-1, 3)

    vertices = read("vertices", "<u2") / STEPS * 2 - 1
    np.testing.assert_allclose(vertices, mesh.vertices, atol=2 / STEPS)
    np.testing.assert_array_equal(read("faces", "<u4"), mesh.faces)
    if channels == 1:
        assert packed["colours"] is None
    else:
        assert np.abs(read("colours", "u1").mean(0) - [200, 30, 60]).max() < 8


def seen_and_turned(page: Path, scratch: Path) -> list[int]:
    """How many pixels each canvas of a page shows, once a drag across the first has turned all."""
    if browser() is None:
        pytest.skip("no Chromium found")
    with tab(page.as_uri(), scratch, (1200, 1000)) as shown:
        shown.wait("document.documentElement?.dataset.surfaces")
        shown.run("""document.querySelector("#turn").click()""")  # stand still
        shown.run("""document.querySelector("canvas").scrollIntoView({ block: "center" })""")
        shown.wait(f"{CANVASES}[0].count")  # all are drawn at once
        shown.run(KEEP)
        counts = shown.run(f"{CANVASES}.map((c) => c.count)")
        x, y = shown.run(MIDDLE)
        for kind, step in (("mousePressed", 0), ("mouseMoved", 20), ("mouseMoved", 60)):
            at = {"x": x + step, "y": y, "button": "left", "buttons": 1, "clickCount": 1}
            shown.send("Input.dispatchMouseEvent", type=kind, **at)
        shown.wait(f"{CANVASES}.every((c) => c.moved || !c.count)")
    return counts


def test_one_camera_turns_original_and_prefixes(tmp_path: Path) -> None:
    ladder = model()
    write_report(ladder, [("box.glb", sample(ladder))], tmp_path / "report")
    page = tmp_path / "report/index.html"
    html = page.read_text(encoding="utf-8")
    assert html.count("<canvas") == 3 and "three.js authors" in html
    assert re.findall(r'\b(?:src|srcset|href)\s*=\s*"(?!data:)[^"]*', html) == []
    counts = seen_and_turned(page, tmp_path / "profile")
    assert len(counts) == 3 and min(counts) > 500


def test_a_report_of_a_sparse_model(tmp_path: Path) -> None:
    """Its numbers are those of latents and marks, and the page turns its surfaces."""
    torch.manual_seed(0)
    ladder = build(parse(ModelConfig, CONFIG, "config")).eval().requires_grad_(False)
    mesh = trimesh.creation.torus(1.0, 0.4)
    band = band_from_surface(surface_of(mesh), FieldSettings(resolution=32))
    x = blocks_of(band, ladder.block)
    found = ladder.encode(x)
    report = write_report(ladder, [("torus.glb", x)], tmp_path / "report")
    assert [p["numbers"] for p in report["prefixes"]] == [8 * 4, found.numel]
    total = sum(float(nats.sum()) for nats in found.kl) * BITS_PER_NAT
    assert report["prefixes"][-1]["bits"] == pytest.approx(total)
    for k, level in enumerate(report["levels"]):
        assert level["positions"] == len(found.levels[k]) and level["channels"] == (4, 2)[k]
        marks = float(found.group_kl[k][0, -1]) * BITS_PER_NAT
        assert level["mark_bits"] == pytest.approx(marks)
        assert level["bits"] == pytest.approx(float(found.kl[k].sum()) * BITS_PER_NAT, rel=1e-5)
    medium = medium_of(ladder)
    whole = medium.compare(x, ladder.decode(found))
    for figure in medium.figures:
        assert report["prefixes"][-1][figure.key] == pytest.approx(whole[figure.key])
    assert len(report["latents"]) == 1  # the grid that a diffusion model makes
    assert len(report["latents"][0]["channels"]) == 5 and not report["bands"]
    counts = seen_and_turned(tmp_path / "report/index.html", tmp_path / "profile")
    assert len(counts) == 3 and counts[0] > 500 and counts[2] > 500
    with pytest.raises(ValueError, match="--draws"):
        write_report(ladder, [("torus.glb", x)], tmp_path / "no", draws=2)
    assert not (tmp_path / "no").exists()


def test_a_surface_with_more_faces_than_a_page_takes_is_made_lighter() -> None:
    """Of a sheet with two sides a hair apart, both stay, each with its own colour and side."""
    top = trimesh.creation.icosphere(subdivisions=5, radius=0.9)
    inner = trimesh.Trimesh(top.vertices * 0.999, top.faces[:, ::-1], process=False)
    both = trimesh.util.concatenate([top, inner])
    red = np.arange(len(both.vertices)) < len(top.vertices)
    both.visual.vertex_colors = np.where(red[:, None], [255, 0, 0, 255], [0, 0, 255, 255])
    assert lighter(both, len(both.faces)) is both
    small = lighter(both, len(both.faces) // 3)
    assert 100 < len(small.faces) <= len(both.faces) // 3
    colours = np.asarray(small.visual.vertex_colors)
    assert {*map(tuple, colours[:, :3].tolist())} == {(255, 0, 0), (0, 0, 255)}
    outwards = np.einsum("nk,nk->n", small.face_normals, small.triangles_center) > 0
    assert (outwards == (colours[small.faces[:, 0], 0] == 255)).mean() > 0.98
    assert np.abs(np.linalg.norm(small.vertices, axis=1) - 0.9).max() < 0.02


def test_of_noise_as_much_is_shown_as_a_page_takes() -> None:
    """Faces that come to have the same corners become one, so that there are fewer every time."""
    noise = np.random.default_rng(0).normal(size=(24, 24, 24)).astype(np.float32)
    none = np.zeros((3, *noise.shape), np.float32)
    small = lighter(mesh_from_field(Field(noise, none, none[0] > 0, 4.0)), 4000)
    assert 500 < len(small.faces) <= 4000
    assert len(np.unique(np.sort(small.faces, 1), axis=0)) == len(small.faces)


def test_other_media_have_no_viewer(tmp_path: Path) -> None:
    torch.manual_seed(0)
    level = Level(stride=(8, 8), width=8, latent=2, blocks=0)
    stem = Stage(stride=(4, 4), width=8, blocks=0)
    config = ModelConfig(domain="image", stem=stem, levels=(level,))
    ladder = stlatent.Ladder(config).eval().requires_grad_(False)
    write_report(ladder, [("a.png", torch.zeros(1, 3, 32, 32))], tmp_path / "report")
    html = (tmp_path / "report/index.html").read_text(encoding="utf-8")
    assert "three.js" not in html and "canvas" not in html.partition("<body>")[2]
