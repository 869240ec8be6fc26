"""Shapes through training and the jobs, with meshes made on the spot."""

from __future__ import annotations

import copy
import itertools
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
import yaml

import stlatent
from stlatent import Ladder, LadderPipeline, TriplaneAutoencoder, checkpoint
from stlatent.cli import main
from stlatent.evaluate import write_report
from stlatent.evaluate.assets import Beside
from stlatent.evaluate.spectrum import spatial_energy
from stlatent.geometry import (
    Field,
    FieldCache,
    FieldSettings,
    Placement,
    field_from_surface,
    read_surface,
    read_volumes,
    varied,
    volume_iou,
)
from stlatent.geometry.resample import straightened, volume_field
from stlatent.geometry.values import PLAIN, Values
from stlatent.jobs import reader
from stlatent.jobs.encode import encode_folder
from stlatent.jobs.mix import mix_samples
from stlatent.jobs.options import EncodeOptions
from stlatent.media.shape.data import ShapeDataset, find_shapes
from stlatent.media.shape.decoded import DecodedShape, shape_fields
from stlatent.media.shape.figures import compared
from stlatent.model.config import ModelConfig, parse
from stlatent.model.likelihoods import make_likelihood
from stlatent.store.reader import LatentStore
from stlatent.train import run
from stlatent.triplane.planes import symmetries, turn_volume

CONFIGS = Path(__file__).parents[1] / "configs"
COARSE = FieldSettings(resolution=16)
TINY = {
    "domain": "voxel",
    "channels": 4,
    "likelihood": "sdf",
    "stem": {"stride": [2, 2, 2], "width": 16, "blocks": 0},
    "levels": [
        {"stride": [8, 8, 8], "width": 32, "latent": 16, "blocks": 0},
        {"stride": [4, 4, 4], "width": 32, "latent": 16, "blocks": 0},
    ],
}

PLANES = {
    "domain": "triplane",
    "channels": 16,
    "likelihood": "sdf",
    "field": {"channels": 4, "resolution": 16, "lift": {"stride": [1, 2, 2], "width": 64}},
    "stem": {"stride": [1, 1, 1], "width": 16, "blocks": 0},
    "levels": [
        {"stride": [1, 4, 4], "width": 64, "latent": 64, "blocks": 0},
        {"stride": [1, 1, 1], "width": 32, "latent": 16, "blocks": 0},
    ],
}


def boxes(*sizes: tuple[float, ...]) -> trimesh.Trimesh:
    """Red boxes side by side, a shape without symmetry if they differ."""
    parts, x = [], 0.0
    for size in sizes:
        parts.append(trimesh.creation.box(size))
        parts[-1].apply_translation([x + size[0] / 2, size[1] / 2, size[2] / 2])
        x += size[0]
    mesh = trimesh.util.concatenate(parts)
    mesh.visual.vertex_colors = [200, 30, 30, 255]
    return mesh


@pytest.fixture(scope="module")
def meshes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two meshes of which one is far off and z-up, two volumes in a file, and one broken file."""
    root = tmp_path_factory.mktemp("meshes")
    (root / "sub").mkdir()
    boxes((3, 2, 2), (2, 4, 3)).export(root / "a.ply")
    far = boxes((1, 2, 4))
    far.apply_transform(trimesh.transformations.scale_and_translate(7.0, [100, -20, 5]))
    far.export(root / "sub" / "b.ply")
    solid = np.zeros((2, 8, 8, 8), np.uint8)
    solid[0, 2:6, 2:6, 1:7] = solid[1, 1:7, 1:4, 2:6] = 1
    np.savez(root / "set.npz", solid)
    (root / "broken.obj").write_text("v 0 0 nonsense")
    return root


@pytest.fixture(scope="module")
def model() -> Ladder:
    torch.manual_seed(0)
    return Ladder(ModelConfig.model_validate(TINY)).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def planes_model() -> TriplaneAutoencoder:
    torch.manual_seed(0)
    built = checkpoint.build(parse(ModelConfig, PLANES, "model"))
    return built.eval().requires_grad_(False)


@pytest.fixture(params=["model", "planes_model"])
def either(request: pytest.FixtureRequest) -> checkpoint.Model:
    """Of voxels, or through triplanes."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    text = {
        "model": TINY,
        "data": {"root": "x", "fields": {"resolution": 16}, "batch_size": 2, "variants": 2},
        "optimiser": {"warmup_steps": 1},
        "out": "x",
        "steps": 4,
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(text))
    return tmp_path / "tiny.yaml"


