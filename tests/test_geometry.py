"""Meshes to fields and back: exactness, damage, orientation, colours, files, metrics."""

from __future__ import annotations

import base64
import itertools
import json
import math
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from pydantic import ValidationError
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

from stlatent.geometry import (
    BadMeshError,
    Field,
    FieldCache,
    FieldSettings,
    Placement,
    Surface,
    Volumes,
    bake_texture,
    cache,
    colour_psnr,
    compare_surfaces,
    contact_sheet,
    cube,
    extract,
    field_from_occupancy,
    field_from_surface,
    mesh_from_field,
    mesh_from_function,
    read,
    read_surface,
    read_volumes,
    resample,
    scan,
    surface_of,
    turntable,
    volume_iou,
    voxel_centres,
    voxel_size,
    write_mesh,
)
from stlatent.geometry.resample import volume_field
from stlatent.geometry.surface import to_screen
from stlatent.media.shape.data import find_shapes

AXES = [
    tuple(sign + axis for sign, axis in zip(signs, order))
    for order in itertools.permutations("xyz")
    for signs in itertools.product(("", "-"), repeat=3)
]
SMALL = FieldSettings(resolution=32)
RED, GREEN, BLUE = np.eye(3)


def field_of(mesh: trimesh.Trimesh | trimesh.Scene, settings: FieldSettings = SMALL) -> Field:
    return field_from_surface(surface_of(mesh), settings)


def boot() -> trimesh.Trimesh:
    """A closed shape that no turn or reflection maps onto itself."""
    boxes = [((0, 0, 0), (2, 3, 4)), ((2, 0, 0), (5, 1.2, 2)), ((0, 3, 1), (1, 4.5, 2))]
    parts = [trimesh.creation.box(bounds=box) for box in boxes]
    return trimesh.util.concatenate(parts)


def torus(sections: int = 32) -> trimesh.Trimesh:
    return trimesh.creation.torus(1.0, 0.4, major_sections=2 * sections, minor_sections=sections)


def torus_distance(points: np.ndarray) -> np.ndarray:
    return np.hypot(np.hypot(points[:, 0], points[:, 1]) - 1, points[:, 2]) - 0.4


