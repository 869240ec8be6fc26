"""A shape near its surface only, on blocks of voxels: memory grows with the surface.

    resolution voxels per edge of the cube, in blocks of 4^3; a block is there where the surface is
    within 3 voxels of it. Where none is, all is outside or all is inside (`Band.filled`).

The grid is that of `cube.py`: everything is measured at the centres of voxels.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from .cube import Placement, from_index, to_index
from .extract import in_parts
from .extras import needed
from .field import Field, Measured, Route, unpacked

BLOCK = 4  # voxels per edge of a block
CORNERS = np.indices((2, 2, 2)).reshape(3, -1).T


@dataclass(frozen=True)
class Band(Measured):
    """A shape on the blocks of voxels near its surface.

    Attributes:
        resolution: voxels per edge of the cube, a multiple of 4.
        blocks: int `[K, 3]`: which blocks are there, each once, in the order of their indices.
        distance: float32 `[K, 4, 4, 4]` in [-1, 1]: distance to the surface in units of
            `band_voxels` voxels, truncated; negative inside of what has an inside.
        colour: uint8 `[K, 4, 4, 4, 3]`, RGB as on a screen, of the nearest point of the surface.
        known: where colour is known, bool `[K, 4, 4, 4]`.
        band_voxels: distance at which the distance is truncated, in voxels.
        placement: where the cube lies in the asset's coordinates.
        route: how the band was made.

    Raises:
        ValueError: the blocks are not in order, not on the grid, or of other sizes.
    """

    resolution: int
    blocks: np.ndarray
    distance: np.ndarray
    colour: np.ndarray
    known: np.ndarray
    band_voxels: float
    placement: Placement = dataclasses.field(default_factory=Placement)
    route: Route = dataclasses.field(default_factory=Route)

    def __post_init__(self) -> None:
        count, side = len(self.blocks), self.resolution // BLOCK
        if self.resolution % BLOCK or self.resolution < BLOCK:
            raise ValueError(f"resolution is {self.resolution}; give a multiple of {BLOCK}")
        voxels = (count, *[BLOCK] * 3)
        sizes = (self.blocks.shape, self.distance.shape, self.colour.shape, self.known.shape)
        if sizes != ((count, 3), voxels, (*voxels, 3), voxels):
            raise ValueError(f"blocks, distance, colour and known are of sizes {sizes}")
        if count and not 0 <= self.blocks.min() <= self.blocks.max() < side:
            raise ValueError(f"a block lies outside of a grid of {side} per edge")
        if (np.diff(np.ravel_multi_index(self.blocks.T, self._grid)) <= 0).any():
            raise ValueError("blocks are not in the order of their indices, each once")

    def save(self, path: str | Path) -> None:
        """Write one compressed `.npz`."""
        self._pack(
            path,
            resolution=self.resolution,
            blocks=self.blocks.astype(np.int32),
            distance=self.distance,
            colour=self.colour[self.known],
        )

    @staticmethod
    def load(path: str | Path) -> Band:
        """What `save` has written; ValueError where it is anything else."""
        with unpacked(path, "band") as (file, distance, known, about):
            blocks = file["blocks"].astype(np.int64)
            colour = np.zeros((*known.shape, 3), np.uint8)
            colour[known] = file["colour"]
            resolution = int(file["resolution"])
            return Band(resolution, blocks, distance, colour, known, *about)

    @property
    def _grid(self) -> tuple[int, int, int]:
        return (self.resolution // BLOCK,) * 3

    @cached_property
    def table(self) -> np.ndarray:
        """Which block lies where on their grid, int32 `[n, n, n]`; -1 for none."""
        table = np.full(self._grid, -1, np.int32)
        table[tuple(self.blocks.T)] = np.arange(len(self.blocks))
        return table

    @cached_property
    def filled(self) -> np.ndarray:
        """Where no block is: whether all is inside there, bool `[n, n, n]`.

        Places that hang together are on the side of the voxels around them. Where these differ, as
        a decoded surface has holes, each place is on the side of the nearest of them.
        """
        empty, image = self.table < 0, needed("scipy.ndimage")
        votes = self._votes()
        label, count = image.label(empty)
        pro, con = (image.sum_labels(votes * one > 0, label, range(count + 1)) for one in (1, -1))
        inside = (con > 0)[label] & empty
        mixed = ((pro > 0) & (con > 0))[label] & empty
        if mixed.any():
            unknown = ~(empty & (votes != 0))
            near = image.distance_transform_edt(
                unknown, return_distances=False, return_indices=True
            )
            inside[mixed] = votes[tuple(near[:, mixed])] < 0
        return inside

    def _votes(self) -> np.ndarray:
        """Of every place, how many of the voxels that it borders on are outside, less those inside,
        `[n, n, n]`; 0 where a block is."""
        votes = np.zeros(self._grid)
        for axis in range(3):
            for step, layer in ((-1, 0), (1, BLOCK - 1)):
                beside = self.blocks + step * np.eye(3, dtype=int)[axis]
                here = np.flatnonzero(((beside >= 0) & (beside < len(votes))).all(1))
                side = np.sign(self.distance[here].take(layer, axis + 1)).sum((1, 2))
                np.add.at(votes, tuple(beside[here].T), side)
        return votes * (self.table < 0)

    def in_blocks(self, side: int, coloured: bool) -> tuple[np.ndarray, np.ndarray]:
        """The same in blocks of `side` voxels per edge, a multiple of 4: their places int64
        `[M, 3]` in order, and float32 `[M, C, side, side, side]`. What of these lies beyond the
        band is far from the surface, on the side that it is on.

        coloured: red, green and blue come after the distance, in [-1, 1]; an unknown colour is 0 in
            all three, which no colour of 8 bits is.
        """
        factor, count = side // BLOCK, self.resolution // side
        place = np.ravel_multi_index((self.blocks // factor).T, (count,) * 3)
        kept, row = np.unique(place, return_inverse=True)
        index = np.stack(np.unravel_index(kept, (count,) * 3), 1)
        inside = np.indices((factor,) * 3).reshape(3, -1).T
        small = index[:, None] * factor + inside  # blocks of the band in each
        filled = self.filled[tuple(small.transpose(2, 0, 1))]
        channels = 4 if coloured else 1
        values = np.zeros((len(kept), *[factor] * 3, *[BLOCK] * 3, channels), np.float32)
        beyond = np.where(filled, np.float32(-1), np.float32(1))
        values[..., 0] = beyond.reshape(-1, *[factor] * 3, 1, 1, 1)
        here = (row.reshape(-1), *(self.blocks % factor).T)
        values[(*here, ..., 0)] = self.distance
        if coloured:
            pixels = self.colour / np.float32(127.5) - 1
            values[(*here, ..., slice(1, None))] = pixels * self.known[..., None]
        return index, values.transpose(0, 7, 1, 4, 2, 5, 3, 6).reshape(-1, channels, *[side] * 3)

    def slab(self, start: int, stop: int) -> np.ndarray:
        """Distances float32 `[stop - start, n, n]` of a part of the whole grid."""
        first, last = start // BLOCK, -(-stop // BLOCK)
        values = np.where(self.filled[first:last], np.float32(-1), np.float32(1))
        for axis in range(3):
            values = values.repeat(BLOCK, axis)
        here = np.flatnonzero((self.blocks[:, 0] >= first) & (self.blocks[:, 0] < last))
        at = self.blocks[here] - [first, 0, 0]
        parts = values.reshape(-1, BLOCK, self._grid[1], BLOCK, self._grid[2], BLOCK)
        parts.transpose(0, 2, 4, 1, 3, 5)[tuple(at.T)] = self.distance[here]
        return values[start - first * BLOCK : stop - first * BLOCK]

    @cached_property
    def _first(self) -> np.ndarray:
        """Of every place, the number of its first voxel among those of all blocks and of two more:
        the first of them is all outside, the second all inside."""
        block = np.where(self.table < 0, len(self.blocks) + self.filled, self.table)
        return block.reshape(-1).astype(np.int64) * BLOCK**3

    def _with_beyond(self, values: np.ndarray, outside: float = 0, inside: float = 0) -> np.ndarray:
        """Values of the voxels of blocks, one after the other, and of these two."""
        values = values.reshape(-1, *values.shape[4:])
        ends = [
            np.full((BLOCK**3, *values.shape[1:]), end, values.dtype) for end in (outside, inside)
        ]
        return np.concatenate([values, *ends])

    @cached_property
    def _distances(self) -> np.ndarray:
        return self._with_beyond(self.distance, 1, -1)[:, None]

    @cached_property
    def _knowns(self) -> np.ndarray:
        return self._with_beyond(self.known)[:, None]

    @cached_property
    def _colours(self) -> np.ndarray:
        """Red, green and blue, each 0 where unknown, and whether they are known."""
        return np.concatenate([self._with_beyond(self.colour) * self._knowns, self._knowns], 1)

    def distance_at(self, points: np.ndarray) -> np.ndarray:
        """Trilinear distance `[n]` at points of the cube `[n, 3]`, in [-1, 1]."""
        return self._mixed(points, self._distances)[:, 0]

    def _known_at(self, points: np.ndarray) -> np.ndarray:
        """Whether any of the voxels around points knows a colour, bool `[n]`."""
        return self._mixed(points, self._knowns)[:, 0] > 0

    def colour_at(self, points: np.ndarray) -> np.ndarray:
        """Colour `[n, 3]` in [-1, 1] at points of the cube: trilinear over the known voxels."""
        mixed = self._mixed(points, self._colours)
        return mixed[:, :3] / np.maximum(mixed[:, 3:], 1e-6) / 127.5 - 1

    def _mixed(self, points: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Trilinear mixture of what the voxels around each point hold, by `values` of all voxels
        `[N, channels]`; the edge is repeated."""
        index = to_index(points, (self.resolution,) * 3).clip(0, self.resolution - 1)
        low = np.minimum(np.floor(index).astype(np.int64), self.resolution - 2)
        shares, count = (1 - (index - low), index - low), self._grid[0]
        # along each axis on its own: 8 corners are 2 voxels times 2 times 2
        near = [np.divmod(low + step, BLOCK) for step in (0, 1)]
        places = [place * [count * count, count, 1] for place, _ in near]
        voxels = [voxel * [BLOCK * BLOCK, BLOCK, 1] for _, voxel in near]
        total = 0.0
        for corner in CORNERS:
            place, voxel, share = (
                [one[c][:, axis] for axis, c in enumerate(corner)]
                for one in (places, voxels, shares)
            )
            weight = share[0] * share[1] * share[2]
            first = self._first.take(place[0] + place[1] + place[2])
            total = total + weight[:, None] * values.take(first + voxel[0] + voxel[1] + voxel[2], 0)
        return total

    def at(self, resolution: int) -> Band:
        """The same with other voxels, a multiple of 4 per edge: between the own ones, distance and
        colour are interpolated.

        Raises:
            ValueError: it is no multiple of 4.
        """
        ratio = resolution / self.resolution
        if not len(self.blocks):
            return dataclasses.replace(
                self, resolution=resolution, band_voxels=self.band_voxels * ratio
            )
        near = np.zeros((resolution // BLOCK,) * 3, bool)
        count = 1 + max(1, int(np.ceil(ratio)))  # so many places of a block lie in all new ones
        for place in np.indices((count,) * 3).reshape(3, -1).T / (count - 1):
            corner = np.floor((self.blocks + place) * ratio - place * 1e-6).astype(np.int64)
            near[tuple(corner.clip(0, len(near) - 1).T)] = True
        blocks = np.argwhere(near)
        inside = np.indices((BLOCK,) * 3).reshape(3, -1).T
        index = (blocks[:, None] * BLOCK + inside).reshape(-1, 3)
        points, shape = from_index(index, (resolution,) * 3), (len(blocks), *[BLOCK] * 3)
        pixels = np.round((in_parts(self.colour_at, points) + 1) * 127.5).clip(0, 255)
        return Band(
            resolution,
            blocks,
            in_parts(self.distance_at, points).astype(np.float32).reshape(shape),
            pixels.astype(np.uint8).reshape(*shape, 3),
            in_parts(self._known_at, points).reshape(shape),
            self.band_voxels * ratio,
            self.placement,
            self.route,
        )

    def field(self) -> Field:
        """The same on the whole grid."""
        n = self.resolution
        known = np.zeros((n // BLOCK, n // BLOCK, n // BLOCK, BLOCK, BLOCK, BLOCK), bool)
        pixels = np.zeros((*known.shape, 3), np.float32)
        known[tuple(self.blocks.T)] = self.known
        pixels[tuple(self.blocks.T)] = self.colour / np.float32(127.5) - 1
        whole = (0, 3, 1, 4, 2, 5)
        known = known.transpose(whole).reshape(n, n, n)
        colour = pixels.transpose(6, *whole).reshape(3, n, n, n) * known
        return Field(
            self.slab(0, n),
            np.ascontiguousarray(colour),
            known,
            self.band_voxels,
            self.placement,
            self.route,
        )
