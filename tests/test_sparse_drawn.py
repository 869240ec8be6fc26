"""Shapes drawn with sparse ladders: by diffusion of level 0, from a level 0 that is held, mixed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import ship_pipeline
import torch
import trimesh
from domains import SPARSE_CONFIG
from name_assets import kind_of
from name_assets import main as name_assets

from stlatent import LadderPipeline, load
from stlatent.checkpoint import build, save
from stlatent.cli import main
from stlatent.diffusion.loss import surprise
from stlatent.evaluate.assets import measure_assets
from stlatent.geometry import flaws
from stlatent.jobs.sample import draw_samples
from stlatent.media import medium_of
from stlatent.media.options import Extent
from stlatent.model import choose as choosing
from stlatent.model.choose import Distribution, Draw, Site
from stlatent.model.config import ModelConfig, parse
from stlatent.sparse.blocks import Blocks
from stlatent.sparse.choose import FITTING, Ample, Shared
from stlatent.sparse.ladder import SparseLadder
from stlatent.sparse.latents import SparseEncoded, SparseLatents
from stlatent.sparse.marks import LEAST_DRAWN

CONFIG = SPARSE_CONFIG | {
    "stem": {"stride": [4] * 3, "width": 12},
    "levels": [
        {"stride": [16] * 3, "width": 16, "latent": 4, "groups": 2},
        {"stride": [8] * 3, "width": 12, "latent": 2},
    ],
    "cube": {"resolution": 48},
}
TINY = str(Path(__file__).parents[1] / "configs" / "diffusion" / "tiny.yaml")
SHAPES = {
    "one/table_long.glb": trimesh.creation.box((2, 1, 3)),
    "one/rug.ply": trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [1, 0, 1], [0, 0, 1]], [[0, 1, 2, 3]]),
    "two/tree_pine.obj": trimesh.creation.cone(1, 2),
    "two/Barrel_A.glb": trimesh.creation.cylinder(1, 2),
}


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few shapes, a ladder, latents, what kind each shape is, and a pipeline."""
    folder = tmp_path_factory.mktemp("assets")
    for name, mesh in SHAPES.items():
        (folder / "meshes" / name).parent.mkdir(parents=True, exist_ok=True)
        mesh.export(folder / "meshes" / name)
    torch.manual_seed(0)
    model = build(parse(ModelConfig, CONFIG, "config"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    save(model, folder / "model.safetensors")
    own = ["--model", str(folder / "model.safetensors"), "--out", str(folder / "latents")]
    assert main(["encode", str(folder / "meshes"), *own]) == 0
    kinds = folder / "kinds.json"
    assert name_assets([str(folder / "meshes"), "--out", str(kinds)]) == 0
    given = [f"data.root={folder / 'latents'}", f"data.labels={kinds}", "steps=2", "tracker=null"]
    given += ["diffusion.condition.classes=8", f"out={folder / 'run'}", "save_every=2"]
    assert main(["train", TINY, *given]) == 0
    return folder


@pytest.fixture(scope="module")
def model(assets: Path) -> SparseLadder:
    return load(assets / "model.safetensors")


@pytest.fixture(scope="module")
def pair(assets: Path, model: SparseLadder) -> list[SparseEncoded]:
    """Latents of a sheet and of a cone."""
    medium = medium_of(model)
    names = ("one/rug.ply", "two/tree_pine.obj")
    opened = (medium.open(assets / "meshes" / name, medium.blank(Extent())) for name in names)
    return [model.encode(x) for x, _ in opened]


def test_kinds_are_words_of_a_name_and_classes_their_names(assets: Path) -> None:
    kinds = json.loads((assets / "kinds.json").read_text())
    assert kinds == {
        "one/table_long.glb": "furniture",
        "one/rug.ply": "furniture",
        "two/tree_pine.obj": "tree",
        "two/Barrel_A.glb": "container",
    }
    assert kind_of("a/tablets.glb") == "other"
    pipeline = LadderPipeline.from_pretrained(assets / "run" / "pipeline")
    assert pipeline.denoiser.condition.names == ("container", "furniture", "tree")


def test_level_0_is_drawn_by_class_and_decoded_sparsely(assets: Path, model: SparseLadder) -> None:
    pipeline = LadderPipeline.from_pretrained(assets / "run" / "pipeline")
    pipeline.set_progress_bar_config(disable=True)
    with torch.no_grad():  # untrained gates are closed
        for parameter in pipeline.denoiser.parameters():
            parameter += 0.1 * torch.randn_like(parameter)

    def drawn(kind: str, **more: object) -> Blocks | tuple[torch.Tensor, ...]:
        how = {"output_type": "pt", "num_inference_steps": 2} | more
        return pipeline(kind, generator=torch.Generator().manual_seed(0), **how).frames

    tree, container = drawn("tree"), drawn("container")
    assert isinstance(tree, Blocks) and tree.resolution == 48
    assert not torch.equal(tree.dense(), container.dense())
    (level,) = drawn("tree", output_type="latent")
    latents = model.from_grids(pipeline.vae.packing.unwhiten([level]))
    decoded = medium_of(model).tidied(model.decode(latents, draw=Ample(choosing.mean)))
    assert torch.equal(decoded.dense(), tree.dense())
    pipeline.vae.enable_prior_sampling(1.0)
    assert not torch.equal(drawn("tree").dense(), tree.dense())
    again = drawn("tree")
    assert torch.equal(again.dense(), drawn("tree").dense())


def test_a_pipeline_lies_beside_its_ladder(
    assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """What ships of it is the denoiser alone."""
    monkeypatch.setattr(ship_pipeline, "MODELS", tmp_path)
    out, given = tmp_path / "assets", [str(assets / "run"), "assets"]
    out.mkdir()
    shutil.copy(assets / "model.safetensors", out)
    assert ship_pipeline.main(given) == 0
    weights = {str(file.relative_to(out)) for file in out.rglob("*.safetensors")}
    assert weights == {"model.safetensors", "denoiser/diffusion_pytorch_model.safetensors"}
    pair = [LadderPipeline.from_pretrained(at) for at in (out, assets / "run" / "pipeline")]
    one, two = (pipeline.vae.ladder.state_dict() for pipeline in pair)
    assert all(torch.equal(one[name], two[name]) for name in two)
    assert str(assets) not in (out / "vae" / "config.json").read_text()
    other = build(parse(ModelConfig, CONFIG, "config"))
    save(other, out / "model.safetensors")
    assert ship_pipeline.main(given) == 2
    assert "is not the ladder" in capsys.readouterr().err


def test_shapes_from_the_command_line(
    assets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["generate", str(assets / "run" / "pipeline"), "-n", "2", "--steps", "1"]
    assert main([*given, "--class", "tree", "furniture", "--out", str(tmp_path / "by")]) == 0
    assert "valid" in json.loads((tmp_path / "by" / "figures.json").read_text())
    assert (tmp_path / "by" / "sheet.png").exists()
    box = assets / "meshes" / "one" / "table_long.glb"
    held = [*given, "--shape-of", str(box), "--out", str(tmp_path / "held")]
    capsys.readouterr()
    assert main(held) == 0
    valid = json.loads((tmp_path / "held" / "figures.json").read_text())["valid"]
    said = capsys.readouterr().out
    assert f"{2 * valid:.0f} of them whole, see figures.json" in said and "{" not in said
    assert main([*held, "--replace", "--temperature", "0.3"]) == 0
    assert capsys.readouterr().out == said  # that is what it is anyway
    assert sorted(path.name for path in (tmp_path / "held").glob("*.glb")) == [
        "0000.glb",
        "0001.glb",
    ]
    given[given.index("1")] = "4"
    near = ["--similar-to", str(box), "--out"]
    assert main([*given, *near, str(tmp_path / "same"), "--strength", "0"]) == 0
    assert main([*given, *near, str(tmp_path / "near"), "--class", "tree", "--levels", "1"]) == 0
    own = ["generate", str(assets / "model.safetensors"), "-n", "2", *near]
    assert main([*own, str(tmp_path / "own"), "--levels", "2", "--temperature", "0.3"]) == 0
    same = [(tmp_path / "same" / f"000{k}.glb").read_bytes() for k in range(2)]
    assert same[0] == same[1] != (tmp_path / "near" / "0000.glb").read_bytes()
    mixed = ["mix", str(box), str(assets / "meshes" / "two" / "tree_pine.obj"), "--steps", "2"]
    mixed += ["--model", str(assets / "model.safetensors"), "--out", str(tmp_path / "mix")]
    assert main(mixed) == 0
    capsys.readouterr()
    none = ["--out", str(tmp_path / "none")]
    for wrong, said in {
        "--class cat": "'cat' is no class; they are container, furniture, tree",
        f"--class tree --shape-of {box}": "--shape-of says what level 0 is",
        "--shape-of nowhere.glb": "nowhere.glb",
        f"--shape-of {box} --similar-to {box}": "nor --similar-to",
        f"--similar-to {box} --levels 2": "levels is 2; the stages",
        f"--similar-to {box} --strength 2": "strength is 2; give a number from 0",
        "--levels 1": "name it with --similar-to FILE",
    }.items():
        assert main([*given, *wrong.split(), *none]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_draws_near_a_shape_leave_it_step_by_step(
    model: SparseLadder, pair: list[SparseEncoded]
) -> None:
    """Also its cells: those that it has not are drawn."""
    sheet = pair[0]

    def drawn(strength: float, levels: int = 2) -> torch.Tensor:
        held, generator = sheet.held(range(levels)), torch.Generator().manual_seed(0)
        return model.sample(sheet.size, 1, held, 0.0, generator, strength).dense()

    still = model.decode(sheet).dense()
    assert torch.equal(drawn(0.0), still)
    torch.testing.assert_close(drawn(1e-9), still)
    near, far = ((drawn(s) != still).float().mean() for s in (0.1, 0.9))
    assert 0 < near <= far
    assert not torch.equal(drawn(0.5, levels=1), drawn(0.5))


def test_finer_levels_of_another_stand_where_both_have_cells(
    model: SparseLadder, pair: list[SparseEncoded]
) -> None:
    a, b = pair
    assert torch.equal(model.decode(a.with_finer(b, 0)).dense(), model.decode(b).dense())
    assert torch.equal(model.decode(a.with_finer(a, 1)).dense(), model.decode(a).dense())
    assert torch.equal(model.decode(a.with_finer(b, 2)).dense(), model.decode(a).dense())
    mixed, alone = model.decode(a.with_finer(b, 1)), model.decode(a, 1)
    shared = a.places.levels[1].find(b.places.levels[1].index) < len(a.places.levels[1])
    assert 0 < shared.sum() < len(shared)  # some cells are in both
    assert not torch.equal(mixed.dense(), alone.dense())
    assert not torch.equal(mixed.dense(), model.decode(b).dense())
    stored = SparseLatents(b.levels, b.marks, b.resolution)  # as a data set has them
    for one in (a.with_finer(b, 1).to("cpu"), a.with_finer(stored, 1)):
        assert torch.equal(model.decode(one).dense(), mixed.dense())
    unlike = SparseLatents((a.levels[0],), a.marks[:1], a.resolution)  # without what b has
    assert torch.equal(model.decode(unlike).dense(), alone.dense())


def test_of_another_shape_is_taken_what_the_prior_finds_likely(
    model: SparseLadder, pair: list[SparseEncoded], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = pair
    seen = []

    def spied(shared: Shared, site: Site, posterior: None, prior: Distribution) -> torch.Tensor:
        seen.append((site.level, prior, taken := choose(shared, site, posterior, prior)))
        return taken

    choose = Shared.__call__
    monkeypatch.setattr(Shared, "__call__", spied)
    model.decode(a.with_finer(b, 1))
    (latents, marks) = ((p, z) for level, p, z in seen if level == 1)
    prior, z = latents
    assert 0 < ((z - prior.mean).abs() / prior.std).max() < 1.0001 * FITTING
    prior, there = marks
    assert (there >= prior.mean).all()  # no hole where there had better be a cell
    assert (there <= prior.likelier(LEAST_DRAWN)).all()  # and none in the open


def test_level_0_goes_from_one_shape_to_another(
    model: SparseLadder, pair: list[SparseEncoded]
) -> None:
    a, b = pair
    assert a.towards(b, 0.0) is a and a.towards(b, 1.0) is b
    half = a.towards(b, 0.5)
    assert torch.allclose(half.levels[0], (a.levels[0] + b.levels[0]) / 2, atol=1e-5)
    between, drawn = model.decode(half), model.decode(half, draw=Draw(1.0))
    assert between.resolution == drawn.resolution == 48
    near = model.sample(half.size, 1, half, 0.0, strength=1e-9)  # without marks, as these are
    torch.testing.assert_close(near.dense(), between.dense())
    with pytest.raises(ValueError, match="between two of them can be level 0"):
        a.towards(b, 0.5, [1])
    with pytest.raises(ValueError, match="differ in their sizes"):
        a.towards(SparseLatents(a.levels, a.marks, 128), 0.5)


def test_an_open_sheet_is_as_whole_as_a_solid(assets: Path, model: SparseLadder) -> None:
    """What is measured has a layer around it; two pieces apart are not whole."""
    medium = medium_of(model)
    blank = medium.blank(Extent())

    def measured(name: str) -> dict[str, float]:
        return measure_assets([medium.solid(medium.open(assets / name, blank)[0])])

    trimesh.util.concatenate(
        [trimesh.creation.box().apply_translation((x, 0, 0)) for x in (0, 2)]
    ).export(assets / "apart.ply")
    assert measured("meshes/one/rug.ply")["valid"] == 1
    assert measured("meshes/two/Barrel_A.glb")["valid"] == 1
    assert measured("apart.ply")["loose"] == pytest.approx(0.5, abs=0.01)
    solid = medium.solid(medium.open(assets / "meshes/one/rug.ply", blank)[0])
    assert np.count_nonzero(solid.inside) > 64


def test_drawn_marks_may_be_rough(model: SparseLadder, pair: list[SparseEncoded]) -> None:
    (grid, *_) = model.grids(pair[0])
    grid[:, -1] *= 0.1
    assert torch.equal(model.from_grids([grid]).marks[0], pair[0].marks[0])


def test_of_several_draws_the_likeliest_whole_shape_is_taken_or_the_best(
    assets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = LadderPipeline.from_pretrained(assets / "run" / "pipeline")
    pipeline.set_progress_bar_config(disable=True)

    def drawn(kinds: str | list[str], output_type: str = "pt", **more: object) -> Blocks:
        how = {"num_inference_steps": 1, "output_type": output_type} | more
        return pipeline(kinds, generator=torch.Generator().manual_seed(0), **how).frames

    levels, each = drawn(["tree"] * 6, "latent"), drawn(["tree"] * 6)
    asked = torch.tensor(pipeline.denoiser.condition.numbers(["tree"] * 6))
    size = pipeline.denoiser.config.size
    order = surprise(pipeline.denoiser, pipeline.scheduler, levels, asked, size).argsort().tolist()
    solid = medium_of(pipeline.vae.ladder).solid
    gravest = [flaws.Flaws.of_field(solid(each.one(k))).gravest for k in range(6)]
    least = int(np.argmin(gravest))
    assert gravest[least] > 1 and least != order[0]  # none is whole
    assert torch.equal(drawn("tree", tries=6).dense(), each.one(least).dense())
    between = sorted(gravest)[2]
    easy = {name: limit * between * 1.01 for name, limit in flaws.LIMITS.items()}
    monkeypatch.setattr(flaws, "LIMITS", easy)  # three are
    first = next(k for k in order if gravest[k] <= between)
    assert torch.equal(drawn("tree", tries=6).dense(), each.one(first).dense())


def test_from_a_prior_the_first_whole_shape_is_taken_or_the_best(
    assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["generate", str(assets / "model.safetensors"), "--temperature=2", "--seed=0"]

    def drawn(count: int, tries: int) -> list[bytes]:
        out = tmp_path / f"{count}-{tries}-{flaws.LIMITS['cut']:.3f}"
        assert main([*given, f"-n{count}", f"--tries={tries}", f"--out={out}"]) == 0
        return [path.read_bytes() for path in sorted(out.glob("*.glb"))]

    model, each = load(assets / "model.safetensors"), drawn(3, 1)
    medium, size = medium_of(model), (48, 48, 48)
    fields = [medium.solid(x) for x in draw_samples(model, size, 3, None, 2.0, 0, 0.0)]
    gravest = [flaws.Flaws.of_field(field).gravest for field in fields]
    assert min(gravest) > 1 and len({*gravest}) > 1
    assert drawn(1, 3) == [each[int(np.argmin(gravest))]]
    easy = {name: limit * gravest[0] * 1.01 for name, limit in flaws.LIMITS.items()}
    monkeypatch.setattr(flaws, "LIMITS", easy)  # now the first one is
    assert drawn(1, 3) == [each[0]]