def brute_distance(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Distance to the nearest triangle, by projection and the three edges of every one."""
    best = np.full(len(points), np.inf)
    for a, b, c in triangles:
        n = np.cross(b - a, c - a)
        n /= np.linalg.norm(n)
        height = (points - a) @ n
        foot = points - height[:, None] * n
        sides = [np.cross(q - p, foot - p) @ n >= 0 for p, q in ((a, b), (b, c), (c, a))]
        best = np.where(np.all(sides, 0), np.minimum(best, np.abs(height)), best)
        for p, q in ((a, b), (b, c), (c, a)):
            t = np.clip((points - p) @ (q - p) / ((q - p) @ (q - p)), 0, 1)
            best = np.minimum(best, np.linalg.norm(points - p - t[:, None] * (q - p), axis=1))
    return best


# the cube ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", AXES[::7])
def test_a_placement_leads_back_and_survives_json(axes: tuple[str, ...]) -> None:
    points = np.random.default_rng(0).normal(size=(20, 3)) * [1, 5, 2] + 7
    placement = Placement.around(points, 0.05, axes)
    cube = placement.to_cube(points)
    assert np.abs(cube).max() == pytest.approx(0.9)
    np.testing.assert_allclose(placement.to_asset(cube), points)
    assert Placement(**json.loads(placement.model_dump_json())) == placement


def test_axes_that_make_no_frame_are_refused() -> None:
    with pytest.raises(ValidationError, match="name each of x, y, z once"):
        FieldSettings(axes=("x", "y", "-x"))


@pytest.mark.parametrize("axes", AXES)
def test_no_axis_is_exchanged_on_the_way(axes: tuple[str, ...], plain: Field) -> None:
    """All 48 permutations and reflections of the cube hold one field, turned, and one asset."""
    field = field_of(boot(), FieldSettings(resolution=16, axes=axes))
    turned = plain.distance.transpose(["xyz".index(axis[-1]) for axis in axes])
    turned = np.flip(turned, [i for i, axis in enumerate(axes) if axis.startswith("-")])
    np.testing.assert_allclose(field.distance, turned, atol=2e-3)
    back, straight = mesh_from_field(field), mesh_from_field(plain)
    assert back.is_watertight
    assert back.volume == pytest.approx(straight.volume, rel=1e-3)  # not inside out
    np.testing.assert_allclose(back.center_mass, straight.center_mass, atol=0.01)
    again = field_of(back, FieldSettings(resolution=16, axes=axes))
    assert volume_iou(again.distance, field.distance) > 0.9


@pytest.fixture(scope="module")
def plain() -> Field:
    return field_of(boot(), FieldSettings(resolution=16))


# meshes to fields -------------------------------------------------------------------------------


def test_distance_is_exact_in_the_band() -> None:
    mesh = trimesh.creation.icosphere(subdivisions=1, radius=3)
    field = field_of(mesh, FieldSettings(resolution=32, band_voxels=8))
    triangles = field.placement.to_cube(mesh.triangles.reshape(-1, 3)).reshape(-1, 3, 3)
    exact = brute_distance(voxel_centres((32,) * 3), triangles).reshape((32,) * 3)
    exact /= voxel_size((32,) * 3)
    np.testing.assert_allclose(np.abs(field.distance) * 8, np.minimum(exact, 8), atol=1e-3)
    assert field.distance.max() == 1


def test_the_field_of_a_torus_is_that_of_its_formula() -> None:
    field = field_of(torus(48), FieldSettings(resolution=64))
    points = field.placement.to_asset(voxel_centres((64,) * 3))
    truth = torus_distance(points).reshape((64,) * 3) / field.placement.scale * 32
    near = np.abs(truth) < 3
    assert np.abs(field.distance * 4 - truth)[near].max() < 0.064  # 1e-3 of the cube's edge
    assert ((truth < 0) == field.inside).mean() > 0.9995


@pytest.mark.parametrize("damage", ["holes", "flipped", "flipped soup", "inside out", "doubled"])
def test_the_sign_survives(damage: str) -> None:
    mesh, random = torus(), np.random.default_rng(0)
    clean = field_of(mesh).inside
    some = random.random(len(mesh.faces)) < (0.05 if damage == "holes" else 0.3)
    if damage == "holes":
        mesh.update_faces(~some)
    elif damage == "inside out":
        mesh.invert()
    elif damage == "doubled":
        mesh = trimesh.Trimesh(mesh.vertices, np.concatenate([mesh.faces, mesh.faces[:, ::-1]]))
    else:
        mesh.faces[some] = mesh.faces[some][:, ::-1]
    surface = surface_of(mesh)
    if damage == "flipped soup":  # nothing left to say which faces belong together
        vertices = surface.triangles.reshape(-1, 3)
        surface = replace(surface, vertices=vertices, faces=np.arange(len(vertices)).reshape(-1, 3))
    field = field_from_surface(surface, SMALL)
    assert (field.inside == clean).mean() > 0.99
    assert (field.route.turned > 0) == (damage in ("flipped", "flipped soup", "inside out"))


def test_a_cavity_stays_hollow_and_overlapping_parts_are_one() -> None:
    hollow = trimesh.creation.icosphere(3, radius=1)
    hole = trimesh.creation.icosphere(3, radius=0.5)
    hole.invert()
    field = field_of(hollow + hole)
    assert field.distance[16, 16, 16] > 0 and field.route.turned == 0
    ball = trimesh.creation.icosphere(3, radius=1)
    both = mesh_from_field(field_of(ball + ball.copy().apply_translation([1, 0, 0])))
    assert both.body_count == 1 and both.is_watertight


def test_a_sheet_becomes_a_shell_and_a_thin_wall_survives() -> None:
    square = trimesh.Trimesh(
        [[0, 0, 0], [1, 0, 0], [1, 1, 0.3], [0, 1, 0.3]], [[0, 1, 2], [0, 2, 3]]
    )
    field = field_of(square)
    shell = mesh_from_field(field)
    assert field.route.sheets == 1 and shell.is_watertight and shell.body_count == 1
    assert field.distance[0, 0, 0] == 1  # truncated as everything else
    thickness = shell.volume / square.area / field.placement.scale / voxel_size((32,) * 3)
    assert 1 < thickness < 1.5
    wall = mesh_from_field(field_of(trimesh.creation.box([1, 1, 0.01])))  # 0.29 of a voxel
    assert wall.is_watertight and wall.body_count == 1 and wall.extents[0] == pytest.approx(1, 0.05)


def test_an_open_end_is_closed_across() -> None:
    mesh = trimesh.creation.cylinder(radius=1, height=4, sections=48)
    mesh.update_faces(mesh.face_normals[:, 2] < 0.9)  # no lid
    closed = mesh_from_field(field_of(mesh))
    assert closed.is_watertight
    assert closed.volume == pytest.approx(4 * math.pi, rel=0.08)


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "igl", None)
    with pytest.raises(ValueError, match="libigl, which cannot be imported.*stlatent\\[shapes\\]"):
        field_of(boot())


# colours ----------------------------------------------------------------------------------------


def checked_box(size: int = 64) -> trimesh.Trimesh:
    """A square plate, red to the left and blue to the right by its texture, which is repeated."""
    plate = trimesh.creation.box([2, 2, 0.5])
    plate.unmerge_vertices()
    picture = np.zeros((size, size, 3), np.uint8)
    picture[:, : size // 2, 0] = picture[:, size // 2 :, 2] = 255
    uv = plate.vertices[:, :2] / 2 + 3.5
    material = PBRMaterial(baseColorTexture=Image.fromarray(picture))
    plate.visual = TextureVisuals(uv, material=material)
    return plate


def test_textures_and_their_place(tmp_path: Path) -> None:
    plate = checked_box()
    plate.export(tmp_path / "plate.glb")
    field = field_from_surface(read_surface(tmp_path / "plate.glb"), SMALL)
    ends = field.placement.to_cube(np.array([[-0.5, 0.2, 0.25], [0.5, 0.2, 0.25]]))
    np.testing.assert_allclose(field.colour_at(ends), [2 * RED - 1, 2 * BLUE - 1], atol=0.02)
    assert not field.known[..., 0].any() and not field.colour[:, ~field.known].any()


def test_a_scene_of_many_materials_at_their_places(tmp_path: Path) -> None:
    scene = trimesh.Scene()
    for colour, x, mirror in ((RED, 0, 1), (GREEN, 3, -1)):
        box = trimesh.creation.box([1, 2, 1])
        factor = [*(colour * 0.5), 1.0]  # linear light: 0.5 is shown as 188 of 255
        box.visual = TextureVisuals(material=PBRMaterial(baseColorFactor=factor))
        matrix = np.diag([mirror, 1, 1, 1.0])
        matrix[0, 3] = x
        scene.add_geometry(box, transform=matrix)
    scene.export(tmp_path / "scene.glb")
    surface = read_surface(tmp_path / "scene.glb")
    np.testing.assert_allclose(np.ptp(surface.vertices, axis=0), [4, 2, 1], atol=1e-6)
    field = field_from_surface(surface, SMALL)
    assert field.route.turned == 0 and mesh_from_field(field).body_count == 2
    seen = field.colour_at(field.placement.to_cube(np.array([[0, 0, 0.5], [3, 0, 0.5]])))
    np.testing.assert_allclose((seen + 1) / 2, [0.735 * RED, 0.735 * GREEN], atol=0.01)


def test_vertex_and_face_colours_and_none() -> None:
    ball = trimesh.creation.icosphere(2)
    assert not field_of(ball).known.any()
    ball.visual.face_colors = np.array([200, 100, 50, 255])
    for mesh in (
        ball,
        trimesh.Trimesh(**ball.to_dict() | {"vertex_colors": [[200, 100, 50]] * 162}),
    ):
        back = mesh_from_field(field_of(mesh))
        assert (back.visual.vertex_colors == [200, 100, 50, 255]).all()


# files ------------------------------------------------------------------------------------------


def blue_above(points: np.ndarray) -> np.ndarray:
    """Colours `[n, 3]` in [-1, 1] that change from dark red to blue along y."""
    share = (points[:, 1:2] + 1) / 2
    return 2 * ((1 - share) * [0.5, 0, 0] + share * BLUE) - 1


def ball_at(resolution: int = 24, placement: Placement | None = None) -> trimesh.Trimesh:
    return mesh_from_function(
        lambda p: np.linalg.norm(p, axis=1) - 0.7, resolution, placement, blue_above
    )


@pytest.mark.parametrize(
    ("suffix", "baked"), [(".glb", 0), (".obj", 0), (".ply", 0), (".glb", 1), (".obj", 1)]
)
def test_what_is_written_is_read_again(tmp_path: Path, suffix: str, baked: int) -> None:
    placement = Placement(scale=3, offset=(10, -5, 2), axes=("y", "-x", "z"))
    mesh = ball_at(placement=placement)
    mesh = bake_texture(mesh, blue_above, placement) if baked else mesh
    write_mesh(mesh, tmp_path / f"ball{suffix}")
    read = read_surface(tmp_path / f"ball{suffix}")
    np.testing.assert_allclose(read.vertices.mean(0), [10, -5, 2], atol=0.05)
    assert np.ptp(read.vertices, axis=0) == pytest.approx([4.2] * 3, rel=0.02)
    face, weights = map(np.concatenate, zip(*scan.lattice(read.triangles, 0.3)))
    points = np.einsum("nk,nkc->nc", weights, read.triangles[face])
    error = read.colours(face, weights) - (blue_above(placement.to_cube(points)) + 1) / 2
    assert np.abs(error).max() < (0.01 if baked else 0.06)  # 8 bits of linear light are coarse
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("coloured", [False, True])
@pytest.mark.parametrize("suffix", [".glb", ".ply", ".obj"])
def test_a_mesh_far_from_the_origin_keeps_its_shape(
    tmp_path: Path, suffix: str, coloured: bool
) -> None:
    """As surveyors have them: ten metres, at UTM coordinates."""
    mesh = torus()
    mesh.apply_scale(5)
    mesh.apply_translation([500_000.25, 5_400_000.5, 120])
    if coloured:
        mesh.visual.vertex_colors = np.arange(4 * len(mesh.vertices)).reshape(-1, 4) % 256
    write_mesh(mesh, tmp_path / f"far{suffix}")
    surface = read_surface(tmp_path / f"far{suffix}")
    centre = mesh.bounds.mean(0)
    placed = {tuple(point) for point in (surface.vertices - centre).round(4)}
    assert placed == {tuple(point) for point in (mesh.vertices - centre).round(4)}
    if coloured and suffix != ".obj":
        order = np.lexsort((mesh.vertices - centre).round(4).T)
        again = np.lexsort((surface.vertices - centre).round(4).T)
        colours = np.zeros((len(surface.vertices), 3))
        colours[surface.faces] = to_screen(surface.corners)
        want = mesh.visual.vertex_colors[order][:, :3] / 255
        assert np.abs(colours[again] - want).max() < 0.06  # 8 bits of linear light, where dark


def test_what_cannot_be_written(tmp_path: Path) -> None:
    placement = Placement()
    with pytest.raises(ValueError, match="written as .glb"):
        write_mesh(ball_at(), tmp_path / "ball.stl")
    with pytest.raises(ValueError, match="holds no texture"):
        write_mesh(bake_texture(ball_at(), blue_above, placement), tmp_path / "ball.ply")
    with pytest.raises(ValueError, match="is empty"):
        write_mesh(mesh_from_function(lambda p: 1 + 0 * p[:, 0], 16), tmp_path / "none.glb")
    with pytest.raises(ValueError, match="texels is 4; give 5 or more"):
        bake_texture(ball_at(), blue_above, placement, texels=4)
    with pytest.raises(ValueError, match=r"triangles need a texture of \d+ pixels .* coarser res"):
        bake_texture(ball_at(), blue_above, placement, texels=2000)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.txt", "v 0 0 0", "no mesh; meshes end in"),
        ("a.obj", None, "there is no such file"),
        ("a.glb", "glTF and then nothing", "it is no glTF"),
        ("b.glb", "a page that says 404", "it is no glTF"),
        ("c.gltf", "[1, 2]", "it is no glTF"),
        ("a.obj", "v 0 0 0\nv 1 0 0\n", "no triangles"),
        ("a.obj", "v 0 0 0\nv 1 0 nan\nv 0 1 0\nf 1 2 3\n", "not finite"),
        ("a.obj", "v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n", "on one point"),
        ("a.off", "OFF\n3 1 0\n0 0 0\n1 0 0\n2 0 0\n3 0 1 2\n", "no area"),
    ],
)
def test_a_bad_mesh_costs_one_line(
    tmp_path: Path, name: str, content: str | None, reason: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(BadMeshError, match=reason) as caught:
        read_surface(tmp_path / name)
    assert caught.value.path == tmp_path / name and "\n" not in str(caught.value)


def test_names_and_links_of_meshes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path is a path, whatever it looks like, and no byte of a name is lost."""
    kept = tmp_path / "elsewhere"
    names = ["2024-01-01T12:30:00.ply", "http:/host/a.glb", "a.b/c.d.stl", "a.b/c.d.off"]
    names += ["日本/ü.obj", *(os.fsdecode(b"caf\xe9" + end) for end in (b".ply", b".obj", b".glb"))]
    for name in names:
        (kept / name).parent.mkdir(parents=True, exist_ok=True)
        content = torus(8).export(file_type=Path(name).suffix[1:])
        (kept / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "linked").symlink_to(kept)
    (kept / "a.b" / "back").symlink_to(tmp_path / "root")
    monkeypatch.chdir(tmp_path / "root")
    found = find_shapes(".")
    assert list(found) == sorted(f"linked/{name}" for name in names)
    assert {len(read_surface(path).faces) for path in found.values()} == {len(torus(8).faces)}


def gltf(path: Path, accessor: dict, nodes: list[dict]) -> Path:
    """A triangle with the first accessor changed, in places of its own."""
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32).tobytes()
    uri = "data:application/octet-stream;base64," + base64.b64encode(points).decode()
    accessors = [{"componentType": 5126, "count": 3, "type": "VEC3"} | accessor]
    tree = {
        "asset": {"version": "2.0"},
        "buffers": [{"byteLength": len(points), "uri": uri}],
        "bufferViews": [{"buffer": 0, "byteLength": len(points)}],
        "accessors": accessors,
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "nodes": nodes,
        "scenes": [{"nodes": [0]}],
    }
    path.write_text(json.dumps(tree))
    return path


