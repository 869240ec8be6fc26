"""Variants of a surface: other shapes of the same kind, to train on where meshes are few."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .surface import Surface

ANGLE_DEGREES = 15.0  # deviation of the turn about a random axis
STRETCH = 0.2  # deviation of the logarithm of the stretch along each axis
BEND = 0.06  # greatest amplitude of a wave, relative to the extent
CYCLES = 0.8  # most cycles of a wave over the extent, along each axis


def varied(surface: Surface, seed: int) -> Surface:
    """A surface stretched, bent and turned a little, at random; 0 is the surface itself.

    The mesh is changed and not its field, since a truncated distance that is resampled is no
    distance any more. Bending is so weak that nothing is folded: 2 pi BEND CYCLES 3 is below 1.
    """
    if seed == 0:
        return surface
    rng = np.random.default_rng(seed)
    low, high = surface.vertices.min(0), surface.vertices.max(0)
    extent = (high - low).max()
    points = (surface.vertices - (low + high) / 2) / extent
    points = points * np.exp(rng.normal(0, STRETCH, 3))
    phase, cycles = rng.uniform(0, 2 * np.pi, 3), rng.uniform(-CYCLES, CYCLES, (3, 3))
    amplitude = rng.uniform(0, BEND, 3)
    points = points + amplitude * np.sin(2 * np.pi * points @ cycles + phase)
    points = points @ _turn(rng).T
    return replace(surface, vertices=points * extent + (low + high) / 2)


def _turn(rng: np.random.Generator) -> np.ndarray:
    """A rotation about a random axis `[3, 3]` (Rodrigues' formula)."""
    axis = rng.normal(size=3)
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(rng.normal(0, ANGLE_DEGREES))
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
