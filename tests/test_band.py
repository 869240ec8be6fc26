"""Shapes near their surface only: meshes to bands and back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from stlatent.geometry import (
    Band,
    FieldSettings,
    band_from_surface,
    field_from_surface,
    mesh_from_band,
    surface_of,
    voxel_centres,
)
from stlatent.geometry.band import BLOCK
from stlatent.geometry.kernels import Nearest, winding_number
from stlatent.geometry.near import _centres

EDGE = 2.0


def band_of(mesh: trimesh.Trimesh, resolution: int = 64, axes: tuple = ("x", "y", "z")) -> Band:
    return band_from_surface(surface_of(mesh), FieldSettings(resolution=resolution, axes=axes))


def torus() -> trimesh.Trimesh:
    return trimesh.creation.torus(1.0, 0.4, major_sections=128, minor_sections=64)


def turned(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """Along no axis of the grid."""
    mesh = mesh.copy()
    return mesh.apply_transform(trimesh.transformations.euler_matrix(0.3, 0.5, 0.2))


def voxel(band: Band) -> float:
    """In the asset's own units."""
    return EDGE / band.resolution * band.placement.scale


def apart(a: trimesh.Trimesh, b: trimesh.Trimesh) -> np.ndarray:
    """From points all over `a` to the nearest point of `b`."""
    points, _ = trimesh.sample.sample_surface(a, 5000, seed=0)
    return Nearest(np.asarray(b.vertices), np.asarray(b.faces))(points)[0]


def open_box() -> trimesh.Trimesh:
    """Without its lid."""
    box = trimesh.creation.box((2.0, 2.0, 2.0))
    return trimesh.Trimesh(box.vertices, box.faces[box.face_normals[:, 1] < 0.5], process=False)


def test_distances_are_those_of_the_whole_field_and_lie_near_the_surface_only() -> None:
    mesh = torus()
    band, field = band_of(mesh), field_from_surface(surface_of(mesh), FieldSettings(resolution=64))
    there = band.table.repeat(BLOCK, 0).repeat(BLOCK, 1).repeat(BLOCK, 2) >= 0
    assert np.abs(band.field().distance - field.distance)[there].max() < 1e-4
    assert (band.field().inside == field.inside).all()  # in what is left out, too
    assert (np.abs(field.distance)[~there] * band.band_voxels > 2.9).all()
    assert there.mean() < 0.4


def test_the_sign_asked_for_by_region_is_that_of_every_voxel() -> None:
    parts = [torus(), trimesh.creation.box((1.5, 1.5, 0.02)), trimesh.creation.box((0.05, 2, 1))]
    mesh = turned(trimesh.util.concatenate(parts))
    band = band_of(mesh)
    centres = _centres(band.blocks, band.resolution)
    vertices = band.placement.to_cube(np.asarray(mesh.vertices))
    inside = winding_number(vertices, np.asarray(mesh.faces), centres) > 0.5
    assert band.route.sheets == 0
    assert ((band.distance < 0).ravel() == inside).all()


def test_a_part_of_the_grid_is_as_the_whole_and_between_voxels_it_is_trilinear() -> None:
    band = band_of(turned(torus()), 48)
    whole = band.field()
    assert (band.slab(5, 30) == whole.distance[5:30]).all()
    points = np.random.default_rng(0).uniform(-1, 1, (2000, 3))
    assert np.allclose(band.distance_at(points), whole.distance_at(points), atol=1e-6)
    centres = voxel_centres(whole.distance.shape)
    assert np.allclose(band.distance_at(centres), whole.distance.ravel(), atol=1e-6)


@pytest.mark.parametrize("tilted", [False, True])
@pytest.mark.parametrize("voxels", [0.5, 1.0, 2.0, 4.0])
def test_thin_walls_keep_their_thickness(voxels: float, tilted: bool) -> None:
    edge = 0.9 * 64  # voxels along the longest edge of a shape
    wall = trimesh.creation.box((edge, 0.7 * edge, voxels))
    wall = turned(wall) if tilted else wall
    band = band_of(wall)
    back, unit = mesh_from_band(band), voxel(band)
    assert back.is_watertight
    assert apart(wall, back).max() < 0.45 * unit
    assert apart(back, wall).max() < 0.25 * unit
    assert abs(back.volume / wall.volume - 1) < 0.3 * unit / voxels + 0.02
    assert band.route.sheets == 0


@pytest.mark.parametrize("tilted", [False, True])
def test_an_open_surface_stays_open(tilted: bool) -> None:
    box = turned(open_box()) if tilted else open_box()
    band = band_of(box)
    back = mesh_from_band(band)
    assert band.route.sheets == pytest.approx(1)
    assert (band.distance >= 0).all() and not band.field().inside.any()
    assert apart(back, box).max() < voxel(band)  # no lid
    assert apart(box, back).max() < 0.5 * voxel(band)
    assert apart(back, box).mean() < 0.1 * voxel(band)
    assert back.is_watertight and back.volume > 0


def test_a_sheet_that_is_blunter_than_measured_keeps_its_sides() -> None:
    """As models decode sheets: looked for further away, and no side goes through the other."""
    plate = turned(trimesh.Trimesh([[0, 0, 0], [2, 0, 0], [2, 0, 2], [0, 0, 2]], [[0, 1, 2, 3]]))
    band = band_of(plate)
    blunt = np.minimum(band.distance + np.float32(0.6 / band.band_voxels), 1)
    back = mesh_from_band(replace(band, distance=blunt), 1.75)
    assert back.is_watertight and back.volume > 0
    assert apart(plate, back).max() < voxel(band)
    assert apart(back, plate).mean() < 0.5 * voxel(band)