def options(meshes: Path, tmp_path: Path, **more: object) -> list[str]:
    settings = {
        "data.root": meshes,
        "data.cache": tmp_path / "cache",
        "data.workers": 0,
        "data.validation.names": "[a.ply]",
        "data.validation.every": 2,
        "out": tmp_path / "run",
        "tracker": "null",
        "log_every": 1,
        "save_every": 1,
    }
    return [f"{key}={value}" for key, value in {**settings, **more}.items()]


def lines(out: Path) -> list[dict]:
    found = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in found]


# training -------------------------------------------------------------------------------------


def test_training_resumes_measures_and_names_what_is_bad(config, meshes, tmp_path):
    whole = options(meshes, tmp_path, out=tmp_path / "whole")
    run(config, whole)
    run(config, options(meshes, tmp_path, steps=2))
    run(config, options(meshes, tmp_path, steps=4))
    digits = lines(tmp_path / "whole")
    # the schedule follows the number of steps, so only what came before is the same
    assert [line["step"] for line in lines(tmp_path / "run")] == [line["step"] for line in digits]
    figures = [line["validation_volume_iou"] for line in digits if "validation_volume_iou" in line]
    assert len(figures) == 2 and 0 < figures[0][0] < figures[0][1] <= 1
    assert (tmp_path / "whole" / "reconstructions" / "0000002.png").stat().st_size > 1000
    assert stlatent.load(tmp_path / "run").config.domain == "voxel"


def test_a_model_of_other_shapes_can_be_gone_on_with(config, meshes, tmp_path):
    """The same network, at another resolution; another network is refused."""
    run(config, options(meshes, tmp_path, steps=1))
    more = {"start": tmp_path / "run", "steps": 1, "out": tmp_path / "finer"}
    run(config, options(meshes, tmp_path, **more, **{"data.fields.resolution": 24}))
    assert stlatent.load(tmp_path / "finer").config.cube.resolution == 24
    more["out"] = tmp_path / "other"
    with pytest.raises(ValueError, match="differ in cell"):
        run(config, options(meshes, tmp_path, **more, **{"model.cell.expand": 3}))


@pytest.mark.parametrize(
    "change, words",
    [
        ("data.crop=64", "data.crop does not go with a model of domain 'voxel'"),
        ("data.fields.resolutoin=64", "unknown key 'data.fields.resolutoin'.*'resolution'"),
        ("data.validation.names=[c.ply]", "'c.ply', which is no mesh in"),
        ("model.channels=3", "give domain voxel and 1 channel"),
        ("data.root=/nowhere", "/nowhere holds no mesh"),
    ],
)
def test_wrong_configs_are_explained(config, meshes, tmp_path, change, words):
    with pytest.raises(ValueError, match=words):
        run(config, [*options(meshes, tmp_path), change])


def test_shapes_are_a_function_of_seed_and_number(meshes, tmp_path):
    cache, values, every = FieldCache(tmp_path, COARSE), Values(True, False), symmetries(False)

    def dataset(seed: int = 0) -> ShapeDataset:
        return ShapeDataset(find_shapes(meshes), cache, values, 2, every, seed=seed)

    one, two = dataset(), dataset()
    shapes = [one[i] for i in range(8)]
    assert all(torch.equal(two[i].values, shapes[i].values) for i in (5, 0, 7))
    assert any(not torch.equal(dataset(1)[i].values, shapes[i].values) for i in range(3))
    assert {name for shape in shapes for name, _ in shape.failed} == {"broken.obj"}
    assert all(shape.values.shape == (4, 16, 16, 16) for shape in shapes)


def test_shapes_are_shown_as_they_are_unless_turned(meshes, tmp_path):
    cache, values = FieldCache(tmp_path, COARSE), Values(True, False)
    mesh = {"a.ply": meshes / "a.ply"}
    there = values.from_field(cache.open(mesh["a.ply"]))
    assert all(torch.equal(ShapeDataset(mesh, cache, values)[i].values, there) for i in range(4))
    turned = ShapeDataset(mesh, cache, values, symmetries=symmetries(False))
    assert not all(torch.equal(turned[i].values, there) for i in range(4))