def test_claims_are_checked_before_memory_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = [{"mesh": 0}]
    assert len(read_surface(gltf(tmp_path / "a.gltf", {"bufferView": 0}, one)).faces) == 1
    with pytest.raises(BadMeshError, match="claims 2,000,000,000 values without data"):
        read_surface(gltf(tmp_path / "b.gltf", {"count": 2_000_000_000}, one))
    many = [
        {"children": [*range(1, 9)]},
        *[{"mesh": 0, "translation": [i, 0, 0]} for i in range(8)],
    ]
    monkeypatch.setattr(read, "MAX_FACES", 7)
    with pytest.raises(BadMeshError, match="has 8 triangles; at most 7"):
        read_surface(gltf(tmp_path / "c.gltf", {"bufferView": 0}, many))
    np.savez_compressed(tmp_path / "bomb.npz", np.zeros((200, 200, 200), np.uint8))
    np.save(tmp_path / "bomb.npy", np.zeros((1, 200, 200, 200), np.uint8))
    np.savez_compressed(tmp_path / "many.npz", np.zeros((5000, 20, 20, 20), np.uint8))
    for name in ("bomb.npz", "bomb.npy", "many.npz"):
        with pytest.raises(BadMeshError, match="raise max_voxels"):
            read_volumes(tmp_path / name, max_voxels=100**3)
    assert read_volumes(tmp_path / "bomb.npz", max_voxels=200**3).arrays.shape[-1] == 200


