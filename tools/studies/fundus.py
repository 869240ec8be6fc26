"""The parts of a drawn eye: vessels, lesions, background. `synthetic.retina` puts them together."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

LESIONS = (4, 10)  # per retina, where they find room
LESION_RADII_PX = (1.0, 2.0)
CLEARANCE_PX = 5.5  # of a lesion's centre from vessels, disc and border; twice that from another
Rng = np.random.Generator


class Vessel(NamedTuple):
    """Where a vessel starts, and how it goes on; the picture's size is 1, its centre 0."""

    row: float
    column: float
    heading: float  # radians from rightwards to downwards
    curl: float  # radians per length
    width: float
    length: float
    depth: float  # of its colour, 0 to 1


def vessels(rng: Rng, size: int, disc: np.ndarray, fovea: np.ndarray) -> np.ndarray:
    """Arcades from the disc around the macula, and what branches off.

    Returns row, column, width and depth of `[points, 4]`, in a picture of size 1 and centre 0.
    """
    growing: list[Vessel] = []
    points: list[tuple[float, ...]] = []
    for up in (-1, 1):
        for angle, bend, share in ((rng.normal(80, 5), -2.3, 1.0), (rng.normal(128, 6), 0.5, 0.7)):
            for depth, side in ((0.95, 4), (0.75, -9)):  # a vein, and a paler, thinner artery
                heading = -up * math.radians(angle + side + rng.normal(0, 2))
                curl = -up * (bend + rng.normal(0, 0.15))
                width = rng.uniform(0.019, 0.023) * depth * share
                growing.append(Vessel(*disc.tolist(), heading, curl, width, 0.8, depth))
    while growing:
        line, branches = _grown(rng, growing.pop(), fovea, size)
        points += line
        growing += branches
    return np.array(points)


def _grown(
    rng: Rng, vessel: Vessel, fovea: np.ndarray, size: int
) -> tuple[list[tuple[float, ...]], list[Vessel]]:
    """Points along one vessel, which tapers, and what branches off it, on alternate sides."""
    row, column, heading, curl, width, length, depth = vessel
    step, wobble, points, branches = max(0.004, 0.5 / size), 0.0, [], []
    left, side = rng.uniform(0.07, 0.15), rng.choice([-1, 1])  # until the next branch
    gone = np.arange(0, length, step) / length
    for done, jolt in zip(gone.tolist(), rng.normal(size=len(gone)).tolist()):
        wobble = 0.93 * wobble + jolt
        heading += (curl + wobble) * step
        row, column = row + step * math.sin(heading), column + step * math.cos(heading)
        thick = width * (1 - 0.7 * done)
        if math.hypot(row, column) > 0.49 or math.hypot(row - fovea[0], column - fovea[1]) < 0.06:
            break
        points.append((row, column, thick, depth * min(1.0, 0.55 + thick / 0.02)))
        left -= step
        if left < 0 and thick > 0.8 / size:
            turn, rest = side * rng.uniform(0.5, 1.0), rng.uniform(0.35, 0.75) * length * (1 - done)
            thin = thick * rng.uniform(0.5, 0.75)
            branches.append(Vessel(row, column, heading + turn, -1.2 * turn, thin, rest, depth))
            left, side = rng.uniform(0.07, 0.16), -side
    return points, branches


def place_lesions(
    rng: Rng, size: int, vessels: np.ndarray, disc: np.ndarray, fovea: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Centres `[N, 2]` and radii `[N]` in pixels."""
    wanted, middle = rng.integers(LESIONS[0], LESIONS[1] + 1), (size - 1) / 2
    chosen: list[np.ndarray] = []
    for point in rng.uniform(0, size - 1, (400, 2)):
        far = np.hypot(*(vessels[:, :2] - point).T) - vessels[:, 2] / 2
        room = [
            far.min(),
            0.47 * size - math.dist(point, (middle, middle)),
            math.dist(point, disc) - 0.09 * size,
            math.dist(point, fovea) - 0.04 * size,
            *(math.dist(point, other) / 2 for other in chosen),
        ]
        if min(room) >= CLEARANCE_PX:
            chosen.append(point)
        if len(chosen) == wanted:
            break
    return np.array(chosen).reshape(-1, 2), rng.uniform(*LESION_RADII_PX, len(chosen))


def soft_step(x: np.ndarray) -> np.ndarray:
    """The logistic function: 0 far below 0, 1 far above; never overflows."""
    return 0.5 * (1 + np.tanh(x / 2))


def splat(
    size: int, centres: np.ndarray, radii: np.ndarray, depths: np.ndarray, soft_px: float
) -> np.ndarray:
    """Soft discs, the deepest one of each pixel `[size, size]`."""
    canvas = np.zeros((size, size))
    if not len(centres):
        return canvas
    reach = math.ceil(radii.max() + 2 * soft_px)
    near = np.arange(-reach, reach + 1)
    cell = np.rint(centres).astype(int)
    rows, columns = cell[:, 0, None, None] + near[:, None], cell[:, 1, None, None] + near
    rows, columns = np.broadcast_arrays(rows, columns)
    far = np.hypot(rows - centres[:, 0, None, None], columns - centres[:, 1, None, None])
    edge = (radii[:, None, None] - far) / soft_px
    value = depths[:, None, None] * soft_step(2.5 * edge)
    fits = (rows >= 0) & (rows < size) & (columns >= 0) & (columns < size)
    np.maximum.at(canvas, (rows[fits], columns[fits]), value[fits])
    return canvas


def background(rng: Rng, size: int, disc: np.ndarray, fovea: np.ndarray) -> np.ndarray:
    """The eye without its vessels `[3, size, size]` in [0, 1], black around the round aperture."""
    y, x = np.mgrid[:size, :size].astype(float)
    middle = (size - 1) / 2
    radius = np.hypot(y - middle, x - middle) / size
    tone = np.array([0.80, 0.40, 0.19]) * (1 + rng.normal(0, [0.04, 0.09, 0.12]))
    light = 1.08 - 1.5 * radius**2 + 0.05 * _clouds(rng, size)
    shade = 1 - np.array([0.22, 0.36, 0.3])[:, None, None] * _bump(y, x, fovea, 0.085 * size)
    rgb = tone[:, None, None] * light * shade
    halo = 0.35 * _bump(y, x, disc, 0.11 * size)
    pale = np.array([0.97, 0.80, 0.52])[:, None, None]
    cup = np.array([1.0, 0.93, 0.74])[:, None, None]
    across = np.hypot((y - disc[0]) * 0.93, x - disc[1]) / (rng.uniform(0.068, 0.08) * size)
    rgb += halo * (pale - rgb) * 0.6
    for colour, rim, steep in ((pale, 1.0, 14), (cup, 0.5, 8)):
        rgb += (colour - rgb) * soft_step(steep * (rim - across))
    aperture = soft_step((0.48 - radius) * size * 2)
    return np.clip(rgb, 0, 1) * aperture


def _bump(y: np.ndarray, x: np.ndarray, centre: np.ndarray, sigma: float) -> np.ndarray:
    return np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2 * sigma**2))


def _clouds(rng: Rng, size: int) -> np.ndarray:
    """Smooth noise of variance 1, waves of an eighth of the picture and longer."""
    frequency = np.fft.fftfreq(size) * size
    gain = np.exp(-(frequency[:, None] ** 2 + frequency**2) / (2 * 4.0**2))
    noise = np.fft.ifft2(np.fft.fft2(rng.normal(size=(size, size))) * gain).real
    return noise / noise.std()
