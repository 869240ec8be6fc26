"""Parts of faces that a material hides are none of the shape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

from stlatent.geometry import FieldSettings, band_from_surface, mesh_from_band, read_surface
from stlatent.geometry.cutout import cut_out
from stlatent.geometry.read import BadMeshError
from stlatent.geometry.surface import areas

CARD = np.array([[0, 0, 0], [2, 0, 0], [2, 0, 2], [0, 0, 2]], float)
UV = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)


def card(folder: Path, alpha: np.ndarray, mode: str = "MASK", uv: np.ndarray = UV, **how) -> Path:
    """Two triangles with a green picture of this opacity `[H, W]`."""
    pixels = np.full((*alpha.shape, 4), (40, 160, 60, 0), np.uint8)
    pixels[..., 3] = alpha
    material = PBRMaterial(baseColorTexture=Image.fromarray(pixels), alphaMode=mode, **how)
    visual = TextureVisuals(uv=uv, material=material)
    mesh = trimesh.Trimesh(CARD, [[0, 1, 2], [0, 2, 3]], visual=visual, process=False)
    mesh.export(folder / "card.glb")
    return folder / "card.glb"


def disc(side: int = 64) -> np.ndarray:
    """A round leaf: 255 within a radius of 0.4."""
    y, x = np.indices((side, side)) / (side - 1) - 0.5
    return np.where(np.hypot(x, y) < 0.4, 255, 0).astype(np.uint8)


def area(path: Path) -> float:
    surface = read_surface(path)
    return float(areas(surface.triangles).sum())


@pytest.mark.parametrize("mode", ["MASK", "BLEND"])
def test_a_leaf_on_a_card_is_a_leaf(tmp_path: Path, mode: str) -> None:
    leaf = card(tmp_path, disc(), mode)
    assert area(leaf) == pytest.approx(4 * (disc() > 0).mean(), rel=0.02)
    surface = read_surface(leaf)
    assert np.hypot(*(surface.vertices[:, [0, 2]] - 1).T).max() < 0.84
    shown = surface.colours(np.arange(3), np.full((3, 3), 1 / 3))
    assert np.allclose(shown * 255, (40, 160, 60), atol=2)
    assert area(card(tmp_path, disc(), "OPAQUE")) == pytest.approx(4)


def test_a_grate_comes_back_with_its_holes(tmp_path: Path) -> None:
    """Through a band and back, as a model would be given it."""
    bars = np.where(np.indices((64, 64)) // 8 % 2 == 0, 255, 0).max(0).astype(np.uint8)
    band = band_from_surface(read_surface(card(tmp_path, bars)), FieldSettings(resolution=64))
    mesh = mesh_from_band(band)
    points = mesh.sample(20_000, seed=0)[:, [0, 2]]
    centres = np.stack(np.meshgrid(*[np.arange(0.375, 2, 0.5)] * 2), 2).reshape(-1, 2)
    centres[:, 1] = 2 - centres[:, 1]
    away = np.linalg.norm(points[:, None] - centres, axis=2)
    assert away.min() > 0.05  # of holes that are 0.25 wide
    wall = mesh_from_band(
        band_from_surface(
            read_surface(card(tmp_path, bars, "OPAQUE")), FieldSettings(resolution=64)
        )
    )
    assert mesh.area < 0.85 * wall.area


def test_pictures_are_repeated_and_cut_off_where_it_is_said(tmp_path: Path) -> None:
    half = np.zeros((16, 16), np.uint8)
    half[:, :8] = 255
    assert area(card(tmp_path, half)) == pytest.approx(2, rel=0.02)
    assert area(card(tmp_path, half, uv=3 * UV - 1)) == pytest.approx(2, rel=0.02)
    grey = np.full((4, 4), 100, np.uint8)
    assert area(card(tmp_path, grey, alphaCutoff=0.3)) == pytest.approx(4)
    assert area(card(tmp_path, grey, "BLEND")) == pytest.approx(4)  # glass is there
    with pytest.raises(BadMeshError, match="nothing of it is to be seen"):
        read_surface(card(tmp_path, grey, alphaCutoff=0.5))


def test_only_borders_are_cut_finely() -> None:
    triangles, uv = CARD[[[0, 1, 2], [0, 2, 3]]], UV[[[0, 1, 2], [0, 2, 3]]]
    whole = cut_out(triangles, uv, np.ones((8, 8), bool), 0.01)
    assert np.array_equal(whole, np.concatenate([triangles, uv], 2))
    assert len(cut_out(triangles, uv, np.zeros((8, 8), bool), 0.01)) == 0
    leaf = cut_out(triangles, uv, disc(256) > 0, 2 / 512)
    assert 1_000 < len(leaf) < 20_000  # of 524,288 at this size
    noise = np.random.default_rng(0).random((512, 512)) < 0.5
    assert len(cut_out(triangles, uv, noise, 1e-9)) <= 2**19 * 1.01


def test_corners_that_are_no_numbers_come_to_an_end() -> None:
    """They are refused when all of the file has been read."""
    triangles, uv = CARD[[[0, 1, 2], [0, 2, 3]]], UV[[[0, 1, 2], [0, 2, 3]]]
    triangles[0, 1] = np.nan
    left = cut_out(triangles, uv, disc(65) > 0, 2 / 512)
    assert np.isnan(left).any() and len(left) < 20_000