def test_nested_and_mirrored_nodes(tmp_path: Path) -> None:
    """Places multiply down the tree, and a mirrored part does not turn inside out."""
    mesh, scene = boot(), trimesh.Scene()
    mirror, turn = np.diag([-1.0, 1, 1, 1]), trimesh.transformations.rotation_matrix(1.0, (1, 2, 3))
    stretch = np.diag([1.0, 2, 0.5, 1])
    turn[:3, 3] = 3, -4, 5
    scene.graph.update("outer", matrix=mirror)
    scene.graph.update("inner", "outer", matrix=turn)
    scene.add_geometry(mesh, "boot", parent_node_name="inner", transform=stretch)
    (tmp_path / "nested.glb").write_bytes(scene.export(file_type="glb"))
    surface = read_surface(tmp_path / "nested.glb")
    whole = mirror @ turn @ stretch
    expected = mesh.vertices @ whole[:3, :3].T + whole[:3, 3]
    assert np.ptp(surface.vertices, 0) == pytest.approx(np.ptp(expected, 0), rel=1e-5)
    assert surface.vertices.min(0) == pytest.approx(expected.min(0), rel=1e-5)
    a, b, c = surface.triangles.swapaxes(0, 1)
    assert np.einsum("fi,fi", a, np.cross(b, c)) / 6 == pytest.approx(mesh.volume, rel=1e-5)


