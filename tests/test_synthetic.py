"""Drawn retinas and clips: what is said to be in them is there, where it is said to be."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from synthetic import (
    CIRCLING,
    DOTS,
    STRIPES,
    TRANSLATING,
    lesion_detector,
    lesions_found,
    moving_shapes,
    retina,
)
from torch import Tensor

SEEDS = range(12)


def test_seeds_and_sizes_alone_decide() -> None:
    one, same, other = retina(3, 96), retina(3, 96), retina(4, 96)
    assert torch.equal(one.image, same.image) and torch.equal(one.positions, same.positions)
    assert not torch.equal(one.image, other.image)
    torch.rand(3)  # no global state is read
    assert torch.equal(moving_shapes(3).video, moving_shapes(3).video)
    assert not torch.equal(moving_shapes(3).video, moving_shapes(4).video)


@pytest.mark.parametrize("size", [64, 128])
def test_lesions_are_small_dark_red_dots_where_they_are_said_to_be(size: int) -> None:
    for eye in map(lambda seed: retina(seed, size), SEEDS):
        assert eye.image.shape == (3, size, size) and eye.image.abs().max() <= 1
        assert 0 < len(eye.positions) == len(eye.radii) <= 10
        for (row, column), radius in zip(eye.positions.round().int().tolist(), eye.radii):
            patch = eye.image[:, row - 4 : row + 5, column - 4 : column + 5]
            red, green, blue = patch[:, 4, 4]
            assert red > green > blue
            dark = patch[1] < (patch[1].amax() + green) / 2  # half of the dip in green
            assert 1 <= dark.sum() <= 1.5 * torch.pi * (radius + 0.5) ** 2


@pytest.mark.parametrize(
    ("size", "noise", "least_recall", "least_precision"),
    [(64, 0.0, 0.95, 0.98), (128, 0.0, 0.99, 0.99), (128, 0.06, 0.97, 0.9)],
)
def test_the_detector_finds_what_it_says(
    size: int, noise: float, least_recall: float, least_precision: float
) -> None:
    hits = found = there = 0
    for eye in map(lambda seed: retina(seed, size), SEEDS):
        positions = lesion_detector(eye.image + noise * torch.randn(eye.image.shape))
        hits += lesions_found(positions, eye.positions)
        found, there = found + len(positions), there + len(eye.positions)
    assert hits >= least_recall * there and hits >= least_precision * found


def test_lost_lesions_are_not_found() -> None:
    eye = retina(0)
    coarse = F.interpolate(F.avg_pool2d(eye.image[None], 8), scale_factor=8, mode="bilinear")[0]
    assert lesions_found(lesion_detector(coarse), eye.positions) == 0
    assert lesions_found(torch.zeros(0, 2), eye.positions) == 0
    twice = torch.cat([eye.positions, eye.positions + 0.5])
    assert lesions_found(twice, eye.positions) == len(eye.positions)


def body_centres(video: Tensor) -> Tensor:
    """Row and column of the brighter part, frame by frame `[T, 2]`."""
    weight = (video - video.amin((1, 2, 3), keepdim=True)).sum(0)
    weight = weight * (weight > 0.3 * weight.max())
    rows = torch.arange(video.shape[2], dtype=torch.float32)
    total = weight.sum((1, 2))
    return torch.stack([weight.sum(2) @ rows, weight.sum(1) @ rows], -1) / total[:, None]


@pytest.mark.parametrize("texture", [STRIPES, DOTS])
def test_motion_is_the_way_of_the_body(texture: int) -> None:
    for seed in SEEDS:
        straight = body_centres(moving_shapes(seed, 17, 64, TRANSLATING, texture).video)
        spread = torch.linalg.svdvals(straight - straight.mean(0))
        assert spread[1] < 0.1 * spread[0]
        circle = body_centres(moving_shapes(seed, 17, 64, CIRCLING, texture).video)[:-1]
        radius = (circle - circle.mean(0)).norm(dim=1)
        assert radius.min() > 8 and radius.max() / radius.min() < 1.2


def test_texture_is_in_fine_detail_alone() -> None:
    for seed in SEEDS:
        stripes, dots = (moving_shapes(seed, 5, 64, texture=t).video for t in (STRIPES, DOTS))
        change = stripes - dots
        coarse = F.avg_pool3d(change, (1, 8, 8))
        assert change.square().mean() > 50 * coarse.square().mean()
        assert moving_shapes(seed, 5, 64, texture=DOTS).texture == DOTS


def test_labels_are_drawn_evenly_and_shapes_are_as_asked() -> None:
    clips = [moving_shapes(seed, 1, 32) for seed in range(40)]
    assert {(clip.motion, clip.texture) for clip in clips} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert clips[0].video.shape == (3, 1, 32, 32) and clips[0].video.dtype == torch.float32


def test_wrong_input_is_named() -> None:
    with pytest.raises(ValueError, match="32 pixels"):
        retina(0, 32)
    with pytest.raises(ValueError, match="motion is 2"):
        moving_shapes(0, motion=2)
    with pytest.raises(ValueError, match="0 frames"):
        moving_shapes(0, frames=0)
