"""What hangs in the air beside a drawn shape is left out, and nothing else."""

import torch
from domains import SPARSE_CONFIG

from stlatent.checkpoint import build
from stlatent.jobs.sample import draw_samples
from stlatent.media.shape.crumbs import without_crumbs
from stlatent.model.config import ModelConfig, parse
from stlatent.sparse.blocks import Blocks

BAND, SIDE = 4.0, 8  # voxels


def balls(*of_samples, resolution=48):
    """Samples of coloured balls `(x, y, z, radius)`, in voxels, in all blocks of the cube."""
    n = torch.arange(resolution).float()
    places = torch.stack(torch.meshgrid(n, n, n, indexing="ij"), -1)
    found = []
    for own in of_samples:
        away = [(places - torch.tensor(ball[:3])).norm(dim=-1) - ball[3] for ball in own]
        away = torch.stack([torch.full_like(places[..., 0], 9), *away]).amin(0)
        found.append(torch.stack([(away / BAND).clamp(-1, 1), *[torch.full_like(away, 0.5)] * 3]))
    cut = torch.stack(found).unfold(2, SIDE, SIDE).unfold(3, SIDE, SIDE).unfold(4, SIDE, SIDE)
    values = cut.permute(0, 2, 3, 4, 1, 5, 6, 7).flatten(0, 3)
    counts = [torch.arange(k) for k in (len(found), *[resolution // SIDE] * 3)]
    return Blocks(torch.cartesian_prod(*counts), values, resolution, len(found))


def test_small_parts_go_and_large_ones_stay_in_every_sample():
    large, half, crumb = (16.0, 24, 24, 10), (38.0, 24, 24, 6), (38.0, 38, 38, 0.3)
    apart = balls((large, half, crumb), (half, crumb))
    whole = balls((large, half), (half,))
    found = without_crumbs(apart, BAND).values
    assert torch.equal(found[:, 0] < 0, whole.values[:, 0] < 0)
    assert torch.equal(found[:, 1:], apart.values[:, 1:])


def test_a_crumb_at_a_side_of_the_cube_is_not_beside_what_is_at_the_other():
    crumb = (47.0, 24, 24, 0.3)
    found = without_crumbs(balls([(10.0, 24, 24, 11), crumb]), BAND)
    assert torch.equal(found.values[:, 0] < 0, balls([(10.0, 24, 24, 11)]).values[:, 0] < 0)


def test_what_is_whole_and_what_is_empty_stay_as_they_are():
    for blocks in (balls([(24.0, 24, 24, 12)]), balls([])):
        assert torch.equal(without_crumbs(blocks, BAND).values, blocks.values)


def test_what_a_ladder_draws_is_without_them(monkeypatch):
    levels = [{"stride": [n] * 3, "width": 8, "latent": 2} for n in (16, 8)]
    given = SPARSE_CONFIG | {"levels": levels, "cube": {"resolution": 48}}
    model = build(parse(ModelConfig, given, "config"))
    ball, crumb = (24.0, 24, 24, 12), (44.0, 44, 44, 0.3)
    monkeypatch.setattr(model, "sample", lambda *_: balls([ball, crumb]))
    for drawn in draw_samples(model, (48,) * 3, 2, None):
        assert torch.equal(drawn.values[:, 0] < 0, balls([ball]).values[:, 0] < 0)
