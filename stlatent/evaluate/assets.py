"""What can be said of shapes that were drawn: how whole they are, how much they differ, and how
near they come to those that a model was trained on and to those that it never saw."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from ..geometry.field import Field
from ..geometry.flaws import Flaws
from ..geometry.likeness import likeness, nearest
from ..geometry.metrics import volume_iou
from ..media.registry import medium_of
from ..model.config import load
from ..train.config import RunConfig
from ..train.data import open_data
from ..triplane.planes import symmetries, turn_volume

SIDE = 32  # voxels per edge at which shapes are compared with others
MOST = 1000  # shapes trained on that draws are compared with


def measure_assets(fields: Sequence[Field]) -> dict[str, float]:
    """How whole shapes are, and how much they differ.

    Returns:
        assets: how many.
        valid: share of shapes that an eye would take for whole, see `Flaws.valid`.
        loose, thin, gaps, cut: means of their flaws, see `Flaws`.
        diversity: 1 - volume IoU of two shapes, mean over all pairs.
    """
    flaws = [Flaws.of_field(field) for field in fields]
    pairs = itertools.combinations(fields, 2)
    apart = [1 - volume_iou(a.distance, b.distance) for a, b in pairs]
    means = np.mean([[f.valid, f.loose, f.thin, f.gaps, f.cut] for f in flaws], 0).tolist()
    names = ("valid", "loose", "thin", "gaps", "cut")
    differ = {"diversity": float(np.mean(apart)) if apart else 0.0}
    return {"assets": len(fields)} | dict(zip(names, means, strict=True)) | differ


class Beside:
    """The shapes of a run, beside which draws are measured.

    Raises:
        ValueError: it is no run folder of shapes, or holds nothing that can be read.
    """

    def __init__(self, run: str | Path) -> None:
        config = load(RunConfig, Path(run) / "config.yaml")
        known = medium_of(config.model).known(config.data)
        self.medium = medium_of(config.model.model_copy(update=known))
        self.medium.check_solid()
        self.data = open_data(config)

    def measure(self, drawn: Sequence[Field]) -> dict[str, object]:
        """What is known of draws beside what they were learned from.

        Returns:
            data: as many shapes that were trained on, turned and varied as there, measured as draws
                are.
            nearest_trained_on: voxels of a grid of 32 from a draw, in whichever of its turns and
                reflections comes nearest, to the nearest of up to 1,000 shapes that were trained
                on, mean; of copies, turned ones included, it is 0. Of a shape with variants one is
                compared with.
            coverage, mmd, neighbour: of the held-back shapes, see `Likeness`; left out where none
                are held back.
        """
        solids = [at_side(field.inside) for field in drawn]
        learned = (at_side(field.inside) for field in self._trained_on(MOST))
        found = {"data": measure_assets([*self._trained_on(len(drawn))])}
        found["nearest_trained_on"] = nearest(map(self._turned, solids), learned)
        if self.data.held_out:
            held = map(self.medium.solid, self.data.held_out.values())
            new = asdict(likeness(solids, (at_side(field.inside) for field in held)))
            found |= {name: new[name] for name in ("coverage", "mmd", "neighbour")}
        return found

    def _turned(self, solid: np.ndarray) -> Iterator[np.ndarray]:
        """In every way in which y stays up, as data sets with turned copies have it; or in all in
        which the run has shown shapes, where these are more."""
        shown = self.data.config.data
        values = torch.from_numpy(solid)[None, None]
        for axes in symmetries(upright=shown.upright or not shown.turned):
            yield turn_volume(values, axes)[0, 0].numpy()

    def _trained_on(self, most: int) -> Iterator[Field]:
        """The first shapes of training, in its order, at most each of them once."""
        count = min(most, len(self.data.set.kinds["shapes"].items))
        readings = (self.data.mixture["shapes", i] for i in range(count))
        return (self.medium.solid(self.data.set.collate([one]).values) for one in readings)


def at_side(inside: np.ndarray) -> np.ndarray:
    """A solid on 32 voxels per edge, of which each holds what any of those inside it does."""
    small = np.zeros((SIDE,) * 3, bool)
    small[tuple((np.argwhere(inside) * SIDE // max(inside.shape)).T)] = True
    return small
