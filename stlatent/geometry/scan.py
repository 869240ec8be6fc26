"""From triangles to points: pixels that a triangle covers, and points spread over its face."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from .surface import areas

POINTS = 500_000  # made at a time, which bounds the memory


def rasterise(
    triangles: np.ndarray, size: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Pixels whose centres lie in triangles, on a picture of `size` x `size` pixels.

    Args:
        triangles: `[F, 3, 2]` in pixels; the centre of pixel (i, j) is at (i + 0.5, j + 0.5).

    Yields:
        triangle `[n]`, pixel (i, j) `[n, 2]` and barycentric coordinates `[n, 3]`, in parts.
    """
    first = np.clip(np.ceil(triangles.min(1) - 0.5), 0, size).astype(np.int64)
    last = np.clip(np.floor(triangles.max(1) - 0.5), -1, size - 1).astype(np.int64)
    extent = np.maximum(last - first + 1, 0)
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    doubled = _cross(b - a, c - a)
    for face, k in _spread(np.where(doubled != 0, extent.prod(1), 0)):
        pixel = first[face] + np.stack([k // extent[face, 1], k % extent[face, 1]], 1)
        p = pixel + 0.5
        u = _cross(c[face] - b[face], p - b[face]) / doubled[face]
        v = _cross(a[face] - c[face], p - c[face]) / doubled[face]
        barycentric = np.stack([u, v, 1 - u - v], 1)
        inside = (barycentric >= 0).all(1)
        yield face[inside], pixel[inside], barycentric[inside]


def lattice(triangles: np.ndarray, spacing: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Points spread over triangles, no further apart than `spacing`.

    Args:
        triangles: `[F, 3, 3]`.

    Yields:
        triangle `[n]` and barycentric coordinates `[n, 3]`, in parts.
    """
    edges = np.linalg.norm(triangles - np.roll(triangles, 1, 1), axis=2)
    longest = edges.max(1)
    height = 2 * areas(triangles) / np.maximum(longest, np.finfo(float).tiny)
    along = np.ceil(longest / spacing).astype(np.int64) + 1
    across = np.ceil(height / spacing).astype(np.int64) + 1
    apex = (edges.argmax(1) + 1) % 3  # edge k runs from corner k - 1 to corner k
    rows = np.arange(3)
    for face, k in _spread(along * across):
        u = (k // across[face] + 0.5) / along[face]
        v = (k % across[face] + 0.5) / across[face]
        turned = np.stack([v, (1 - v) * (1 - u), (1 - v) * u], 1)  # apex, and the longest edge
        yield face, np.take_along_axis(turned, (rows - apex[face][:, None]) % 3, 1)


def _spread(counts: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each owner as often as it counts, and 0, 1, 2, ... for each of them; in parts."""
    part = np.cumsum(counts) // POINTS
    bounds = [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), len(counts)]
    for start, stop in pairwise(bounds):
        some = counts[start:stop]
        owner = np.repeat(np.arange(start, stop), some)
        k = np.arange(len(owner)) - np.repeat(np.cumsum(some) - some, some)
        if len(owner):
            yield owner, k


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