def test_factors_of_a_material_are_no_bytes(tmp_path: Path) -> None:
    """`baseColorFactor` is 0 to 1, linear light: 0.2 is 51 of 255 there, and 124 on a screen."""
    material = {"pbrMetallicRoughness": {"baseColorFactor": [1.0, 0.2, 0.0, 1.0]}}
    path = gltf(tmp_path / "a.gltf", {"bufferView": 0}, [{"mesh": 0}])
    tree = json.loads(path.read_text())
    tree["materials"], tree["meshes"][0]["primitives"][0]["material"] = [material], 0
    path.write_text(json.dumps(tree))
    surface = read_surface(path)
    assert surface.coloured.all()
    assert surface.corners[0, 0] == pytest.approx([1, 0.2, 0], abs=1e-3)


def test_dust_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "MAX_PIECES", 99)
    corners = np.arange(100)[:, None, None] + np.eye(3) * 0.1
    dust = trimesh.Trimesh(corners.reshape(-1, 3), np.arange(300).reshape(-1, 3))
    with pytest.raises(ValueError, match="falls into 100 loose pieces; at most 99"):
        surface_of(dust)


def test_the_cache_belongs_to_content_and_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mesh = tmp_path / "box.obj"
    (tmp_path / "box.mtl").write_text("newmtl one\nKd 1 0 0\n")
    text = trimesh.creation.box().export(file_type="obj", header=None)
    mesh.write_text(f"mtllib box.mtl\n{text.replace('f ', 'usemtl one' + chr(10) + 'f ', 1)}")
    settings = FieldSettings(resolution=16)
    first = FieldCache(tmp_path / "cache", settings).open(mesh)
    assert first.known.any()
    made = []
    monkeypatch.setattr(cache, "read_surface", lambda p: made.append(p) or read_surface(p))
    again = FieldCache(tmp_path / "cache", settings).open(mesh)
    for name in ("distance", "colour", "known"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert (again.placement, again.route, again.band_voxels) == (first.placement, first.route, 4)
    assert not made
    FieldCache(tmp_path / "cache", FieldSettings(resolution=17)).open(mesh)
    (tmp_path / "box.mtl").write_text("newmtl one\nKd 0 1 0\n")
    green = FieldCache(tmp_path / "cache", settings).open(mesh)
    assert len(made) == 2 and not np.array_equal(green.colour, first.colour)
    for file in (tmp_path / "cache").iterdir():  # what is damaged is made anew
        file.write_bytes(file.read_bytes()[:100])
    np.testing.assert_array_equal(
        FieldCache(tmp_path / "cache", settings).open(mesh).colour, green.colour
    )


@pytest.mark.parametrize(
    "meta",
    [
        b"[]",
        b"{}",
        b'{"band_voxels": 4, "placement": {"size": 1}, "route": {}}',
        b'{"band_voxels": 4, "placement": {}, "route": {"turned": "x"}}',
    ],
)
def test_fields_that_cannot_be_are_one_line(tmp_path: Path, meta: bytes) -> None:
    empty = np.zeros((8, 8, 8), np.float32)
    nowhere = np.packbits(np.zeros(512, bool))
    what = {"distance": empty, "known": nowhere, "colour": np.zeros((3, 0), np.uint8)}
    np.savez(tmp_path / "field.npz", meta=np.frombuffer(meta, np.uint8), **what)
    (tmp_path / "bad.npz").write_bytes(b"PK")
    (tmp_path / "text.npz").write_bytes(b"neither")  # which numpy would advise to unpickle
    with open(tmp_path / "array.npz", "wb") as file:
        np.save(file, np.zeros(3))
    for name in ("field.npz", "bad.npz", "text.npz", "array.npz"):
        with pytest.raises(ValueError, match="damaged") as error:
            Field.load(tmp_path / name)
        assert len(str(error.value).splitlines()) == 1 and "pickle" not in str(error.value)


def test_volumes_are_read_as_they_are(tmp_path: Path) -> None:
    solid = np.zeros((3, 16, 16, 16), bool)
    solid[1, 4:12, 5:9, 2:14] = True
    packed = np.packbits(solid.reshape(3, -1), axis=1)
    np.savez(tmp_path / "packed.npz", occupancy=packed, count=3)
    np.save(tmp_path / "plain.npy", solid[1].astype(np.uint8))
    np.save(tmp_path / "distance.npy", np.linspace(-1, 1, 8 * 16 * 4).reshape(8, 16, 4))
    volumes = read_volumes(tmp_path / "packed.npz")
    assert len(volumes) == 3 and not volumes[0].inside.any()
    np.testing.assert_array_equal(volumes[1].inside, solid[1])
    np.testing.assert_array_equal(volumes[1].distance[4:6, 7, 7] * 4, [-0.5, -1.5])
    plain = read_volumes(tmp_path / "plain.npy", placement=Placement(axes=("x", "-z", "y")))[0]
    np.testing.assert_array_equal(plain.distance, volumes[1].distance)
    box = mesh_from_field(plain)
    assert box.is_watertight
    assert box.extents == pytest.approx(np.array([8, 12, 4]) / 8, rel=0.01)  # z now points up
    assert read_volumes(tmp_path / "distance.npy")[0].distance[-1, -1, -1] == 1


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"a": np.zeros(5)}, r"expected numbers \[X, Y, Z\]"),
        ({"a": np.zeros((4, 4, 4))}, "expected signed distances"),
        ({"a": np.zeros((4, 4, 4), int), "b": np.zeros(1)}, "holds a, b; expected one array"),
        ({"occupancy": np.zeros((2, 4), np.uint8), "count": 3}, r"uint8 \[3, bytes\]"),
        ({"occupancy": np.zeros((2, 4), np.uint8), "count": 2}, "32 bits, which make no cube"),
        ({"occupancy": np.zeros((2, 8), np.uint8), "count": [1, 1]}, r"volumes are uint8"),
        ({"occupancy": np.zeros((2, 8), np.uint8), "count": np.inf}, r"uint8 \[inf, bytes\]"),
        ({"occupancy": np.zeros((2, 0), np.uint8), "count": 2}, r"occupancy is uint8 \[2, 0\]"),
        ({"a": np.array([{}])}, "damaged, or holds something other than arrays"),
    ],
)
def test_other_volumes_are_refused(tmp_path: Path, arrays: dict, reason: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(BadMeshError, match=reason):
        read_volumes(tmp_path / "a.npz")


def test_volumes_are_resampled_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, z = np.indices((20, 20, 16))
    solid = np.hypot(np.hypot(x - 9, y - 9), z - 8) < 6
    volumes, settings = Volumes(solid[None], 4.0, Placement()), FieldSettings(resolution=32)
    whole, asked = volume_field(volumes, 0, settings), []

    def sampled(volume: np.ndarray, points: np.ndarray) -> np.ndarray:
        asked.append(len(points))
        return cube.sample(volume, points)

    monkeypatch.setattr(cube, "SLAB", 3000)
    monkeypatch.setattr(resample, "sample", sampled)
    assert np.array_equal(volume_field(volumes, 0, settings).distance, whole.distance)
    assert max(asked) <= 3000 and sum(asked) == 32**3


# fields to meshes -------------------------------------------------------------------------------


def test_slabs_are_welded_into_the_same_closed_mesh(monkeypatch: pytest.MonkeyPatch) -> None:
    field = field_of(boot(), FieldSettings(resolution=32))
    whole = mesh_from_field(field)
    monkeypatch.setattr(extract, "SLAB", 5 * 34 * 34)
    monkeypatch.setattr(extract, "POINTS", 1000)
    parts = mesh_from_field(field)
    function = mesh_from_function(field.distance_at, 32, field.placement)
    for mesh in (whole, parts, function):
        assert mesh.is_watertight and mesh.is_winding_consistent
        assert len(mesh.faces) == len(whole.faces)
        assert mesh.volume == pytest.approx(whole.volume, rel=1e-5)


def test_any_resolution_and_surfaces_that_leave_the_cube() -> None:
    for resolution in (12, 50):
        error = ball_at(resolution).volume / (4 / 3 * math.pi * 0.7**3) - 1
        assert -6 / resolution**1.5 < error < 0  # flat faces lie inside a ball
    cut = mesh_from_function(lambda p: p @ [1.0, 0.2, 0.1], 20)  # half of the cube
    assert cut.is_watertight and cut.volume == pytest.approx(4, rel=0.1)
    steps = mesh_from_function(lambda p: np.round(3 * torus_distance(1.5 * p)), 24)  # many zeros
    assert steps.is_watertight
    with pytest.raises(ValueError, match="not finite"):
        mesh_from_function(lambda p: np.full(len(p), np.nan), 8)


# pictures and metrics ---------------------------------------------------------------------------


def test_triangles_cover_the_pixels_of_their_area() -> None:
    corners = np.array([[[2.0, 3.0], [61.0, 8.0], [20.0, 55.0]]])
    (face, pixel, weights), *rest = scan.rasterise(corners, 64)
    area = (59 * 52 - 5 * 18) / 2
    assert not rest and len(np.unique(pixel, axis=0)) == len(face)
    assert len(face) == pytest.approx(area, rel=0.02)
    np.testing.assert_allclose(np.einsum("nk,kc->nc", weights, corners[0]), pixel + 0.5)


def test_a_turntable_shows_each_side_as_it_is() -> None:
    box = trimesh.creation.box()
    box.visual.face_colors = np.round(np.abs(box.face_normals) * 255).astype(np.uint8)
    pictures = turntable(box, views=4, size=32, elevation=0)
    assert pictures.shape == (4, 32, 32, 3) and (pictures[:, 0, 0] == 255).all()
    middle = pictures[:, 16, 16] > 0
    np.testing.assert_array_equal(middle, [BLUE, RED, BLUE, RED])
    assert contact_sheet(pictures, 3).shape == (64, 96, 3)
    inside = turntable(trimesh.Trimesh(box.vertices, box.faces[:, ::-1]), views=1, size=32)[0]
    red, green, _ = inside[16, 16].astype(int)
    assert red > 5 * green  # back faces are marked


def test_metrics_have_their_closed_forms() -> None:
    a, b = (trimesh.creation.box(bounds=[[0, 0, z], [4, 4, z + 0.001]]) for z in (0, 0.1))
    result = compare_surfaces(a, b, [0.08, 0.12], points=20_000)
    assert result.chamfer == pytest.approx(0.1, rel=0.05)
    assert result.f_scores[0.08] < 0.02 and result.f_scores[0.12] > 0.97
    assert result.normal_consistency > 0.99
    left, right = (np.ones((4, 4, 4)) for _ in range(2))
    left[:2], right[1:3] = -1, -1
    assert volume_iou(left, right) == pytest.approx(1 / 3)
    assert volume_iou(np.ones(3), np.ones(3)) == 1
    field = field_from_occupancy(np.indices((8, 8, 8))[0] < 4)
    assert math.isnan(colour_psnr(field, field.colour))
    field = replace(field, colour=field.colour - 1, known=np.ones((8, 8, 8), bool))
    assert colour_psnr(field, field.colour + 2 / 255) == pytest.approx(20 * math.log10(255))
    wrong_far_away = np.where(np.abs(field.distance) < 0.3, -1, 1) * np.ones((3, 8, 8, 8))
    assert colour_psnr(field, wrong_far_away) == math.inf


def test_surface_colours_interpolate_in_linear_light() -> None:
    corners = np.array([[RED, RED, 0 * RED]], np.float32)
    surface = Surface(
        np.eye(3),
        np.array([[0, 1, 2]]),
        corners,
        np.zeros((1, 3, 2), np.float32),
        np.array([-1]),
        np.array([True]),
        (),
    )
    middle = surface.colours(np.array([0]), np.array([[0.25, 0.25, 0.5]]))
    np.testing.assert_allclose(middle, [[0.7354, 0, 0]], atol=1e-3)
