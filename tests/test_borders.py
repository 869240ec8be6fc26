"""How visible the borders of blocks are."""

import math

import pytest
import torch
from domains import SIZES, STRIDES, WITH_SPACE

from stlatent.media.borders import border_ratio, worst_border_ratio
from stlatent.model.domains import DOMAINS


def slope(domain, stride, blocks=False):
    """Values that grow evenly along every space axis, or only from block to block."""
    size = [3 if axis.kind == "index" else 4 * f for axis, f in zip(domain.axes, stride)]
    x = torch.zeros(1, 1, *size)
    for dim, (axis, f) in enumerate(zip(domain.axes, stride), start=2):
        if axis.kind == "space":
            steps = torch.arange(x.shape[dim])
            steps = steps // f if blocks else steps / f
            x = x + steps.view(-1, *[1] * (x.ndim - 1 - dim))
    return x


@pytest.mark.parametrize("name", WITH_SPACE)
def test_borders_of_tiles_stand_out_and_those_of_slopes_do_not(name):
    domain, stride, finer = DOMAINS[name], STRIDES[name][0], STRIDES[name][2]
    even, tiled = slope(domain, stride), slope(domain, stride, blocks=True)
    assert border_ratio(even, domain, stride) == pytest.approx(1, abs=1e-3)
    assert border_ratio(tiled, domain, stride) == math.inf
    side = max(stride)
    mixed = border_ratio(even + tiled, domain, stride)  # a step of 1 + 1 / side, and of 1 / side
    assert mixed == pytest.approx(side + 1, rel=1e-3)
    assert 1 < border_ratio(even + tiled, domain, finer) < mixed
    assert worst_border_ratio(even + tiled, domain, STRIDES[name]) == mixed


def test_a_sample_of_one_block_has_no_borders():
    for name, domain in DOMAINS.items():
        x = torch.rand(1, 3, *SIZES[name])
        assert math.isnan(border_ratio(x, domain, [64] * len(domain.axes)))
        assert math.isnan(worst_border_ratio(x, domain, []))
