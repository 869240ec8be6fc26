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
from test_report import browse

import stlatent
from stlatent.evaluate.report import write_report
from stlatent.evaluate.surfaces import STEPS, surfaces
from stlatent.geometry.extract import mesh_from_field
from stlatent.geometry.field import FieldSettings
from stlatent.geometry.read import surface_of
from stlatent.geometry.voxelise import field_from_surface
from stlatent.media.registry import medium_of
from stlatent.model.config import Level, ModelConfig, Stage

# Run in the page once it is shown: what each canvas holds, then a drag across the first of them.
PROBE = """<script>
{
  const canvases = [...document.querySelectorAll("canvas")], root = document.documentElement;
  const seen = (c) => [...c.getContext("2d").getImageData(0, 0, c.width, c.height).data];
  const count = (data) => data.filter((v, i) => i % 4 === 3 && v > 0).length;
  const when = (holds, then) => holds() ? then() : setTimeout(() => when(holds, then), 200);
  const at = (type, x) => new PointerEvent(type, {
    pointerId: 1, pointerType: "mouse", button: 0, buttons: 1, clientX: x, clientY: 40,
    bubbles: true });
  canvases[0].setPointerCapture = canvases[0].releasePointerCapture = () => {};
  document.querySelector("#turn").click(); // stand still
  when(() => canvases.every((c) => count(seen(c))), () => setTimeout(() => {
    const before = canvases.map(seen);
    root.dataset.drawn = before.map(count).join(" ");
    canvases[0].dispatchEvent(at("pointerdown", 40));
    for (const x of [60, 90, 130]) canvases[0].ownerDocument.dispatchEvent(at("pointermove", x));
    const moved = (c, i) => seen(c).some((v, k) => v !== before[i][k]);
    when(() => canvases.every(moved), () => { root.dataset.moved = "all"; });
  }, 1000));
}
</script></body>"""


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
    field = medium_of(ladder).field(sample(ladder))
    found = surfaces({"original": field})
    (packed,) = json.loads(found.content)
    mesh = mesh_from_field(field)

    def read(name: str, kind: str) -> np.ndarray:
        return np.frombuffer(base64.b64decode(packed[name]), kind).reshape(-1, 3)

    vertices = read("vertices", "<u2") / STEPS * 2 - 1
    np.testing.assert_allclose(vertices, mesh.vertices, atol=2 / STEPS)
    np.testing.assert_array_equal(read("faces", "<u4"), mesh.faces)
    if channels == 1:
        assert packed["colours"] is None
    else:
        assert np.abs(read("colours", "u1").mean(0) - [200, 30, 60]).max() < 8


def test_one_camera_turns_original_and_prefixes(tmp_path: Path) -> None:
    ladder = model()
    write_report(ladder, [("box.glb", sample(ladder))], tmp_path / "report")
    page = tmp_path / "report/index.html"
    html = page.read_text(encoding="utf-8")
    assert html.count("<canvas") == 3 and "three.js authors" in html
    assert re.findall(r'\b(?:src|srcset|href)\s*=\s*"(?!data:)[^"]*', html) == []
    page.write_text(html.replace("</body>", PROBE), encoding="utf-8")
    graphics = "--enable-unsafe-swiftshader --use-angle=swiftshader --window-size=1200,6000"
    document, log = browse(page, tmp_path, [*graphics.split(), "--virtual-time-budget=60000"])
    root = re.search(r"<html[^>]*>", document).group()
    assert 'data-surfaces="3"' in root
    drawn = re.search(r'data-drawn="([\d ]+)"', root)[1].split()
    assert len(drawn) == 3 and int(drawn[0]) > 500
    assert 'data-moved="all"' in root
    assert [line for line in log.splitlines() if "CONSOLE" in line and "rror" in line] == []


def test_other_media_have_no_viewer(tmp_path: Path) -> None:
    torch.manual_seed(0)
    level = Level(stride=(8, 8), width=8, latent=2, blocks=0)
    stem = Stage(stride=(4, 4), width=8, blocks=0)
    config = ModelConfig(domain="image", stem=stem, levels=(level,))
    ladder = stlatent.Ladder(config).eval().requires_grad_(False)
    write_report(ladder, [("a.png", torch.zeros(1, 3, 32, 32))], tmp_path / "report")
    html = (tmp_path / "report/index.html").read_text(encoding="utf-8")
    assert "three.js" not in html and "canvas" not in html.partition("<body>")[2]