def test_a_shape_without_colours_is_plain_by_its_surface_to_a_coloured_model(tmp_path):
    ball = tmp_path / "plain.stl"
    trimesh.creation.icosphere(2).export(ball)
    field, values = field_from_surface(read_surface(ball), COARSE), Values(True, False)
    x = values.from_field(field)
    near = field.band_voxels * np.abs(field.distance) < 2
    assert not field.known.any() and 0 < near.mean() < 1
    assert torch.equal(x[1:], torch.from_numpy(near) * torch.full((3, 1, 1, 1), PLAIN))
    assert not values.to_field(x, field.band_voxels).known.any()  # as it was


def test_symmetries_are_48_shapes_and_8_of_them_upright(meshes):
    values = Values(False, False).from_field(
        field_from_surface(read_surface(meshes / "a.ply"), COARSE)
    )
    turned = [turn_volume(values[None], axes) for axes in symmetries(upright=False)]
    assert len(turned) == 48
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(turned, 2))
    assert len(symmetries(upright=True)) == 8


def test_a_variant_of_a_mesh_is_another_closed_shape(meshes):
    surface = read_surface(meshes / "a.ply")
    fields = [field_from_surface(varied(surface, seed), COARSE) for seed in (0, 1, 1)]
    assert np.array_equal(fields[1].distance, fields[2].distance)
    assert 0.05 < volume_iou(fields[0].distance, fields[1].distance) < 0.99
    assert varied(surface, 0) is surface and fields[1].route.sheets == 0


def test_volumes_come_to_any_resolution_and_stand_up(meshes):
    volumes = read_volumes(meshes / "set.npz", 4.0, Placement(axes=("x", "-z", "y")))
    for resolution in (8, 16, 32):
        field = volume_field(volumes, 0, FieldSettings(resolution=resolution))
        assert field.inside.mean() == pytest.approx(4 * 4 * 6 / 512, rel=0.25)
    upright = straightened(field)
    extent = [np.ptp(np.nonzero(upright.inside)[axis]) for axis in range(3)]
    assert extent[1] > 1.3 * extent[0] and upright.placement.axes == ("x", "y", "z")
    at = np.array([[0.1, 0.4, -0.2]])  # the same point of the asset, seen from both cubes
    ours, theirs = (f.distance_at(f.placement.to_cube(at)) for f in (upright, field))
    assert ours == pytest.approx(theirs, abs=1e-5)


def test_unknown_colours_are_finite_and_cost_nothing(model):
    likelihood = make_likelihood(model.config.likelihood, model.config.channels)
    distance = torch.linspace(-1, 1, 16).view(16, 1, 1).expand(16, 16, 16).numpy()
    known = np.zeros((16, 16, 16), bool)
    known[7] = True
    colour = np.where(known, 0.3, 0.0).astype(np.float32).repeat(3).reshape(16, 16, 16, 3)
    field = Field(distance, np.moveaxis(colour, -1, 0).copy(), known, 4.0)
    x = Values(True, False).from_field(field)[None]
    raw = x.clone()
    raw[:, 1:] += torch.from_numpy(~known)  # wrong wherever nothing is known
    assert torch.isfinite(x).all()
    assert likelihood(raw, x).item() == pytest.approx(likelihood(x, x).item())
    raw[:, 1:] += 0.5
    assert likelihood(raw, x).item() > likelihood(x, x).item() + 0.4


# jobs -----------------------------------------------------------------------------------------


