"""What can be said of shapes that were drawn, without knowing what they should have been."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..geometry.extract import mesh_from_field
from ..geometry.extras import needed
from ..geometry.field import Field
from ..geometry.metrics import volume_iou
from ..geometry.values import Values
from ..model.config import load
from ..train.config import RunConfig
from ..train.data import open_data

MAIN_SHARE = 0.95  # of the volume, for a component to be the main one


def measure_assets(fields: Sequence[Field]) -> dict[str, float]:
    """How whole shapes are, and how much they differ. Rubble of one closed piece passes: whether
    something looks like the data is not measured here.

    Returns:
        closed: share of shapes whose surface is watertight.
        one_main_component: share of shapes in which one component has 95 % of the volume or more.
        closed_and_one_component: share of shapes of which both are true.
        main_component_share: mean share of the volume that the largest component has.
        diversity: 1 - volume IoU of two shapes, mean over all pairs.
    """
    closed = np.array([bool(mesh_from_field(field).is_watertight) for field in fields])
    shares = np.array([main_share(field.inside) for field in fields])
    one = shares >= MAIN_SHARE
    pairs = itertools.combinations(fields, 2)
    apart = [1 - volume_iou(a.distance, b.distance) for a, b in pairs]
    return {
        "assets": len(fields),
        "closed": float(closed.mean()),
        "one_main_component": float(one.mean()),
        "closed_and_one_component": float((closed & one).mean()),
        "main_component_share": float(shares.mean()),
        "diversity": float(np.mean(apart)) if apart else 0.0,
    }


def main_share(inside: np.ndarray) -> float:
    """Share of the voxels inside that the largest connected component has; 0 of nothing."""
    labels, count = needed("scipy.ndimage").label(inside)
    return float(np.bincount(labels[inside]).max() / inside.sum()) if count else 0.0


def trained_on(run: str | Path, count: int) -> list[Field]:
    """The first shapes of a run's training, turned and varied as there.

    Raises:
        ValueError: it is no run folder of shapes.
    """
    config = load(RunConfig, Path(run) / "config.yaml")
    values, data = Values.of(config.model), open_data(config)
    shapes = (data.mixture["shapes", i].values for i in range(count))
    return [values.to_field(x, config.data.fields.band_voxels) for x in shapes]
