"""Ladders whose coarse levels decide where finer ones exist."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import ship_model
import torch
import trimesh
from domains import SPARSE_CONFIG
from PIL import Image

import stlatent
from stlatent.checkpoint import build, save
from stlatent.cli import main
from stlatent.export import export
from stlatent.geometry import FieldSettings, band_from_surface, mesh_from_band, surface_of
from stlatent.geometry.preview import turntable
from stlatent.geometry.whereabouts import Shape
from stlatent.media import medium_of
from stlatent.media.encoder import About
from stlatent.media.output import Output
from stlatent.media.sample import Sample
from stlatent.media.shape.encode import copies
from stlatent.media.shape.near import band_of, blocks_of, turned
from stlatent.media.shape.near_medium import SparseShapes
from stlatent.media.shape.refine import refine_blocks
from stlatent.model.choose import Draw
from stlatent.model.config import ModelConfig, parse
from stlatent.model.domains import SPARSE, VOXEL
from stlatent.model.past import Past
from stlatent.sparse.blocks import Blocks, joined
from stlatent.sparse.cells import Cells
from stlatent.sparse.ladder import SparseLadder
from stlatent.sparse.latents import SparseLatents
from stlatent.sparse.marks import MarkPrior
from stlatent.sparse.places import Places
from stlatent.store.reader import LatentStore
from stlatent.triplane.planes import turn_volume

CONFIG = SPARSE_CONFIG | {
    "levels": [
        {"stride": [32] * 3, "width": 24, "latent": 4, "groups": 2},
        {"stride": [16] * 3, "width": 24, "latent": 3},
        {"stride": [8] * 3, "width": 16, "latent": 2},
    ],
    "cube": {"resolution": 64},
}


def config(**changes: object) -> ModelConfig:
    return parse(ModelConfig, CONFIG | changes, "config")


@pytest.fixture(scope="module")
def model() -> SparseLadder:
    """Not trained, but no longer as it was made, so that nothing is 0 by chance."""
    torch.manual_seed(0)
    made = build(config())
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def shapes() -> Blocks:
    """A torus, a rod and an open sheet: of different numbers of blocks."""
    torus = trimesh.creation.torus(1.0, 0.3)
    rod = trimesh.creation.cylinder(0.1, 3.0)
    sheet = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3]])
    settings = FieldSettings(resolution=64)
    bands = [band_from_surface(surface_of(mesh), settings) for mesh in (torus, rod, sheet)]
    found = joined([blocks_of(band, 8) for band in bands])
    assert len({len(found.one(sample).values) for sample in range(3)}) == 3
    return found


def test_a_convolution_is_the_dense_one_where_cells_are() -> None:
    torch.manual_seed(0)
    whole = torch.rand(2, 9, 9, 9) < 0.2
    cells = Cells(whole.nonzero()[torch.randperm(int(whole.sum()))], 9)
    places = Places((1,), cells)
    for inputs, outputs, groups in ((6, 4, 1), (6, 6, 6)):
        weight = torch.randn(outputs, inputs // groups, 3, 3, 3, requires_grad=True)
        bias = torch.randn(outputs)
        x = torch.randn(len(cells), inputs, requires_grad=True)
        y = SPARSE.conv(x, weight, bias, groups, places)
        grid = torch.zeros(2, 9, 9, 9, inputs).index_put(cells.index.unbind(1), x).movedim(-1, 1)
        dense = VOXEL.conv(grid, weight, bias, groups, Past()).movedim(1, -1)
        dense = dense[cells.index.unbind(1)]
        assert torch.allclose(y, dense, atol=1e-5)
        noise = torch.randn_like(y)
        ours = torch.autograd.grad((y * noise).sum(), (x, weight))
        theirs = torch.autograd.grad((dense * noise).sum(), (x, weight))
        assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(ours, theirs, strict=True))


def test_a_band_goes_to_blocks_and_back() -> None:
    mesh = trimesh.creation.icosphere()
    band = band_from_surface(surface_of(mesh), FieldSettings(resolution=64))
    blocks = blocks_of(band, 8)
    again = band_of(blocks, band.band_voxels, band.placement)
    assert np.array_equal(again.slab(0, 64), band.slab(0, 64))
    axes = ("y", "-z", "x")
    whole = turn_volume(blocks.dense(elsewhere=0), axes)
    assert torch.equal(turned(blocks, axes).dense(elsewhere=0), whole)


def test_finer_levels_exist_in_marked_cells_alone(model: SparseLadder, shapes: Blocks) -> None:
    found = model.encode(shapes)
    coarser = found.places.levels[0]
    assert len(found.levels[0]) == 3 * 2**3
    for level in (1, 2):
        cells, marks = found.places.levels[level], found.marks[level - 1]
        assert len(found.levels[level]) == len(cells) == 8 * int(marks.sum())
        parents = torch.cat([cells.index[:, :1], cells.index[:, 1:] // 2], 1)
        assert marks[coarser.find(parents)].all()
        coarser = cells
    # and the blocks of the input are the marked cells of the last level
    marked = coarser.index[found.marks[-1]]
    assert {*map(tuple, marked.tolist())} == {*map(tuple, shapes.index.tolist())}
    assert 0 < len(found.levels[2]) < 3 * 8**3


def test_every_prefix_decodes_and_all_levels_give_the_blocks_of_the_input(
    model: SparseLadder, shapes: Blocks
) -> None:
    found = model.encode(shapes)
    for levels in (1, 2, 3):
        decoded = model.decode(found, levels, Draw(generator=torch.Generator().manual_seed(0)))
        assert decoded.batch == 3 and decoded.resolution == 64
        assert decoded.values.abs().max() <= 1
        prefix = SparseLatents(found.levels[:levels], found.marks[:levels], 64, 3)
        again = model.decode(prefix, draw=Draw(generator=torch.Generator().manual_seed(0)))
        assert torch.equal(decoded.values, again.values)
    assert torch.equal(decoded.index, shapes.index)
    whole = model(shapes)
    places = whole.latents.places
    assert torch.allclose(
        decoded.values, places.blocks(whole.parameters.clamp(-1, 1), 64, 3).values, atol=1e-5
    )


def test_a_new_ladder_is_a_good_code_before_any_training(shapes: Blocks) -> None:
    new = build(config()).eval()
    with torch.no_grad():
        decoded = new.decode(new.encode(shapes))
    error = (decoded.values - shapes.values).abs().mean()
    assert error < 0.5 * (shapes.values - shapes.values.mean()).abs().mean()


def test_a_batch_gives_what_its_shapes_give_alone(model: SparseLadder, shapes: Blocks) -> None:
    together = model.encode(shapes)
    decoded = model.decode(together)
    for sample in range(3):
        alone = model.encode(shapes.one(sample))
        for level in range(3):
            mine = together.places.levels[level].sample == sample
            assert torch.allclose(together.levels[level][mine], alone.levels[level], atol=1e-4)
            assert torch.equal(together.marks[level][mine], alone.marks[level])
            assert torch.allclose(together.group_kl[level][sample], alone.group_kl[level][0])
        one = model.decode(alone)
        assert torch.allclose(decoded.one(sample).values, one.values, atol=1e-4)


def test_bits_are_finite_and_those_of_marks_are_what_the_prior_gave_them(
    model: SparseLadder, shapes: Blocks
) -> None:
    found = model.encode(shapes)
    for level, groups in enumerate(found.group_kl):
        assert groups.shape == (3, 3 if level == 0 else 2)  # marks last
        assert torch.isfinite(groups).all() and (groups > 0).all()
    marks = [step for step in found.steps if isinstance(step.prior, MarkPrior)]
    for step in marks:
        given = torch.sigmoid(step.prior.logits)
        given = torch.where(step.posterior.mean, given, 1 - given)
        assert torch.allclose(step.posterior.kl(step.prior), -given.log(), atol=1e-5)


def test_the_bound_is_a_bound(model: SparseLadder, shapes: Blocks) -> None:
    """What many draws say of log p(x) lies above the mean of single ones, which is the bound that
    divergences give."""
    rod, single = shapes.one(1), []
    noise = torch.Generator().manual_seed(0)
    for _ in range(48):
        out = model(rod, Draw(generator=noise))
        nats = model.likelihood.values(out.parameters, out.target).sum()
        ratios = [
            step.posterior.kl(step.prior).sum()
            if isinstance(step.prior, MarkPrior)
            else -step.posterior.log_ratio(step.prior, step.z).sum()
            for step in out.latents.steps
        ]
        single.append(
            (float(-nats - sum(ratios)), float(-nats - sum(z.sum() for z in out.latents.kl)))
        )
    weights, bounds = torch.tensor(single, dtype=torch.float64).T
    error = weights.std() / len(weights) ** 0.5
    assert abs(weights.mean() - bounds.mean()) < 5 * error
    assert weights.logsumexp(0) - np.log(len(weights)) > bounds.mean()


def test_latents_on_grids_are_the_same(model: SparseLadder, shapes: Blocks) -> None:
    found = model.encode(shapes)
    grids = model.grids(found)
    for level, grid in enumerate(grids):
        there = grid[:, -1] != 0
        assert int(there.sum()) == len(found.levels[level])
        assert (grid.movedim(1, -1)[~there] == 0).all()
    again = model.from_grids(grids)
    assert all(torch.equal(a, b) for a, b in zip(again.levels, found.levels, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(again.marks, found.marks, strict=True))


def test_draws_differ_hold_what_is_held_and_repeat(model: SparseLadder, shapes: Blocks) -> None:
    found = model.encode(shapes.one(0))

    def draw(seed: int, held: SparseLatents | None = None) -> Blocks:
        generator = torch.Generator().manual_seed(seed)
        return model.sample((64, 64, 64), held=held, generator=generator)

    assert torch.equal(draw(0).values, draw(0).values)
    assert not torch.equal(draw(0).values, draw(1).values)
    held = replace(SparseLatents(found.levels[:1], found.marks[:1], 64))
    coarse = {tuple(i) for i in (draw(0, held).index[:, 1:] // 4).tolist()}
    marked = found.places.levels[0].index[found.marks[0]][:, 1:]
    assert coarse <= {tuple(i) for i in marked.tolist()}


def test_a_decoded_shape_is_written_as_a_picture_that_turns(
    model: SparseLadder, shapes: Blocks, tmp_path: Path
) -> None:
    medium, sample = medium_of(model), Sample("mesh", (64, 64, 64))
    how = Output("webp")
    medium.check_output(how)
    rod = medium.take(model, shapes.one(1), sample)
    assert medium.write(tmp_path / f"rod{medium.ending('mesh', how)}", [rod], sample, how) == 1
    with Image.open(tmp_path / "rod.webp") as picture:
        assert picture.n_frames == 24
        first, side = (np.asarray(seek(picture, k), float) for k in (0, 7))
    assert np.abs(first - side).mean() > 1
    expected = turntable(rod.mesh(), 1)[0]
    assert np.abs(first - expected).mean() < 4  # WebP loses a little


def seek(picture: Image.Image, frame: int) -> Image.Image:
    picture.seek(frame)
    return picture.convert("RGB")


def test_nothing_decodes_to_nothing(model: SparseLadder) -> None:
    cells = torch.zeros(8, 8), torch.zeros(8, dtype=torch.bool)
    rest = [(torch.zeros(0, n), torch.zeros(0, dtype=torch.bool)) for n in (3, 2)]
    levels, marks = zip(cells, *rest, strict=True)
    decoded = model.decode(SparseLatents(levels, marks, 64))
    assert not len(decoded.values)
    assert not len(medium_of(model).objects(model, decoded)[0].faces)


def test_a_model_is_one_file_and_loads_to_the_same_digits(
    model: SparseLadder, shapes: Blocks, tmp_path: Path
) -> None:
    save(model, tmp_path / "model.safetensors", {"step": 3})
    again = stlatent.load(tmp_path)
    ours, theirs = model.encode(shapes), again.encode(shapes)
    assert all(torch.equal(a, b) for a, b in zip(ours.levels, theirs.levels, strict=True))
    assert torch.equal(model.decode(ours).values, again.decode(theirs).values)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"channels": 3}, "channels is 3"),
        ({"likelihood": "sdf"}, "likelihood is 'sdf'"),
        ({"exact": True}, "exact is not for domain 'sparse'"),
        ({"cell": "nvae"}, "cell 'nvae' is not for domain 'sparse'"),
        ({"stem": {"stride": [4, 4, 2], "width": 8}}, r"stride \[4, 4, 2\] differs"),
        ({"stem": {"stride": [3] * 3, "width": 8}}, "does not divide"),
        (
            {
                "levels": [{"stride": [6] * 3, "width": 8, "latent": 2}],
                "stem": {"stride": [2] * 3, "width": 8},
            },
            "multiple of 4",
        ),
    ],
)
def test_a_wrong_config_costs_one_line(changes: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words) as error:
        config(
            **({"stem": {"stride": [2] * 3, "width": 8}} if "levels" in changes else {}) | changes
        )
    assert "\n" not in str(error.value)


def test_copies_that_are_turned_lie_as_the_asset_does() -> None:
    """Whatever its own axes are: 8 ways, none of them like another, all the same mesh."""
    parts = [trimesh.creation.box((4, 1, 2)), trimesh.creation.box((1, 3, 1))]
    asset = trimesh.util.concatenate([parts[0], parts[1].apply_translation((1.5, 2, 0.5))])
    settings = FieldSettings(resolution=32, axes=("x", "z", "-y"))
    band = band_from_surface(surface_of(asset), settings)
    blocks, where = (
        blocks_of(band, 4),
        Shape(placement=band.placement, band_voxels=band.band_voxels, route=band.route),
    )
    about, seen = About("a.glb", "a.glb", 0, "mesh", shape=where), set()
    as_it_is = mesh_from_band(band)
    for one, axes in copies(about, turned=True):
        copy = turned(blocks, axes)
        seen.add(copy.dense().numpy().tobytes())
        mesh = mesh_from_band(band_of(copy, band.band_voxels, one.shape.placement))
        assert mesh.is_winding_consistent and mesh.volume == pytest.approx(
            as_it_is.volume, rel=0.02
        )
        assert np.allclose(mesh.bounds, as_it_is.bounds, atol=0.01)
        assert np.allclose(mesh.center_mass, as_it_is.center_mass, atol=0.02)
    assert len(seen) == 8
    assert copies(about, turned=False) == [(about, ("x", "y", "z"))]


def test_refined_latents_decode_better_from_every_prefix(
    model: SparseLadder, shapes: Blocks
) -> None:
    x = shapes.one(0)
    found, counts = model.encode(x), torch.arange(1, 4)
    better = refine_blocks(model, x, found, 15)

    def losses(latents: SparseLatents) -> torch.Tensor:
        return torch.stack(
            [
                model(x, model.given(latents), keep[None]).distortion(
                    model.likelihood, keep[None], 1
                )
                for keep in counts
            ]
        )

    assert (losses(better) < 0.99 * losses(found)).all()
    assert all(map(torch.equal, better.marks, found.marks))
    again = model.encode(x, model.given(better)).recentred()
    assert all(map(torch.equal, again.levels, better.levels))
    assert all(nats.isfinite().all() for nats in again.kl)


def test_wrong_input_costs_one_line(model: SparseLadder, shapes: Blocks, tmp_path: Path) -> None:
    found = model.encode(shapes)
    wrong = {
        "multiple of 32": lambda: model.sample((48, 48, 48)),
        "reads Blocks": lambda: model.encode(torch.zeros(1, 1, 64, 64, 64)),
        r"\[-1, 1\]": lambda: model.encode(replace(shapes, values=3 * shapes.values)),
        "the marks above it need": lambda: model.decode(
            replace(found, levels=(*found.levels[:2], found.levels[2][1:]))
        ),
        "decodes 1 to 3": lambda: model.decode(found, 4),
        "cannot be exported": lambda: export(model, tmp_path / "vae"),
        "ordered": lambda: Blocks(shapes.index.flip(0), shapes.values, 64, 3),
    }
    for words, call in wrong.items():
        with pytest.raises(ValueError, match=words) as error:
            call()
        assert "\n" not in str(error.value)


RUN = """
model:
  domain: sparse
  channels: 1
  stem: {stride: [4, 4, 4], width: 16}
  levels:
    - {stride: [16, 16, 16], width: 16, latent: 4}
    - {stride: [8, 8, 8], width: 16, latent: 2}
  likelihood: {kind: laplace, scale: 0.05}