def test_a_scan_with_a_small_hole_has_an_inside() -> None:
    mesh = torus()
    torn = trimesh.Trimesh(mesh.vertices, np.delete(mesh.faces, 100, 0), process=False)
    band = band_of(torn)
    assert band.route.sheets == 0
    assert mesh_from_band(band).volume == pytest.approx(mesh.volume, rel=0.03)


def test_parts_that_lie_in_each_other_and_in_open_ones_survive() -> None:
    ball = trimesh.creation.icosphere(3, 0.5)
    open_one = trimesh.util.concatenate([open_box(), ball])
    band = band_of(open_one)
    back = mesh_from_band(band)
    assert 0 < band.route.sheets < 1
    assert apart(open_one, back).max() < 0.5 * voxel(band)
    assert band.field().inside[32, 32, 32] and not band.field().inside[32, 20, 20]
    closed = trimesh.util.concatenate([trimesh.creation.box((2, 2, 2)), ball])
    assert len(band_of(closed).blocks) == len(band_of(trimesh.creation.box((2, 2, 2))).blocks)


def test_a_red_cube_stays_red() -> None:
    cube = trimesh.creation.box((1, 1, 1))
    cube.visual.vertex_colors = [255, 0, 0, 255]
    band = band_of(cube, 32)
    back = mesh_from_band(band)
    assert (band.colour[band.known] == [255, 0, 0]).all()
    assert np.abs(back.visual.vertex_colors[:, :3].astype(int) - [255, 0, 0]).max() <= 2
    field = band.field()
    assert (field.known == (np.abs(field.distance) * band.band_voxels < 2)).all()


def test_each_side_of_a_wall_keeps_its_colour() -> None:
    wall = trimesh.creation.box((1, 1, 0.06))
    wall.visual.face_colors = np.where(
        wall.face_normals[:, 2:] > 0, [0, 0, 255, 255], [255, 0, 0, 255]
    )
    back = mesh_from_band(band_of(wall, 64))
    inner = np.abs(back.triangles_center[:, :2]).max(1) < 0.4
    front = back.face_normals[:, 2] > 0.9
    for side, channel in ((front, 2), (~front, 0)):
        shown = back.visual.face_colors[inner & side]
        assert (shown[:, channel] > 250).all() and (shown[:, 2 - channel] < 5).all()


@pytest.mark.parametrize("axes", [("x", "y", "z"), ("x", "z", "-y"), ("-x", "y", "z")])
def test_a_band_leads_back_to_the_place_of_its_asset(axes: tuple) -> None:
    mesh = turned(trimesh.creation.box((3, 1, 2))).apply_translation([5, -2, 1])
    band = band_of(mesh, 48, axes)
    back = mesh_from_band(band)
    assert back.is_watertight and back.is_winding_consistent
    assert back.volume == pytest.approx(mesh.volume, rel=0.02)
    assert apart(mesh, back).max() < 0.3 * voxel(band)


def test_blocks_grow_with_the_surface_and_not_with_the_cube() -> None:
    counts = [len(band_of(torus(), n).blocks) for n in (64, 128, 256)]
    assert counts[1] < 5 * counts[0] and counts[2] < 4.5 * counts[1]


def test_what_is_no_band_is_refused() -> None:
    with pytest.raises(ValueError, match="resolution is 50; give a multiple of 4"):
        band_of(torus(), 50)
    band = band_of(torus(), 16)
    with pytest.raises(ValueError, match="order"):
        replace(band, blocks=band.blocks[::-1])
    with pytest.raises(ValueError, match="outside of a grid of 2"):
        replace(band, resolution=8)
    with pytest.raises(ValueError, match="sizes"):
        replace(band, known=band.known[1:])


def test_a_hole_in_a_decoded_surface_does_not_turn_its_inside_out() -> None:
    band = band_of(trimesh.creation.icosphere(4), 64)
    kept = np.abs(band.blocks - [1, 8, 8]).max(1) > 1  # all but a patch on one side
    parts = {n: getattr(band, n)[kept] for n in ("blocks", "distance", "colour", "known")}
    pierced = replace(band, **parts)
    assert len(pierced.blocks) < len(band.blocks)
    wrong = (pierced.field().distance < 0) != (band.field().distance < 0)
    assert wrong.mean() < 0.005
    centre = voxel_centres((64,) * 3).reshape(64, 64, 64, 3)
    assert (pierced.field().distance[np.linalg.norm(centre, axis=-1) < 0.5] < 0).all()


@pytest.mark.parametrize("resolution", [32, 96, 128])
def test_a_band_with_other_voxels_is_the_same_surface(resolution: int) -> None:
    ball = trimesh.creation.icosphere(4, radius=3).apply_translation((5, 0, 0))
    ball.visual.vertex_colors = [200, 30, 60, 255]
    band = band_from_surface(surface_of(ball), FieldSettings(resolution=64))
    other = band.at(resolution)
    assert other.resolution == resolution and other.placement == band.placement
    mesh = mesh_from_band(other)
    radius = np.linalg.norm(mesh.vertices - (5, 0, 0), axis=1)
    voxel = 2 * band.placement.scale / min(resolution, 64)
    assert np.abs(radius - 3).max() < 0.6 * voxel and mesh.is_watertight
    assert np.abs(np.asarray(mesh.visual.vertex_colors)[:, :3] - [200, 30, 60]).max() < 3
    assert not len(mesh_from_band(empty(band).at(resolution)).faces)
    with pytest.raises(ValueError, match="multiple of 4"):
        band.at(30)


def empty(band: Band) -> Band:
    parts = {name: getattr(band, name)[:0] for name in ("blocks", "distance", "colour", "known")}
    return replace(band, **parts)
