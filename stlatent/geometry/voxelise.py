"""From a mesh to a field.

The sign comes from winding numbers of the faces that bound a solid, which small holes hardly
disturb. The distance is exact in the band around the surface that a distance transform finds, and
truncated beyond. What has no inside becomes a shell about a voxel thick, and walls thinner than
that swell to it, since the grid would lose them; the openings of a surface are closed where the
winding number is one half.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import kernels
from .cube import Placement, by_slab, to_index, voxel_size
from .extras import needed
from .field import COLOUR_BAND_VOXELS, Field, FieldSettings, Route
from .orient import sheets, wound_outwards
from .scan import lattice
from .surface import Surface, areas, normals

SPACING = 0.25  # voxels between the points at which colours are taken
SHELL = 0.6  # half the thickness of a shell in voxels: a grid can miss a sheet of half a voxel
AROUND = np.ones((3, 3, 3), bool)


def field_from_surface(surface: Surface, settings: FieldSettings | None = None) -> Field:
    """Truncated signed distance and colour of a surface on a grid.

    Raises:
        ValueError: the packages of the extra `shapes` are missing.
    """
    settings = settings or FieldSettings()
    shape = (settings.resolution,) * 3
    placement = Placement.around(surface.vertices, settings.margin, settings.axes)
    body = _body(placement.to_cube(surface.vertices), surface.faces, placement.mirrors)
    winding = by_slab(lambda centres, _: body.winding(centres), shape)
    marks = _mark(surface, body, winding > 0.5)
    nearest, apart = _nearest_mark(marks, shape)
    distance = _distance(body, marks, apart, settings.band_voxels + SHELL)
    distance[winding > 0.5] *= -1
    distance -= _swelling(body, marks, voxel_size(shape))[nearest]
    _close_openings(distance, winding, settings.band_voxels)
    colour, known = _colour(marks, nearest, distance)
    area = areas(body.triangles)
    return Field(
        np.clip(distance / settings.band_voxels, -1, 1).astype(np.float32),
        colour,
        known,
        settings.band_voxels,
        placement,
        Route(turned=int(body.turned.sum()), sheets=float(area @ ~body.solid / area.sum())),
    )


@dataclass(frozen=True)
class _Body:
    """A mesh in the cube.

    Attributes:
        vertices: `[V, 3]`.
        faces: `[F, 3]`, wound outwards.
        turned: which of them had to be turned for that `[F]`.
        solid: which of them bound a solid `[F]`; the others are sheets.
    """

    vertices: np.ndarray
    faces: np.ndarray
    turned: np.ndarray
    solid: np.ndarray

    @property
    def triangles(self) -> np.ndarray:
        return self.vertices[self.faces]

    def winding(self, points: np.ndarray) -> np.ndarray:
        """How often the solid faces wind around each point `[n]`."""
        if not self.solid.any():
            return np.zeros(len(points))
        return kernels.winding_number(self.vertices, self.faces[self.solid], points)


def _body(vertices: np.ndarray, faces: np.ndarray, mirrored: bool) -> _Body:
    faces, turned = wound_outwards(vertices, faces, mirrored)
    return _Body(vertices, faces, turned, ~sheets(vertices, faces))


@dataclass(frozen=True)
class _Marks:
    """The voxels that the visible surface passes through, M in all.

    Attributes:
        voxel: their flat index `[M]`.
        face: one of the faces in each `[M]`, and a `spot` of it there `[M, 3]`.
        colour: mean colour of the surface in each, in [0, 1] `[M, 3]`.
        known: whether anything is known of that `[M]`.
        visible: the faces that are not buried in a solid `[F]`.
    """

    voxel: np.ndarray
    face: np.ndarray
    spot: np.ndarray
    colour: np.ndarray
    known: np.ndarray
    visible: np.ndarray


def _mark(surface: Surface, body: _Body, solid: np.ndarray) -> _Marks:
    shape = np.array(solid.shape)
    buried = needed("scipy.ndimage").binary_erosion(solid, AROUND).ravel()
    triangles = body.vertices[surface.faces]  # wound as the colours are
    visible = np.zeros(len(triangles), bool)
    parts = []
    for face, weights in lattice(triangles, SPACING * voxel_size(shape)):
        points = np.einsum("nk,nkc->nc", weights, triangles[face])
        index = np.rint(to_index(points, shape)).astype(np.int64).clip(0, shape - 1)
        voxel = np.ravel_multi_index(index.T, shape)
        seen = ~buried[voxel]
        face, weights, points, voxel = face[seen], weights[seen], points[seen], voxel[seen]
        visible[face] = True
        known = surface.coloured[face]
        colours = np.zeros((len(face), 3))
        if known.any():
            colours[known] = surface.colours(face[known], weights[known])
        columns = np.column_stack([colours, known])
        parts.append(_summed(voxel, face, points, columns))
    voxel, face, spot, sums = _summed(*map(np.concatenate, zip(*parts)))
    colour = sums[:, :3] / np.maximum(sums[:, 3:], 1)
    return _Marks(voxel, face, spot, colour, sums[:, 3] > 0, visible)


def _summed(
    voxel: np.ndarray, face: np.ndarray, spot: np.ndarray, columns: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Each voxel once, with one of its faces and its spot there, and the sums of its columns."""
    voxel, first, same = np.unique(voxel, return_index=True, return_inverse=True)
    sums = [np.bincount(same, column, len(voxel)) for column in columns.T]
    return voxel, face[first], spot[first], np.stack(sums, 1)