data:
  root: ROOT
  cache: ROOT/.cache
  fields: {resolution: 32}
  batch_size: 2
  variants: 1
  workers: 0
  validation: {names: [ball.ply]}
loss: {prefix: {share: 0.5}}
steps: 3
tracker: null
out: OUT
"""


def test_train_resume_and_take_a_mesh_there_and_back(tmp_path: Path) -> None:
    """From the command line: any prefix of a mesh is a mesh at its own place."""
    meshes, run = tmp_path / "meshes", tmp_path / "run"
    meshes.mkdir()
    ball = trimesh.creation.icosphere(radius=3).apply_translation((10, 0, 0))
    ball.export(meshes / "ball.ply")
    trimesh.creation.box().export(meshes / "box.glb")
    trimesh.creation.torus(1.0, 0.4).export(meshes / "torus.obj")
    (meshes / "broken.obj").write_text("f 1 2 3")
    recipe = tmp_path / "run.yaml"
    recipe.write_text(RUN.replace("ROOT", str(meshes)).replace("OUT", str(run)))
    assert main(["train", str(recipe)]) == 0
    assert main(["train", str(recipe), "steps=5"]) == 0
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    measured = [row for row in rows if "validation_f_score_1" in row][-1]
    assert measured["step"] == 5 and len(measured["validation_f_score_1"]) == 2
    sample = ["sample", str(run), "--from", str(meshes / "ball.ply"), "--keep-level", "0", "1"]
    assert main([*sample, "--out", str(tmp_path / "back")]) == 0
    back = trimesh.load(tmp_path / "back" / "0000.glb", force="mesh")
    assert np.abs(back.bounds - ball.bounds).max() < 1  # hardly trained
    assert main([*sample[:5], "1", "--out", str(tmp_path / "no")]) == 2  # without level 0
    latents, out = str(tmp_path / "latents"), tmp_path / "out"
    assert main(["encode", str(meshes), "--model", str(run), "--out", latents]) == 1  # one broken
    assert main(["verify", latents]) == 0
    assert main(["decode", latents, "--out", str(out)]) == 0
    stored = trimesh.load(out / "ball.glb", force="mesh")
    assert np.abs(stored.bounds - back.bounds).max() < 0.01  # float16
    assert main(["decode", latents, "--levels", "1", "--out", str(tmp_path / "coarse")]) == 0
    finer = ["decode", latents, "--out", str(tmp_path / "finer"), "--resolution"]
    assert main([*finer, "48"]) == 0 and main([*finer, "30"]) == 2
    smooth = trimesh.load(tmp_path / "finer" / "ball.glb", force="mesh")
    assert np.abs(smooth.bounds - stored.bounds).max() < 0.3
    assert len(smooth.faces) > 1.5 * len(stored.faces)
    (meshes / "broken.obj").unlink()
    again = ["encode", str(meshes), "--model", str(run), "--out"]
    coded = [*again, str(tmp_path / "no"), "--entropy-code", "--refine", "2"]
    assert main(coded) == 2
    given = [str(tmp_path / "turned"), "--std", "--refine", "2", "--turned"]
    assert main([*again, *given]) == 0
    store, plain = LatentStore(tmp_path / "turned"), LatentStore(latents)
    assert len(store.items) == 3 * 8 and (tmp_path / "turned" / "preview.png").exists()
    first, std = store.read("ball.ply/0000000"), store.read_std("ball.ply/0000000")
    assert not torch.equal(first.levels[0], plain.read("ball.ply").levels[0])  # refined
    for z, deviation in zip(first.levels, std, strict=True):
        there = z[:, -1:] != 0
        assert torch.equal(deviation[:, :-1] > 0, there.expand_as(z[:, :-1]))
        assert not deviation[:, -1].any()  # marks are certain
    assert main(["decode", str(tmp_path / "turned"), "--out", str(tmp_path / "copies")]) == 0
    copies = [trimesh.load(file) for file in sorted((tmp_path / "copies/box.glb").glob("*.glb"))]
    assert len(copies) == 8


def test_a_run_is_put_among_the_models_that_ship(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """With figures of refined latents, and in valid JSON where one is infinite."""
    meshes, run, recipe = tmp_path / "meshes", tmp_path / "run", tmp_path / "run.yaml"
    meshes.mkdir()
    trimesh.creation.icosphere().export(meshes / "ball.ply")
    trimesh.creation.box().export(meshes / "box.glb")
    recipe.write_text(RUN.replace("ROOT", str(meshes)).replace("OUT", str(run)))
    assert main(["train", str(recipe), "steps=1"]) == 0
    monkeypatch.setattr(ship_model, "MODELS", tmp_path / "models")
    compare = SparseShapes.compare
    perfect = {"f_score_1": float("inf")}
    monkeypatch.setattr(SparseShapes, "compare", lambda *both: compare(*both) | perfect)
    given = [str(run), "ball", "--refine", "2", "--data"]
    assert ship_model.main([*given, str(meshes)]) == 0
    text = (tmp_path / "models" / "ball" / "figures.json").read_text()
    figures = json.loads(text, parse_constant=pytest.fail)  # neither NaN nor Infinity
    assert figures["untrained_f_score_1"] == ["Infinity"] * 2
    assert figures["refined"]["steps"] == 2 and figures["samples"] == ["ball.ply"]
    assert len(stlatent.load(tmp_path / "models" / "ball").levels) == 2
