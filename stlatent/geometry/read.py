"""Mesh files of any kind that `trimesh` reads, as one `Surface` each."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image
from trimesh.resolvers import FilePathResolver
from trimesh.visual.material import PBRMaterial, SimpleMaterial, color_image

from ..files import UnreadableError
from .cutout import FAINTEST, FINEST, cut_out
from .extras import needed
from .surface import Surface, areas, pieces, to_light, weld

MESH_SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl", ".off")
GLTF_SUFFIXES = (".glb", ".gltf")  # their colours are in linear light
MAX_PIECES = 100_000
MAX_FACES = 20_000_000
WELD = 1e-6  # vertices closer than this share of the extent are one
MISSING = color_image().convert("RGBA")  # what trimesh puts where a texture is missing


class BadMeshError(UnreadableError):
    """A file that holds no usable shape."""


def read_surface(path: str | Path) -> Surface:
    """The mesh in a file: all nodes of its scene at their places, with their materials' colours.

    Raises:
        BadMeshError: the file cannot be read, is empty, holds values that are not finite, has no
            area, more than 20,000,000 triangles, or falls into more than 100,000 pieces.
    """
    path = Path(path)
    if path.suffix.lower() not in MESH_SUFFIXES:
        raise BadMeshError(path, f"no mesh; meshes end in {' '.join(MESH_SUFFIXES)}")
    if not path.is_file():
        raise BadMeshError(path, "there is no such file")
    needed("scipy")  # or its absence would pass for a fault of every file
    try:
        _check_accessors(path)
        kind, beside = path.suffix.lower().removeprefix("."), FilePathResolver(path)
        beside.file_name = path.suffix  # trimesh fails on one that is not UTF-8
        with open(path, "rb") as file:
            scene = trimesh.load_scene(file, kind, resolver=beside, process=False)
    except Exception as error:  # trimesh lets through whatever its readers raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadMeshError(path, f"cannot be read: {reason[:200]}") from error
    try:
        return surface_of(scene, linear=path.suffix.lower() in GLTF_SUFFIXES)
    except ValueError as error:
        raise BadMeshError(path, str(error)) from error


def _check_accessors(path: Path) -> None:
    """ValueError for a glTF file that claims more zeros than it has bytes: an accessor without a
    view of a buffer stands for so many (glTF 2.0, 5.1), whatever the memory."""
    if path.suffix.lower() not in GLTF_SUFFIXES:
        return
    with open(path, "rb") as file:
        head = file.read(20)  # of a glb: the file's header, and that of its chunk of JSON
        binary = head.startswith(b"glTF")
        length = min(int.from_bytes(head[12:16], "little"), path.stat().st_size)
        text = file.read(length) if binary else head + file.read()
    try:
        accessors = json.loads(text).get("accessors", ())
    except (ValueError, AttributeError):
        raise ValueError("it is no glTF") from None
    for accessor in accessors:
        count = accessor.get("count", 0)
        if "bufferView" not in accessor and count > path.stat().st_size:
            raise ValueError(f"it claims {count:,} values without data")


def surface_of(scene: trimesh.Scene | trimesh.Trimesh, linear: bool = False) -> Surface:
    """What `trimesh` has loaded, as a surface.

    What a material cuts out is no part of it (`cutout.py`); half-transparent is as good as opaque,
    and everything of a material but its base colour is ignored.

    Args:
        linear: whether colours of vertices and materials are linear light, as in glTF files,
            rather than sRGB; textures always are sRGB.

    Raises:
        ValueError: there is no usable shape; the message is the reason.
    """
    scene = trimesh.Scene(scene) if isinstance(scene, trimesh.Trimesh) else scene
    textures: dict[int, np.ndarray] = {}  # by the identity of the picture: materials share them
    parts, count = [], 0
    _check_faces(scene)
    for node in scene.graph.nodes_geometry:
        transform, name = scene.graph[node]
        mesh = scene.geometry[name]
        if not isinstance(mesh, trimesh.Trimesh) or len(mesh.faces) == 0:
            continue
        faces = np.asarray(mesh.faces, np.int64)
        if faces.min() < 0 or faces.max() >= len(mesh.vertices):
            raise ValueError("its faces refer to vertices that are not there")
        corners, uv, texture, coloured = _colours(mesh, textures, linear)
        vertices = np.asarray(mesh.vertices) @ transform[:3, :3].T + transform[:3, 3]
        if (shown := _shown(mesh.visual)) is not None:
            left = np.concatenate([vertices[faces], corners], 2)
            left = cut_out(left, uv, shown, max(scene.extents) / FINEST)
            vertices, faces = left[..., :3].reshape(-1, 3), np.arange(3 * len(left)).reshape(-1, 3)
            corners, uv = np.split(left[..., 3:].astype(np.float32), [3], axis=2)
        texture, coloured = (np.full(len(faces), one) for one in (texture, coloured))
        if np.linalg.det(transform[:3, :3]) < 0:
            faces, corners, uv = faces[:, ::-1], corners[:, ::-1], uv[:, ::-1]
        parts.append((vertices, faces + count, corners, uv, texture, coloured))
        count += len(vertices)
    if not count:
        raise ValueError("holds no triangles" if not parts else "nothing of it is to be seen")
    return _checked(Surface(*map(np.concatenate, zip(*parts)), tuple(textures.values())))


def _check_faces(scene: trimesh.Scene) -> None:
    """A few bytes can ask for a mesh in many places."""
    names = (scene.graph[node][1] for node in scene.graph.nodes_geometry)
    total = sum(len(getattr(scene.geometry[name], "faces", ())) for name in names)
    if total > MAX_FACES:
        raise ValueError(f"has {total:,} triangles; at most {MAX_FACES:,} are taken")


def _checked(raw: Surface) -> Surface:
    """The same surface, welded; ValueError where nothing can be made of it."""
    used = np.unique(raw.faces)
    vertices, faces = raw.vertices[used], np.searchsorted(used, raw.faces)
    if not np.isfinite(vertices).all():
        raise ValueError("has vertices that are not finite numbers")
    extent = np.ptp(vertices, axis=0).max()
    if not extent > 0:
        raise ValueError("all its vertices lie on one point")
    vertices, faces, kept = weld(vertices, faces, extent * WELD)
    if areas(vertices[faces]).sum() <= 1e-12 * extent**2:
        raise ValueError("its faces have no area")
    found = pieces(vertices, faces)
    if found > MAX_PIECES:
        raise ValueError(f"falls into {found:,} loose pieces; at most {MAX_PIECES:,} are taken")
    return replace(
        raw,
        vertices=vertices,
        faces=faces,
        corners=raw.corners[kept],
        uv=raw.uv[kept],
        texture=raw.texture[kept],
        coloured=raw.coloured[kept],
    )


def _colours(
    mesh: trimesh.Trimesh, textures: dict[int, np.ndarray], linear: bool
) -> tuple[np.ndarray, np.ndarray, int, bool]:
    """Corner colours and uv of each face; texture, and whether coloured, of all. New textures are
    added."""
    faces, visual = np.asarray(mesh.faces), mesh.visual
    uv = np.zeros((len(faces), 3, 2), np.float32)
    texture, tints = -1, []
    if visual.kind == "vertex":
        tints.append(visual.vertex_colors[faces])
    elif visual.kind == "face":
        tints.append(visual.face_colors[:, None])
    elif visual.kind == "texture":
        picture, factor = _material(visual.material)
        if picture is not None and visual.uv is not None and len(visual.uv) == len(mesh.vertices):
            uv = np.nan_to_num(np.asarray(visual.uv, np.float32))[faces]
            if id(picture) not in textures:
                textures[id(picture)] = np.asarray(picture.convert("RGB"))
            texture = list(textures).index(id(picture))
        own = visual.vertex_attributes.get("color")
        tints += [] if factor is None else [factor]
        tints += [] if own is None else [np.asarray(own)[faces]]
    corners = np.ones((len(faces), 3, 3), np.float32)
    for tint in tints:
        share = _share(tint[..., :3])
        corners *= share if linear else to_light(share)
    known = bool(tints) or texture >= 0
    return corners, uv, texture, known


def _shown(visual: object) -> np.ndarray | None:
    """Which pixels of a material are to be seen, bool `[H, W]`; None where all are."""
    material = getattr(visual, "material", None)
    mode = getattr(material, "alphaMode", None)
    if mode not in ("MASK", "BLEND"):
        return None
    picture, factor = _material(material)
    opaque = 1.0 if factor is None else float(_share(factor)[3])
    alpha = np.ones((1, 1))
    if picture is not None and visual.uv is not None:
        alpha = np.asarray(picture.convert("RGBA"))[..., 3] / 255
    cutoff = material.alphaCutoff
    least = FAINTEST if mode == "BLEND" else 0.5 if cutoff is None else cutoff
    shown = opaque * alpha >= least
    return None if shown.all() else shown


def _share(values: np.ndarray) -> np.ndarray:
    """Colours in [0, 1], however they are stored."""
    return values / (np.iinfo(values.dtype).max if values.dtype.kind in "iu" else 1)


def _material(material: object) -> tuple[Image.Image | None, np.ndarray | None]:
    """Texture and colour of a material; None for what it does not say."""
    if isinstance(material, PBRMaterial):
        picture, factor = material.baseColorTexture, material.baseColorFactor
    elif isinstance(material, SimpleMaterial):
        picture, factor = material.image, None
        if picture is None:
            factor = material.diffuse
    else:
        return None, None
    if picture is not None and picture.size == MISSING.size and picture.convert("RGBA") == MISSING:
        picture = None
    return picture, factor