def test_assets_come_back_at_their_own_place(either, meshes, tmp_path):
    stlatent.save(either, tmp_path / "model.safetensors", {})
    at = ["--model", str(tmp_path / "model.safetensors")]
    encode = ["encode", str(meshes), *at, "--out", str(tmp_path / "z"), "--resolution", "16"]
    assert main(encode) == 1  # one file is broken
    store = LatentStore(tmp_path / "z")
    names = ["a.ply", "set.npz/0000000", "set.npz/0000001", "sub/b.ply"]
    assert list(store.items) == names and store.manifest.channels == 4
    assert store.manifest.values(store.items["a.ply"].size) == 4 * 16**3
    failed = json.loads((tmp_path / "z" / "failed.jsonl").read_text())
    assert failed["name"] == "broken.obj" and failed["stage"] == "open" and failed["reason"]
    before = (tmp_path / "z" / "manifest.json").read_bytes()
    assert main(encode) == 1 and (tmp_path / "z" / "manifest.json").read_bytes() == before
    decode = ["decode", str(tmp_path / "z"), *at, "--resolution", "32", "--out"]
    assert main([*decode, str(tmp_path / "out")]) == 0
    for name in ("a", "sub/b"):
        original = trimesh.load(meshes / f"{name}.ply")
        decoded = trimesh.load(tmp_path / "out" / f"{name}.glb", force="mesh")
        extent = original.extents.max()
        assert np.abs(decoded.bounds - original.bounds).max() < 0.15 * extent
    assert main([*decode, str(tmp_path / "out")]) == 2  # nothing is overwritten
    assert main([*decode, str(tmp_path / "ply"), "--levels", "2", "--format", "ply"]) == 0
    assert (tmp_path / "ply" / "set.npz" / "0000001.ply").stat().st_size > 1000


def test_planes_have_more_to_tell_than_voxels(planes_model, meshes):
    """At a finer resolution the surface is that of the field itself."""
    values = Values.of(planes_model.config)
    field = field_from_surface(read_surface(meshes / "a.ply"), COARSE)
    planes = planes_model.decode(planes_model.encode(values.from_field(field)[None]))
    shape = DecodedShape(planes_model, planes, field.band_voxels, field.placement)
    between = DecodedShape(planes_model, planes, field.band_voxels).field()
    points = torch.from_numpy(field.placement.to_cube(shape.mesh(48).vertices)).float()
    off = planes_model.field(planes, points[None])[0, :, 0].abs().mean().item()
    assert off < 0.3 * np.abs(between.distance_at(points.numpy())).mean()


def test_fields_of_another_resolution_are_refused_beforehand(
    planes_model, meshes, tmp_path, capsys
):
    stlatent.save(planes_model, tmp_path / "model.safetensors", {})
    at = ["--model", str(tmp_path / "model.safetensors"), "--out", str(tmp_path / "z")]
    assert main(["encode", str(meshes), *at, "--resolution", "32"]) == 2
    assert "reads fields of 16 voxels" in capsys.readouterr().err and not (tmp_path / "z").exists()


HOSTILE = """
import stlatent.media.shape.child as shapes, time, os
read = shapes.read_surface
def hostile(path):
    if "crash" in path.name: os.abort()
    if "hang" in path.name: time.sleep(1000)
    return read(path)
shapes.read_surface = hostile
"""


