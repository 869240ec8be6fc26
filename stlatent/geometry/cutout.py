"""Cut-outs: where a material is not to be seen, there is no shape, as of leaves and grates that are
pictures on cards (glTF 2.0, 3.9.4).

A triangle that is to be seen in part falls into four, and these again, until the border lies within
a 512th of the extent; so what is left is triangles like all others.
"""

from __future__ import annotations

import numpy as np

FINEST = 512  # edges at the border are this part of the extent, half a voxel at 256^3
MOST_FACES = 2**19  # of one mesh; beyond, the border is coarser
FAINTEST = 1 / 255  # alpha below which nothing of what is blended is to be seen


def cut_out(corners: np.ndarray, uv: np.ndarray, shown: np.ndarray, longest: float) -> np.ndarray:
    """The parts of triangles that are to be seen.

    Args:
        corners: of each triangle `[F, 3, C]`: three coordinates, and whatever is interpolated.
        uv: texture coordinates `[F, 3, 2]`; v points up, and the picture is repeated.
        shown: which pixels of the texture are to be seen, bool `[H, W]`.
        longest: edges at the border are no longer than this.

    Returns:
        `[G, 3, C + 2]`: the same of what is left, texture coordinates last.
    """
    counts = np.zeros((shown.shape[0] + 1, shown.shape[1] + 1), np.int32)
    shown.cumsum(0, out=counts[1:, 1:])
    counts.cumsum(1, out=counts)
    left, whole = np.concatenate([corners, uv], 2), []
    while len(left):
        share = _share(left[..., -2:], shown, counts)
        whole.append(left[share == 1])
        left = left[(share > 0) & (share < 1)]
        edges = np.linalg.norm(left[..., :3] - np.roll(left[..., :3], 1, 1), axis=2).max(1)
        if sum(map(len, whole)) + 4 * len(left) > MOST_FACES:
            longest = np.inf
        fine = ~(edges > longest)  # whatever is not finite, too, which would never become so
        whole.append(left[fine & _at(left[..., -2:].mean(1), shown)])
        left = _quartered(left[~fine])
    return np.concatenate([np.empty((0, 3, corners.shape[2] + 2)), *whole])


def _share(uv: np.ndarray, shown: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Of the pixels under the box around each triangle, what part is to be seen `[F]`; `counts` are
    sums of `shown` over all rows above and columns to the left `[H + 1, W + 1]`."""
    size, (height, width) = np.array(shown.shape), shown.shape

    def above(row: np.ndarray, column: np.ndarray) -> np.ndarray:
        """The same sums of the picture repeated."""
        (down, row), (across, column) = np.divmod(row, height), np.divmod(column, width)
        rest = down * counts[-1, column] + across * counts[row, -1] + counts[row, column]
        return down * across * int(counts[-1, -1]) + rest

    spot = np.stack([(1 - uv[..., 1]) * height, uv[..., 0] * width], 2)
    low, high = np.floor(spot.min(1)).astype(np.int64), np.ceil(spot.max(1)).astype(np.int64)
    extent = np.maximum(high - low, 1)
    (top, left), (bottom, right) = (low % size).T, (low % size + extent).T
    seen = above(bottom, right) - above(top, right) - above(bottom, left) + above(top, left)
    return np.where((extent > size).any(1), shown.mean(), seen / extent.prod(1))


def _at(uv: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Whether the pixels at points `[F, 2]` are to be seen."""
    height, width = shown.shape
    row, column = np.floor((1 - uv[:, 1]) * height), np.floor(uv[:, 0] * width)
    return shown[row.astype(np.int64) % height, column.astype(np.int64) % width]


def _quartered(corners: np.ndarray) -> np.ndarray:
    """Each triangle `[F, 3, C]` as four `[4 F, 3, C]`, wound as it is."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
    parts = (a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)
    return np.concatenate([np.stack(part, 1) for part in parts])
