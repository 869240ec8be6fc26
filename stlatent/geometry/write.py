"""Meshes to files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import trimesh
from trimesh.exchange.gltf import export_glb
from trimesh.exchange.obj import export_obj
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

from ..files import writing
from .surface import to_light

WRITABLE = (".glb", ".obj", ".ply")


def write_mesh(mesh: trimesh.Trimesh, path: str | Path) -> None:
    """Write a mesh with its vertex colours or its texture as `.glb`, `.obj` or `.ply`.

    Coordinates are written as they are; glTF viewers take y as up and the unit as a metre. Far from
    the origin, where 32 bits would blur the shape, a `.glb` has a node that moves it there, and a
    `.ply` coordinates of 64 bits; an `.obj` has 8 digits behind the point anyway. Beside
    a textured `.obj` lie its material and picture, named after it. A file of that name is replaced.

    Raises:
        ValueError: another suffix, an empty mesh, or a texture for `.ply`, which has none.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in WRITABLE:
        raise ValueError(f"cannot write {path}; meshes are written as {', '.join(WRITABLE)}")
    if len(mesh.faces) == 0:
        raise ValueError(f"the mesh for {path} is empty: nothing of the field is inside")
    files: dict[str, bytes] = {}
    if suffix == ".glb":
        files[path.name] = _glb(mesh)
    elif suffix == ".obj":
        text, files = _obj(mesh, path.stem)
        files[path.name] = text.encode()
    elif mesh.visual.kind == "texture":
        raise ValueError(f"a .ply file holds no texture; write {path.stem} as .glb or .obj")
    else:
        files[path.name] = _ply(mesh)
    for name, content in files.items():
        _write(path.with_name(name), content)


def _obj(mesh: trimesh.Trimesh, stem: str) -> tuple[str, dict[str, bytes]]:
    if mesh.visual.kind != "texture":
        return export_obj(mesh, include_normals=True), {}
    mesh = mesh.copy()
    mesh.visual.material = mesh.visual.material.to_simple()
    mesh.visual.material.name = stem
    return export_obj(mesh, True, return_texture=True, mtl_name=f"{stem}.mtl", header=None)


def _glb(mesh: trimesh.Trimesh) -> bytes:
    """Dull, where glTF would take a mesh for metal; vertex colours in linear light (glTF 2.0)."""
    offset = mesh.bounds.mean(0).round() if _is_far(mesh) else np.zeros(3)
    if offset.any():
        mesh = mesh.copy()
        mesh.apply_translation(-offset)
    if mesh.visual.kind != "texture":
        colours = mesh.visual.vertex_colors.copy() if mesh.visual.kind else None
        mesh = mesh.copy()
        mesh.visual = TextureVisuals(material=PBRMaterial(metallicFactor=0.0, roughnessFactor=1.0))
        if colours is not None:
            colours[:, :3] = np.round(to_light(colours[:, :3] / 255) * 255)
            mesh.visual.vertex_attributes["color"] = colours
    scene = trimesh.Scene()
    scene.add_geometry(mesh, transform=trimesh.transformations.translation_matrix(offset))
    return export_glb(scene, include_normals=True)


def _ply(mesh: trimesh.Trimesh) -> bytes:
    """As trimesh writes it, but for coordinates of 64 bits where they are needed."""
    content = mesh.export(file_type="ply")
    if not _is_far(mesh):
        return content
    head, body = content.split(b"end_header\n", 1)
    found = re.findall(rb"property (float|uchar) (\w+)", head.partition(b"element face")[0])
    kinds = {name.decode(): "<f4" if kind == b"float" else "u1" for kind, name in found}
    single = np.dtype([*kinds.items()])
    double = np.dtype([(name, "<f8" if name in "xyz" else kinds[name]) for name in kinds])
    rows = np.frombuffer(body, single, len(mesh.vertices)).astype(double)
    for axis, values in zip("xyz", mesh.vertices.T):
        rows[axis] = values
    head = re.sub(rb"property float ([xyz])\n", rb"property double \1\n", head)
    return head + b"end_header\n" + rows.tobytes() + body[single.itemsize * len(rows) :]


def _is_far(mesh: trimesh.Trimesh) -> bool:
    """Whether steps of 32 bits are above a millionth of the mesh's extent."""
    return bool(np.abs(mesh.bounds).max() > 16 * mesh.extents.max())


def _write(path: Path, content: bytes) -> None:
    with writing(path) as partial:
        partial.write_bytes(content)