def test_meshes_that_crash_or_hang_cost_one_file_each(model, tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    for name in ("a", "b_crash", "c_hang", "d"):
        boxes((1, 2, 3)).export(tmp_path / "in" / f"{name}.ply")
    start = reader.START.replace("from stlatent.jobs", HOSTILE + "from stlatent.jobs", 1)
    monkeypatch.setattr(reader, "START", start)
    settings = EncodeOptions(fields=COARSE)
    result = encode_folder(model, tmp_path / "in", tmp_path / "z", "m", settings, limit_seconds=8)
    assert [failure.name for failure in result.failed] == ["b_crash.ply", "c_hang.ply"]
    assert "SIGABRT" in result.failed[0].reason and "did not answer" in result.failed[1].reason
    assert list(LatentStore(tmp_path / "z").items) == ["a.ply", "d.ply"]


def test_refined_latents_decode_better_from_every_prefix(either, meshes, tmp_path):
    settings = {"fields": COARSE, "dtype": ("float32",)}
    (tmp_path / "in").mkdir()
    shutil.copy(meshes / "a.ply", tmp_path / "in")
    field = field_from_surface(read_surface(meshes / "a.ply"), COARSE)
    x, losses, bits = Values(True, False).from_field(field)[None], [], []
    for steps in (0, 20):
        options, out = EncodeOptions(refine=steps, **settings), tmp_path / str(steps)
        encode_folder(either, tmp_path / "in", out, "m", options)
        store = LatentStore(out)
        latents, bits = store.read("a.ply"), [*bits, store.items["a.ply"].bits]
        with torch.no_grad():
            decoded = [either.decode(latents, k) for k in (1, 2)]
        losses.append([either.likelihood(y, x).item() for y in decoded])
    assert all(after < 0.95 * before for before, after in zip(*losses, strict=True))
    assert bits[0] != bits[1] and all(b > 0 for b in bits[1])


def test_options_of_videos_are_refused(model, meshes, tmp_path):
    stlatent.save(model, tmp_path / "model.safetensors", {})
    at = ["--model", str(tmp_path / "model.safetensors"), "--out", str(tmp_path / "z")]
    assert main(["encode", str(meshes), *at, "--fps", "5"]) == 2
    assert not (tmp_path / "z").exists()


# measuring, drawing, mixing -------------------------------------------------------------------


def test_a_report_of_shapes_says_how_close_they_are(either, meshes, tmp_path):
    values = Values.of(either.config)
    fields = [field_from_surface(read_surface(meshes / n), COARSE) for n in ("a.ply", "sub/b.ply")]
    shapes = [(str(i), values.from_field(field)[None]) for i, field in enumerate(fields)]
    report = write_report(either, shapes, tmp_path / "report")
    iou = [prefix["volume_iou"] for prefix in report["prefixes"]]
    assert 0 <= iou[0] < iou[1] < 1 and report["prefixes"][1]["chamfer_percent"] > 0
    assert len(report["clips"]) == 2 and "Volume IoU" in report["summary"]
    assert np.sum(report["bands"]["spatial"]["of_level"], 1) == pytest.approx(1)
    page = (tmp_path / "report" / "index.html").read_text()
    assert "Normal consistency" in page and "Colour PSNR, dB" in page


def test_a_perfect_copy_is_perfect(meshes):
    field = field_from_surface(read_surface(meshes / "a.ply"), COARSE)
    iou, chamfer, _, middle, _, consistency, colour = compared(field, field)
    assert iou == 1 and chamfer < 0.8 and consistency > 0.9 and colour == math.inf
    assert middle > 0.9
    empty = Field(np.ones_like(field.distance), field.colour, field.known, 4.0)
    iou, chamfer, *scores, consistency, _ = compared(field, empty)
    assert iou == 0 and math.isnan(chamfer) and scores == [0, 0, 0] and math.isnan(consistency)


@pytest.mark.parametrize("size, band", [(45, 1), (24, 2), (12, 3), (6, 4), (3, 5)])
def test_waves_in_a_volume_fall_into_their_octave(size, band):
    wave = torch.sin(2 * math.pi * torch.arange(96) / size * 1.01).view(-1, 1, 1)
    for axis in range(3):
        energy = spatial_energy(wave.movedim(0, axis).expand(1, 1, 96, 96, 96), 3)
        assert energy[band] > 0.6 * energy.sum()


def test_samples_keep_the_levels_and_the_place_of_a_mesh(either, meshes, tmp_path):
    stlatent.save(either, tmp_path / "model.safetensors", {})
    sample = ["sample", str(tmp_path / "model.safetensors"), "--out", str(tmp_path / "s")]
    assert main([*sample, "--from", str(meshes / "a.ply"), "--keep-level", "0", "1"]) == 0
    original = trimesh.load(meshes / "a.ply")
    drawn = trimesh.load(tmp_path / "s" / "0000.glb", force="mesh")
    assert np.abs(drawn.bounds - original.bounds).max() < 0.1 * original.extents.max()
    assert main([*sample, "--frames", "3", "--replace"]) == 2


def test_mixing_and_generating(either, meshes, tmp_path, monkeypatch):
    stlatent.save(either, tmp_path / "model.safetensors", {})
    given = [str(meshes / "a.ply"), str(meshes / "sub" / "b.ply"), "--steps", "2"]
    at = ["--model", str(tmp_path / "model.safetensors"), "--out", str(tmp_path / "mix")]
    assert main(["mix", *given, *at]) == 0
    assert len(list((tmp_path / "mix").glob("*.glb"))) == 3 + 2 * 3
    assert main(["mix", *given, *at]) == 2  # nothing is overwritten
    model, decoded = stlatent.load(tmp_path / "model.safetensors"), []
    monkeypatch.setattr(model, "decode", lambda z, d=model.decode: decoded.append(z) or d(z))
    made = mix_samples(model, [meshes / "a.ply", meshes / "sub" / "b.ply"], tmp_path / "again", 2)
    assert len(made) == 9 and len(decoded) == 5  # the ends, which are in every row, once
    drawn = ["-n", "2", "--out", str(tmp_path / "drawn")]
    assert main(["generate", str(tmp_path / "model.safetensors"), *drawn]) == 0
    figures = json.loads((tmp_path / "drawn" / "figures.json").read_text())
    assert figures["assets"] == 2 and 0 < figures["diversity"] <= 1
    assert 0 <= figures["valid"] <= 1 and 0 <= figures["loose"] <= 1


def test_diffusion_of_shapes_ends_in_meshes(either, meshes, tmp_path):
    either = copy.deepcopy(either)
    if either.config.field:
        either.likelihood.decoder.out.bias.zero_()  # else all begins outside
    stlatent.save(either, tmp_path / "model.safetensors", {})
    encoded = ["--model", str(tmp_path / "model.safetensors"), "--out", str(tmp_path / "latents")]
    assert main(["encode", str(meshes), *encoded]) == 1  # one of them is broken
    run = [f"data.root={tmp_path / 'latents'}", f"out={tmp_path / 'run'}", "data.batch_size=2"]
    run += ["steps=2", "tracker=null", "data.workers=0", "diffusion.stages.0.levels=1"]
    assert main(["train", str(CONFIGS / "diffusion" / "tiny.yaml"), *run]) == 0
    folder = tmp_path / "run" / "pipeline"
    made = ["generate", str(folder), "-n", "2", "--steps", "2", "--out", str(tmp_path / "drawn")]
    assert main(made) == 0
    assert json.loads((tmp_path / "drawn" / "figures.json").read_text())["assets"] == 2
    assert main([*made, "--replace", "--size", "16"]) == 2
    pipeline = LadderPipeline.from_pretrained(folder)
    options = {"num_inference_steps": 1, "batch_size": 2}
    seeds = (torch.Generator().manual_seed(k) for k in (0, 0))
    surfaces = pipeline(generator=next(seeds), **options).frames  # meshes, if nothing is said
    x = pipeline(generator=next(seeds), output_type="pt", **options).frames
    for surface, one in zip(surfaces, x.split(1), strict=True):
        assert len(surface.faces)
        assert np.array_equal(surface.vertices, DecodedShape(either, one).mesh().vertices)


def test_a_model_remembers_what_shapes_it_was_trained_on(config, meshes, tmp_path):
    given = ["data.fields.band_voxels=3", "data.fields.margin=0.1", "data.fields.resolution=24"]
    run(config, [*options(meshes, tmp_path), *given, "steps=1"])
    settings = shape_fields(stlatent.load(tmp_path / "run").config)
    assert (settings.resolution, settings.band_voxels, settings.margin) == (24, 3, 0.1)


def test_the_shapes_of_a_run_are_measured_beside_its_draws(config, meshes, tmp_path):
    run(config, [*options(meshes, tmp_path), "steps=1"])
    beside = ["generate", str(tmp_path / "run"), "-n", "2", "--out", str(tmp_path / "drawn")]
    assert main([*beside, "--beside-data", str(tmp_path / "run")]) == 0
    found = json.loads((tmp_path / "drawn" / "figures.json").read_text())
    data = found["data"]
    assert data["assets"] == 2 and data["valid"] == 1 and 0 < data["diversity"] < 1
    assert found["nearest_trained_on"] > 0 and 0 <= found["neighbour"] <= 1
    assert 0 < found["coverage"] <= 1 and found["mmd"] > 0


def test_a_turned_copy_of_a_shape_trained_on_is_told_as_one(config, meshes, tmp_path):
    given = [*options(meshes, tmp_path), "data.upright=true", "data.variants=1"]
    run(config, [*given, "steps=1"])
    beside = Beside(tmp_path / "run")
    (shown, *_) = beside._trained_on(1)
    flat = np.moveaxis(shown.distance, 2, 0)[:, ::-1]  # lies on its side: y is no longer up
    for turned, near in ((shown.distance[::-1].swapaxes(0, 2), True), (flat, False)):
        found = beside.measure([replace(shown, distance=np.ascontiguousarray(turned))])
        assert (found["nearest_trained_on"] == 0) is near