def _nearest_mark(marks: _Marks, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Of each voxel: the nearest of the marks, and how many voxels away that is."""
    free = np.ones(shape, bool)
    free.ravel()[marks.voxel] = False
    apart, index = needed("scipy.ndimage").distance_transform_edt(free, return_indices=True)
    nearest = np.searchsorted(marks.voxel, np.ravel_multi_index(tuple(index), shape))
    return nearest.astype(np.int32), apart


def _distance(body: _Body, marks: _Marks, apart: np.ndarray, reach: float) -> np.ndarray:
    """Distance from each voxel to the visible faces, in voxels, up to `reach`."""
    faces = body.faces[marks.visible]
    voxel = voxel_size(apart.shape)
    near = apart < reach + 1  # the surface is less than a voxel from the centre of a mark

    def measure(centres: np.ndarray, here: slice) -> np.ndarray:
        found = np.full(len(centres), reach)
        exact = near[here].ravel()
        found[exact] = kernels.distance(body.vertices, faces, centres[exact]) / voxel
        return found

    return by_slab(measure, apart.shape)


def _swelling(body: _Body, marks: _Marks, voxel: float) -> np.ndarray:
    """How far outwards the surface must move at each of the marks `[M]` to be seen, in voxels.

    A sheet becomes a shell of 2 SHELL voxels, and a wall thinner than a voxel about as thick.
    """
    inwards = -normals(body.triangles[marks.face]) * voxel
    thin = np.flatnonzero(body.winding(marks.spot + inwards) <= 0.5)
    below, beyond = np.zeros((len(thin), 1)), np.ones((len(thin), 1))
    for _ in range(3):  # bisects the thickness of the wall
        middle = (below + beyond) / 2
        inside = body.winding(marks.spot[thin] + middle * inwards[thin])[:, None] > 0.5
        below, beyond = np.where(inside, middle, below), np.where(inside, beyond, middle)
    swelling = np.zeros(len(marks.voxel), np.float32)
    swelling[thin] = SHELL * (1 - below[:, 0])
    return swelling


def _close_openings(distance: np.ndarray, winding: np.ndarray, reach: float) -> None:
    """Where the sign changes away from any face, measure to the surface of winding number 1/2."""
    crossings = []
    for axis in range(3):
        d, w = np.moveaxis(distance, axis, 0), np.moveaxis(winding, axis, 0)
        away = np.minimum(np.abs(d[:-1]), np.abs(d[1:])) > 1
        index = np.argwhere(((w[:-1] > 0.5) != (w[1:] > 0.5)) & away)
        a, b = w[:-1][tuple(index.T)], w[1:][tuple(index.T)]
        along = index[:, 0] + (a - 0.5) / (a - b)
        crossings.append(np.insert(index[:, 1:].astype(float), axis, along, axis=1))
    points = np.concatenate(crossings)
    if not len(points):
        return
    around = np.zeros(distance.shape, bool)
    around[tuple(np.rint(points).astype(int).T)] = True
    around = needed("scipy.ndimage").binary_dilation(around, AROUND, int(np.ceil(reach)) + 1)
    old = distance[around]
    found, _ = needed("scipy.spatial").cKDTree(points).query(np.argwhere(around))
    distance[around] = np.copysign(np.minimum(np.abs(old), found), old)


def _colour(
    marks: _Marks, nearest: np.ndarray, distance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Colour `[3, X, Y, Z]` in [-1, 1] in steps of 8 bits, and where it is known."""
    known = marks.known[nearest] & (np.abs(distance) < COLOUR_BAND_VOXELS)
    colour = np.zeros((3, *distance.shape), np.float32)
    pixels = np.round(marks.colour[nearest[known]] * 255).astype(np.float32)
    colour[:, known] = (pixels / np.float32(127.5) - 1).T
    return colour, known
