"""What is measured of shapes that were drawn: flaws as an eye sees them, and likeness to others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from stlatent.evaluate.assets import at_side, measure_assets
from stlatent.geometry import (
    Field,
    FieldSettings,
    band_from_surface,
    field_from_occupancy,
    field_from_surface,
    surface_of,
)
from stlatent.geometry.band import Band
from stlatent.geometry.flaws import Flaws
from stlatent.geometry.likeness import likeness, nearest
from stlatent.geometry.offset import solid_around

DRAWS = Path(__file__).parents[1] / "docs" / "pictures" / "drawn_assets.png"
PIXELS, VOXEL = 192, 5.0  # of a draw in that picture, and of one of its voxels
# As a person sees them, row by row: w, one would keep it; x, rubble: pieces in the air, torn
# surfaces, crumbs, legs that are strings of beads.
LABELS = "xxxxxxxx wxxxxwxx xxxxxxxx".replace(" ", "")


def draws() -> list[np.ndarray]:
    """The outlines of the draws in the picture."""
    picture = np.asarray(Image.open(DRAWS).convert("RGB"))
    rows, columns = picture.shape[0] // PIXELS, picture.shape[1] // PIXELS
    tiles = picture.reshape(rows, PIXELS, columns, PIXELS, 3).swapaxes(1, 2)
    return [(tile < 245).any(-1) for row in tiles for tile in row]


def solid(*boxes: tuple) -> np.ndarray:
    """Boxes of voxels in a cube of 32, as slices."""
    inside = np.zeros((32, 32, 32), bool)
    for box in boxes:
        inside[box] = True
    return inside


SEAT = np.s_[8:24, 14:17, 8:24]
BACK = np.s_[8:24, 17:28, 8:10]
LEGS = [np.s_[x : x + 2, 4:14, z : z + 2] for x in (8, 22) for z in (8, 22)]
CHAIR = solid(SEAT, BACK, *LEGS)


def field(inside: np.ndarray) -> Field:
    return field_from_occupancy(inside)


def test_an_eye_agrees_on_the_draws_of_the_studies() -> None:
    found = ["w" if Flaws.of(outline, VOXEL).valid else "x" for outline in draws()]
    assert "".join(found) == LABELS


def test_what_an_eye_calls_whole_has_fewer_thin_parts_than_all_rubble() -> None:
    flaws = [Flaws.of(outline, VOXEL) for outline in draws()]
    whole = [f for f, label in zip(flaws, LABELS, strict=True) if label == "w"]
    rubble = [f for f, label in zip(flaws, LABELS, strict=True) if label == "x"]
    assert max(f.thin for f in whole) < min(f.thin for f in rubble)


def test_a_chair_is_valid_and_crumbs_and_floating_parts_are_not() -> None:
    chair = Flaws.of_field(field(CHAIR))
    assert chair.valid and chair.loose == 0
    crumbs = Flaws.of_field(
        field(CHAIR | solid(*(np.s_[k : k + 2, 28:30, 20:22] for k in (4, 12, 20))))
    )
    assert not crumbs.valid and crumbs.loose > 0.01
    short = [np.s_[x : x + 2, 4:12, z : z + 2] for x in (8, 22) for z in (8, 22)]
    assert not Flaws.of_field(field(solid(SEAT, BACK, *short))).valid
    assert not Flaws.of_field(field(np.zeros((32, 32, 32), bool))).valid


def layered(y: np.ndarray) -> Field:
    """A field whose distance in voxels follows the y axis alone."""
    n = len(y)
    distance = np.zeros((n, n, n)) + np.clip(y / 3, -1, 1)[:, None]
    colour = np.zeros((3, n, n, n), np.float32)
    return Field(distance.astype(np.float32), colour, colour[0] > 0, 3.0)


@pytest.mark.parametrize("resolution", [32, 64, 96])
@pytest.mark.parametrize("voxels, valid", [(0.5, False), (1.5, True)])
def test_thickness_under_a_voxel_counts(voxels: float, valid: bool, resolution: int) -> None:
    found = Flaws.of_field(layered(np.abs(np.arange(resolution) - 15.0) - voxels / 2))
    assert found.valid is valid and (found.thin > 0.5) is not valid


@pytest.mark.parametrize("voxels, valid", [(0.6, False), (1.5, True)])
def test_cracks_count_and_wide_gaps_do_not(voxels: float, valid: bool) -> None:
    away = np.abs(np.arange(32) - 15.0)
    joined = layered(np.maximum(voxels / 2 - away, away - 6))
    joined.distance[:4] = np.clip((away - 6) / 3, -1, 1)[:, None]  # one piece, all the same
    found = Flaws.of_field(joined)
    assert found.valid is valid and found.loose == 0 and (found.gaps > 0.01) is not valid


def test_a_face_where_a_block_is_missing_counts() -> None:
    """It closes the shape, which has no hole, then, but no surface either."""
    band = band_from_surface(surface_of(trimesh.creation.box((2, 1, 1))), FieldSettings())
    assert Flaws.of_field(solid_around(band)).valid
    whole = band.blocks[:, 2] < band.blocks[:, 2].mean()
    kept = whole | (band.blocks[:, 0] < band.blocks[:, 0].mean())
    parts = {name: getattr(band, name)[kept] for name in ("blocks", "distance", "colour", "known")}
    found = Flaws.of_field(solid_around(replace(band, **parts)))
    assert found.loose <= 0.01 and found.cut > 0.02 and not found.valid


def test_flaws_are_found_at_any_resolution_of_blocks() -> None:
    """129 blocks of 4 voxels do not halve to a whole number of voxels."""
    blocks = np.argwhere(np.ones((1, 129, 129), bool))
    blocks[:, 0] = 64
    shape = (len(blocks), 4, 4, 4)
    slope = np.linspace(-1, 1, 4, dtype=np.float32)[:, None, None]
    distance = np.broadcast_to(slope, shape)
    colour = np.zeros((*shape, 3), np.uint8)
    found = solid_around(Band(516, blocks, distance, colour, colour[..., 0] > 0, 8.0))
    assert found.distance.shape == (65, 65, 65) and found.band_voxels == 1
    inside = found.inside.mean((1, 2))  # all that lies before the layer
    assert (inside[:32] == 1).all() and (inside[34:] == 0).all()


def test_figures_of_draws() -> None:
    found = measure_assets(
        [field(CHAIR), field(solid(np.s_[4:9, 4:9, 4:9], np.s_[20:25, 4:9, 4:9]))]
    )
    assert found["assets"] == 2 and found["valid"] == 0.5
    assert found["loose"] == pytest.approx(0.25) and found["diversity"] > 0.9


def test_copies_are_seen_in_any_of_the_turns_that_are_given() -> None:
    shapes = [solid(np.s_[4 : 8 + 3 * k, 4:20, 2:9]) for k in range(6)]
    assert nearest([[shape] for shape in shapes[::2]], shapes) == 0
    turned = [np.rot90(shape, axes=(0, 2)) for shape in shapes[1:3]]
    assert nearest([[shape] for shape in turned], shapes) > 1
    back = [[np.rot90(shape, k, axes=(0, 2)) for k in range(4)] for shape in turned]
    assert nearest(back, shapes) == 0
    assert nearest([back[0], [solid(np.s_[0:2, 0:2, 0:2])]], shapes) > 1  # one is no copy
    with pytest.raises(ValueError, match="no shapes"):
        nearest([], shapes)


def test_sets_compared() -> None:
    shapes = [solid(np.s_[4 : 8 + 3 * k, 4:20, 4:20]) for k in range(6)]
    same, apart = likeness(shapes, shapes), likeness(shapes[:3], shapes[3:])
    assert (same.coverage, same.mmd) == (1, 0)
    assert apart.mmd > 0 and apart.neighbour > 0.5
    assert likeness(shapes[:1] * 6, shapes).coverage < 0.2
    far = likeness([np.zeros((32, 32, 32), bool)], shapes)
    assert far.mmd == 64
    with pytest.raises(ValueError, match="no shapes"):
        likeness(shapes, [])


@pytest.mark.parametrize("resolution", [24, 32, 64])
def test_shapes_of_any_resolution_are_compared_on_one_grid(resolution: int) -> None:
    wall = surface_of(trimesh.creation.box((2, 2, 0.07)))
    small = at_side(field_from_surface(wall, FieldSettings(resolution=resolution)).inside)
    assert small.shape == (32, 32, 32) and small.any((1, 2)).sum() > 20
