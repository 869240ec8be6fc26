"""Colours of shapes near their surface: learned where they are known, and not invented."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from stlatent.checkpoint import build
from stlatent.cli import main
from stlatent.geometry import FieldSettings, band_from_surface, read_surface, surface_of
from stlatent.geometry.band import Band
from stlatent.geometry.metrics import band_colour_psnr, colour_psnr
from stlatent.geometry.write import write_mesh
from stlatent.losses.elbo import LossConfig
from stlatent.media.shape.near import DecodedBlocks, band_of, blocks_of, turned
from stlatent.model.config import ModelConfig, parse
from stlatent.sparse.ladder import SparseLadder
from stlatent.train.sparse import sparse_loss
from stlatent.train.task import Moment
from stlatent.triplane.planes import turn_volume

RED = (219, 64, 64, 255)
CONFIG = {
    "domain": "sparse",
    "channels": 4,
    "likelihood": {"kind": "laplace", "scale": 0.05},
    "stem": {"stride": [4] * 3, "width": 16},
    "levels": [
        {"stride": [16] * 3, "width": 16, "latent": 8},
        {"stride": [8] * 3, "width": 16, "latent": 4},
    ],
}


def cube(colours: object = None) -> trimesh.Trimesh:
    made = trimesh.creation.box((2, 1, 1.5)).subdivide().subdivide()
    if colours is not None:
        made.visual.vertex_colors = np.zeros((len(made.vertices), 4), np.uint8) + np.uint8(colours)
    return made


def band(mesh: trimesh.Trimesh) -> Band:
    return band_from_surface(surface_of(mesh), FieldSettings(resolution=32))


@pytest.fixture(scope="module")
def model() -> SparseLadder:
    torch.manual_seed(0)
    return build(parse(ModelConfig, CONFIG, "config"))


@pytest.fixture(scope="module")
def many() -> Band:
    """Of a different colour at every corner."""
    made = cube()
    shade = np.round(255 * (made.vertices - made.bounds[0]) / made.extents)
    return band(cube(np.column_stack([shade, np.full(len(shade), 255)])))


def test_colours_go_to_blocks_and_back_and_turn_with_the_shape(many: Band) -> None:
    blocks = blocks_of(many, 8, coloured=True)
    again = band_of(blocks, many.band_voxels, many.placement)
    ours, theirs = again.field(), many.field()
    near = np.abs(ours.distance) * many.band_voxels < 2
    assert np.array_equal(ours.known, near) and near.sum() > 1000
    assert np.array_equal(ours.colour[:, near], theirs.colour[:, near])
    axes = ("y", "-z", "x")
    whole = turn_volume(blocks.dense(elsewhere=0), axes)
    assert torch.equal(turned(blocks, axes).dense(elsewhere=0), whole)


def test_psnr_is_that_of_whole_fields(many: Band) -> None:
    noise = np.random.default_rng(0).integers(0, 30, many.colour.shape)
    other = replace(many, colour=np.minimum(many.colour + noise, 255).astype(np.uint8))
    found = band_colour_psnr(many, other)
    assert 20 < found < 30
    assert found == pytest.approx(colour_psnr(many.field(), other.field().colour), abs=0.01)
    assert np.isnan(band_colour_psnr(band(cube()), other))


def test_colours_count_where_they_are_known(model: SparseLadder, many: Band) -> None:
    def pull(shape: Band) -> torch.Tensor:
        """How much the loss depends on what is added to all decoded values, per channel."""
        at = Moment(0, 0.0, torch.Generator().manual_seed(0))
        model.zero_grad()
        sparse_loss(model, blocks_of(shape, 8, coloured=True), LossConfig(), at).total.backward()
        return model.head.conv.bias.grad.view(-1, 4).abs().sum(0)

    assert (pull(many) > 0).all()
    plain = pull(band(cube()))
    assert plain[0] > 0 and (plain[1:] == 0).all()


def test_no_edge_of_what_is_known_is_read(model: SparseLadder) -> None:
    """A plain shape is read as plain, whatever lies beyond the reach of its colours."""
    blocks = blocks_of(band(cube(RED)), 8, coloured=True)
    x = blocks.values.movedim(1, -1).reshape(-1, 4)  # blocks stand together, as the model has them
    colour = model._read(x)[:, 1:]
    assert (x[:, 1:] == 0).all(1).float().mean() > 0.1
    assert (colour.amax(0) - colour.amin(0) < 1e-6).all()


def test_what_has_no_colour_gets_none(many: Band) -> None:
    decoded = blocks_of(many, 8, coloured=True)  # as a model gives colours to anything
    plain = band(cube())
    assert many.route.coloured and not plain.route.coloured
    mesh = DecodedBlocks(decoded, 4.0, plain.placement, plain.route).mesh()
    assert mesh.visual.kind is None
    assert DecodedBlocks(decoded, 4.0, many.placement, many.route).mesh().visual.kind == "vertex"


RUN = """
model: MODEL
data:
  root: ROOT
  cache: CACHE
  fields: {resolution: 32}
  batch_size: 2
  variants: 1
  workers: 0
  validation: {share: 0}
loss: {rate: {weight: 0.1}, prefix: {share: 1.0}}
optimiser: {lr: 2.0e-2, warmup_steps: 10, ema: 0.9, clip: 20.0}
steps: 100
tracker: null
out: OUT
"""


def test_a_plain_red_cube_stays_red_at_every_prefix(tmp_path: Path) -> None:
    """Nothing darkens at the surface; a shape without colours has none when it comes back."""
    meshes, run = tmp_path / "meshes", tmp_path / "run"
    meshes.mkdir()
    write_mesh(cube(RED), meshes / "red.glb")
    cube().export(meshes / "plain.stl")
    places = {"MODEL": str(CONFIG), "ROOT": meshes, "CACHE": tmp_path / "bands", "OUT": run}
    text = RUN
    for name, place in places.items():
        text = text.replace(name, str(place))
    (tmp_path / "run.yaml").write_text(text)
    assert main(["train", str(tmp_path / "run.yaml")]) == 0
    latents = str(tmp_path / "latents")
    assert main(["encode", str(meshes), "--model", str(run), "--out", latents]) == 0
    for levels in ("1", "2"):
        out = tmp_path / levels
        assert main(["decode", latents, "--levels", levels, "--out", str(out)]) == 0
        red = read_surface(out / "red.glb")
        corners = red.colours(np.arange(len(red.faces)), np.full((len(red.faces), 3), 1 / 3))
        off = np.abs(255 * corners - RED[:3])
        assert off.mean() <= 2 and off.max() <= 16  # after seconds of training
        assert not read_surface(out / "plain.glb").coloured.any()
    baked = ["decode", latents, "--texture", "--out", str(tmp_path / "baked")]
    assert main(baked) == 0
    picture = trimesh.load(tmp_path / "baked" / "red.glb", force="mesh").visual
    assert picture.kind == "texture"
    off = np.abs(picture.to_color().vertex_colors[:, :3].mean(0) - RED[:3])
    assert off.max() <= 6
    assert main([*baked, "--format", "ply", "--replace"]) == 2  # which has no textures
