"""Render short clips of coloured models that move: a folder per class, motion and object.

python tools/render_moving.py ASSETS --out moving

ASSETS holds the CC0 packs of Kay Lousberg (github.com/KayKit-Game-Assets) as glb files, each pack
in a folder of its name. The same seed gives the same clips. DIR/roll-taxi/0003.mp4 is one of them.
"""

from __future__ import annotations

import argparse
import colorsys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from stlatent.cli.outcome import command
from stlatent.files import resumable
from stlatent.geometry.preview import LIGHT, OVERSAMPLED, camera, view
from stlatent.geometry.read import read_surface
from stlatent.geometry.surface import Surface
from stlatent.media.video.write import Mp4Writer

OBJECTS = {
    "barrel": "kaykit-dungeon-remastered/barrel_large.glb",
    "chair": "kaykit-furniture/chair_A.glb",
    "house": "kaykit-medieval-hexagon/building_home_A_blue.glb",
    "police": "kaykit-city-builder/car_police.glb",
    "pumpkin": "kaykit-halloween/pumpkin_orange_jackolantern.glb",
    "taxi": "kaykit-city-builder/car_taxi.glb",
    "tree": "kaykit-medieval-hexagon/tree_single_A.glb",
    "wizard": "kaykit-character-adventures/Mage.glb",
}
FPS = 12.0
BOUNCE = 0.45  # of the speed, left after each touch
Rng = np.random.Generator
Way = dict[str, np.ndarray]  # of every frame: turn, roll (radians), across, height (half pictures)


def turn(rng: Rng, time: np.ndarray) -> Way:
    """On a turntable, to the left or to the right."""
    return {"turn": rng.choice([-1, 1]) * rng.uniform(1.1, 1.6) * np.pi * time}


def drop(rng: Rng, time: np.ndarray) -> Way:
    """From above the picture to the ground, where it bounces twice."""
    fall, top = rng.uniform(0.38, 0.5), rng.uniform(1.3, 1.6)
    height = top * np.maximum(1 - (time / fall) ** 2, 0)
    begin, speed = fall, 1.0
    for _ in range(2):
        speed *= BOUNCE
        end = begin + 2 * speed * fall
        hop = top * speed**2 * (1 - ((time - begin) / (end - begin) * 2 - 1) ** 2)
        height += np.where((time > begin) & (time < end), hop, 0)
        begin = end
    return {"height": height}


def slide(rng: Rng, time: np.ndarray) -> Way:
    """Across the picture as it stands."""
    return {"across": rng.choice([-1, 1]) * rng.uniform(0.5, 0.7) * (2 * time - 1)}


def roll(rng: Rng, time: np.ndarray) -> Way:
    """Across the picture, head over heels."""
    across = slide(rng, time)["across"]
    return {"across": across, "roll": rng.uniform(0, 2 * np.pi) - across * rng.uniform(2.2, 2.8)}


MOTIONS: dict[str, Callable[[Rng, np.ndarray], Way]] = {
    "drop": drop,
    "roll": roll,
    "slide": slide,
    "turn": turn,
}


def render(surface: Surface, motion: str, rng: Rng, frames: int = 17, size: int = 64) -> np.ndarray:
    """A clip, uint8 `[frames, size, size, 3]`: start, size, light and room are drawn by `rng`."""
    time = np.linspace(0, 1, frames)
    way = MOTIONS[motion](rng, time)
    still = np.zeros(frames)
    turned, rolled, across, height = (
        way.get(name, still) for name in ("turn", "roll", "across", "height")
    )
    low, high = surface.vertices.min(0), surface.vertices.max(0)
    triangles = (surface.triangles - (low + high) / 2) / np.linalg.norm(high - low) * 2
    triangles = triangles * rng.uniform(0.74, 0.88)
    start, elevation = rng.uniform(0, 2 * np.pi), rng.uniform(14, 24)
    light = LIGHT + rng.normal(0, 0.25, 3)
    light *= rng.uniform(1, 1.25) / np.linalg.norm(light)
    ground, room = rng.uniform(-0.8, -0.7), Room(rng, size * OVERSAMPLED)
    pictures = []
    for k in range(frames):
        seen = triangles @ camera(start + turned[k], elevation).T
        cos, sin = np.cos(rolled[k]), np.sin(rolled[k])
        seen = seen @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
        width = np.ptp(seen[..., 0])
        seen += [across[k], ground + height[k] - seen[..., 1].min(), 0]
        back = room.with_shadow(across[k], ground, width, height[k])
        pictures.append(view(surface, seen, size, light, back))
    return np.stack(pictures)


class Room:
    """A wall and a floor, each of one pale colour."""

    def __init__(self, rng: Rng, size: int) -> None:
        grid = 1 - (np.arange(size) + 0.5) / size * 2
        self.y, self.x = np.meshgrid(grid, -grid, indexing="ij")
        wall, floor = (
            colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.05, 0.3), value)
            for value in (rng.uniform(0.75, 0.95), rng.uniform(0.5, 0.7))
        )
        below = np.clip((rng.uniform(-0.4, -0.25) - self.y) * size / 2, 0, 1)[..., None]
        self.picture = np.array(wall) * (1 - below) + np.array(floor) * below

    def with_shadow(self, x: float, y: float, width: float, height: float) -> np.ndarray:
        """The room beneath a thing of some width that hangs at some height over (x, y)."""
        spread = width * (0.5 + 0.2 * height)
        far = ((self.x - x) / spread) ** 2 + ((self.y - y) / (0.3 * spread)) ** 2
        dark = 0.5 / (1 + 2 * height) * np.clip(1.2 - far, 0, 1)
        return self.picture * (1 - dark[..., None])


@command("render_moving")
@resumable()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("assets", type=Path, help="folder of the packs")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=48, metavar="N", help="of each class (48)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of the first (0)")
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--size", type=int, default=64, help="pixels a side (64)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    for o, (thing, place) in enumerate(OBJECTS.items()):
        surface = read_surface(options.assets / place)
        for m, motion in enumerate(MOTIONS):
            for k in range(options.first, options.first + options.clips):
                path = options.out / f"{motion}-{thing}" / f"{k:04d}.mp4"
                if path.exists():
                    continue
                rng = np.random.default_rng([options.seed, o, m, k])
                clip = render(surface, motion, rng, options.frames, options.size)
                with Mp4Writer(path, clip.shape[1:3], FPS) as file:
                    file.write(clip)
        print(f"{options.out}: {thing}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
