"""Triplanes: the convention of their axes, the autoencoder around a ladder over them, and planes
that are data themselves."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import fit_triplanes
import numpy as np
import pytest
import torch
import trimesh
import yaml

import stlatent
from stlatent import TRIPLANE, ModelConfig, checkpoint
from stlatent.cli import main
from stlatent.export import export
from stlatent.files import UnreadableError
from stlatent.geometry import (
    FieldSettings,
    field_from_surface,
    mesh_from_planes,
    surface_of,
    volume_iou,
)
from stlatent.losses.elbo import LossConfig
from stlatent.media.planes.data import (
    PlaneDataset,
    find_planes,
    measure_scaling,
    normalise,
    read_planes,
    restore,
    write_planes,
)
from stlatent.model.choose import mean
from stlatent.model.config import DecoderConfig, parse
from stlatent.train import run
from stlatent.train.config import OptimiserConfig
from stlatent.train.fit import fit
from stlatent.train.fit_planes import PlaneFitter
from stlatent.triplane import fields
from stlatent.triplane.fields import FieldDecoder, cosine_planes, draw_points, on_grid
from stlatent.triplane.planes import (
    LACKS,
    PLANES,
    fold_volume,
    sample_planes,
    turn_planes,
    turn_points,
    turn_volume,
)

TURNS = [
    tuple(sign + axis for sign, axis in zip(signs, order))
    for order in itertools.permutations("xyz")
    for signs in itertools.product(("", "-"), repeat=3)
]
turns = pytest.mark.parametrize("axes", TURNS, ids=" ".join)


def solid(n: int = 16, channels: int = 1) -> torch.Tensor:
    """Three arms of different lengths along +x, +y and +z, which no turn takes to itself: distances
    `[1, C, n, n, n]`, and red, green and blue growing along x, y and z near the surface."""
    centres = (2 * torch.arange(n) + 1) / n - 1
    p = torch.cartesian_prod(centres, centres, centres)
    arms = torch.tensor([[0.8, 0.2, 0.2], [0.2, 0.5, 0.2], [0.2, 0.2, 0.35]])
    boxes = [((p - (arm - 0.2)).abs() - arm).max(1).values for arm in arms]
    distance = (torch.stack(boxes).min(0).values * n / 8).clamp(-1, 1)
    colour = (p * 0.9 + 0.01).T * (distance.abs() < 0.7)
    return torch.cat([distance[None], colour])[:channels].view(1, channels, n, n, n)


def config(channels: int = 1, stride: int = 1, **changes) -> ModelConfig:
    values = {
        "domain": "triplane",
        "channels": 8,
        "likelihood": "sdf",
        "field": {
            "channels": channels,
            "resolution": 16,
            "lift": {"stride": [1, stride, stride], "width": 16},
            "hidden": 16,
            "near": 128,
            "uniform": 64,
        },
        "stem": {"stride": [1, 2, 2], "width": 32},
        "levels": [
            {"stride": [1, 8, 8], "width": 48, "latent": 16},
            {"stride": [1, 2, 2], "width": 48, "latent": 24},
        ],
    }
    return parse(ModelConfig, values | changes, "model")


# axes -----------------------------------------------------------------------------------------


@turns
def test_planes_turn_as_the_solid_does(axes):
    """By every permutation and reflection: what lies behind a sample, and what a point sees."""
    volume, turned = solid(), turn_volume(solid(), axes)
    assert axes == ("x", "y", "z") or not torch.equal(volume, turned)
    expected = turn_planes(fold_volume(volume), axes)
    for plane, lacks in enumerate(LACKS):
        if axes[lacks].startswith("-"):  # its columns are seen from the other side
            expected[:, :, plane] = expected[:, :, plane].flip(1)
    assert torch.equal(fold_volume(turned), expected)

    planes, points = torch.randn(1, 4, 3, 9, 9), torch.rand(1, 50, 3) * 2 - 1
    seen = sample_planes(planes, points)
    again = sample_planes(turn_planes(planes, axes), turn_points(points, axes))
    for plane, pair in enumerate(PLANES):
        old = tuple(sorted("xyz".index(axes[i][-1]) for i in pair))
        assert torch.allclose(again[:, :, plane], seen[:, :, PLANES.index(old)], atol=1e-5)


@turns
def test_fields_turn_as_the_solid_does(axes):
    """Through planes and a decoder; cosines of odd order along a reversed axis change sign."""
    decoder = FieldDecoder(8, DecoderConfig(channels=1))
    planes, turned = cosine_planes(solid(), 8), cosine_planes(turn_volume(solid(), axes), 8)
    sign = torch.ones(8, 3, 1, 1)
    for plane, lacks in enumerate(LACKS):
        sign[1::2, plane] = -1 if axes[lacks].startswith("-") else 1
    assert torch.allclose(turned, turn_planes(planes, axes) * sign, atol=1e-5)
    with torch.no_grad():
        field, again = on_grid(decoder, planes, 12), on_grid(decoder, turned, 12)
    assert torch.allclose(turn_volume(field, axes), again, atol=1e-5)


@turns
def test_exchange_between_planes_turns_as_they_do(axes):
    def both(planes):
        return sum(TRIPLANE.exchange(planes).chunk(2, 1))

    planes = torch.randn(1, 2, 3, 6, 6)
    turned = turn_planes(both(planes), axes)
    assert torch.allclose(both(turn_planes(planes, axes)), turned, atol=1e-5)


@pytest.mark.parametrize("plane", range(3))
def test_a_sample_reaches_other_planes_only_along_the_axes_they_share(plane):
    before = torch.randn(1, 1, 3, 6, 6)
    after, place = before.clone(), dict(zip(PLANES[plane], (1, 4)))
    after[0, 0, plane, 1, 4] += 1
    changed = (TRIPLANE.exchange(after) != TRIPLANE.exchange(before)).any(1)[0]
    expected = torch.zeros(3, 6, 6, dtype=torch.bool)
    for other, axes in enumerate(PLANES):
        for dim, axis in enumerate(axes):
            if other != plane and axis in place:
                expected[other].select(dim, place[axis]).fill_(True)
    assert torch.equal(changed, expected)


def test_axes_are_those_of_the_mesh():
    """A mesh without symmetry comes back through planes where it was, in its own coordinates."""
    arms = [([1.6, 0.4, 0.4], [0.6, 0, 0]), ([0.4, 1.0, 0.4], [0, 0.3, 0])]
    arms += [([0.4, 0.4, 0.7], [0, 0, 0.15])]
    boxes = [
        trimesh.creation.box(e, trimesh.transformations.translation_matrix(c)) for e, c in arms
    ]
    mesh = trimesh.util.concatenate(boxes).apply_translation([5, -2, 1])
    field = field_from_surface(surface_of(mesh), FieldSettings(resolution=32))
    planes = cosine_planes(torch.from_numpy(field.distance)[None, None], 16)
    decoder = FieldDecoder(16, DecoderConfig(channels=1))
    found = mesh_from_planes(decoder, planes, 48, field.placement)
    assert found.is_watertight and found.volume > 0
    assert np.allclose(found.bounds, mesh.bounds, atol=0.05)


# fields ---------------------------------------------------------------------------------------


def test_points_say_what_the_volume_says():
    """Of a volume that is linear near its surface, which trilinear values give exactly."""
    centres = (2 * torch.arange(16) + 1) / 16 - 1
    x, y, z = torch.meshgrid(centres, centres, centres, indexing="ij")
    distance = x + 0.5 * y - 0.25 * z
    known = distance.abs() < 0.5
    volume = torch.stack([distance.clamp(-1, 1), *(c * known for c in (x, y, z))])[None]
    points, values = draw_points(volume, 2000, 500)
    expected = points @ torch.tensor([1.0, 0.5, -0.25])
    inner = (points.abs() < 0.9).all(2) & (expected.abs() < 0.7)
    assert torch.allclose(values[:, 0][inner], expected[inner], atol=1e-5)
    near = inner & (expected.abs() < 0.3)
    colours = values[:, 1:].transpose(1, 2)
    assert torch.allclose(colours[near], points[near], atol=1e-5)
    assert (colours[expected.abs() > 0.8] == 0).all()
    share = [
        (values[0, 0, part].abs() < 0.3).float().mean() for part in (slice(2000), slice(2000, None))
    ]
    assert share[0] > 1.3 * share[1]


def test_a_field_is_decoded_in_parts(monkeypatch):
    decoder, planes = FieldDecoder(8, DecoderConfig()), torch.randn(2, 8, 3, 5, 5)
    torch.nn.init.normal_(decoder.out.weight)
    points = torch.rand(2, 301, 3) * 2 - 1
    whole = decoder(planes, points)
    monkeypatch.setattr(fields, "POINTS", 100)
    with torch.no_grad():
        assert torch.allclose(decoder(planes, points), whole, atol=1e-6)


def test_cosines_of_a_smooth_column_are_exact():
    """A field of few cosines along each axis comes back from planes as it was."""
    n = 16
    wave = fields.cosines(n)[:4].float()
    volume = torch.einsum("abc,ax,by,cz->xyz", torch.randn(4, 4, 4), wave, wave, wave)[None, None]
    decoder = FieldDecoder(4, DecoderConfig(channels=1))
    with torch.no_grad():
        assert torch.allclose(on_grid(decoder, cosine_planes(volume, 4), n), volume, atol=1e-5)


# the autoencoder ------------------------------------------------------------------------------


@pytest.mark.parametrize("channels, stride", [(1, 1), (4, 2)])
def test_save_load_encode_decode_field(channels, stride, tmp_path):
    torch.manual_seed(0)
    model, volume = checkpoint.build(config(channels, stride)).eval(), solid(16, channels)
    checkpoint.save(model, tmp_path / "m.safetensors")
    again = stlatent.load(tmp_path / "m.safetensors")
    assert type(again) is type(model) and again.config == model.config
    assert stlatent.fingerprint(again) == stlatent.fingerprint(model)
    with torch.no_grad():
        latents = again.encode(volume)
        planes, out = again.decode(latents), model(volume, mean)
    assert [tuple(z.shape[1:]) for z in latents.levels] == model.latent_shape((16, 16, 16))
    assert planes.shape == (1, 8, 3, 16 // stride, 16 // stride) and torch.equal(planes, out.x)
    assert again.field(planes, torch.zeros(1, 5, 3)).shape == (1, 5, channels)
    assert again.volume(planes, 10).shape == (1, channels, 10, 10, 10)


def test_an_autoencoder_of_volumes_is_exported_by_its_ladder(tmp_path):
    model = checkpoint.build(config()).eval()
    with pytest.raises(ValueError, match=r"cannot be exported.*model\.ladder"):
        export(model, tmp_path / "vae")
    with torch.no_grad():
        planes = model.lift(solid())
    assert (export(model.ladder, tmp_path / "vae", data=[planes]) / "config.json").is_file()


def test_a_new_model_is_a_linear_code_whose_prefixes_grow():
    torch.manual_seed(0)
    model, volume = checkpoint.build(config()).eval(), solid()
    with torch.no_grad():
        latents = model.encode(volume)
        found = [model.volume(model.decode(latents, k))[0, 0].numpy() for k in (1, 2)]
    ious = [volume_iou(volume[0, 0].numpy(), distance) for distance in found]
    assert ious[1] > 0.7 and ious[1] > ious[0]


def test_training_reaches_both_ends_and_lowers_the_loss():
    torch.manual_seed(0)
    model = checkpoint.build(config(4))
    before = {name: p.clone() for name, p in model.named_parameters()}
    volumes = torch.cat([turn_volume(solid(16, 4), axes) for axes in TURNS[:4]])
    fitted = fit(model, [volumes], LossConfig(), OptimiserConfig(lr=3e-3, warmup_steps=3), steps=12)
    assert fitted.skipped == 0
    assert np.mean(fitted.losses[-3:]) < 0.9 * np.mean(fitted.losses[:3])
    still = {n for n, p in model.named_parameters() if torch.equal(p, before[n])}
    assert not still


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"domain": "voxel"}, "needs domain triplane"),
        ({"likelihood": "mse"}, "likelihood sdf"),
        ({"field": {"resolution": 15, "lift": {"stride": [1, 2, 2], "width": 8}}}, "divisor of 15"),
        ({"channels": 3, "field": {"resolution": 16}}, "at least as many"),
        ({"field": {"chanels": 1}}, "nearest valid key is 'channels'"),
        ({"scaling": {"offset": [0.0], "scale": [1.0]}}, "1 entries; the model has 8"),
    ],
)
def test_configs_that_do_not_fit_say_so(changes, words):
    base = config().model_dump(mode="json")
    if changes.get("domain"):
        base["stem"]["stride"], base["levels"] = (
            [2, 2, 2],
            [base["levels"][0] | {"stride": [8] * 3}],
        )
    with pytest.raises(ValueError, match=words):
        parse(ModelConfig, base | changes, "model")


def test_a_volume_of_another_size_says_what_fits():
    with pytest.raises(ValueError, match="make fields of resolution 16"):
        checkpoint.build(config()).encode(torch.zeros(1, 1, 12, 12, 12))


# planes as data -------------------------------------------------------------------------------


def some_planes(folder: Path, count: int = 4, channels: int = 5) -> list[Path]:
    """Channels of ranges that differ a thousandfold; the last is constant."""
    ranges = torch.tensor([10.0**i for i in range(-1, channels - 2)] + [0.0]).view(1, -1, 1, 1)
    rng, paths = np.random.default_rng(0), []
    for i in range(count):
        smooth = rng.normal(size=(3, channels, 2, 2)).repeat(4, 2).repeat(4, 3)
        paths.append(folder / f"{i}.npy")
        np.save(paths[-1], (7 + ranges.numpy() * smooth).astype(np.float32))
    return paths


def test_scaling_is_mean_and_deviation_and_is_undone(tmp_path):
    paths = some_planes(tmp_path)
    every = np.stack([np.load(p) for p in paths]).transpose(2, 0, 1, 3, 4).reshape(5, -1)
    scaling = measure_scaling(paths)
    assert np.allclose(scaling.offset, every.mean(1), rtol=1e-5)
    assert np.allclose(scaling.scale, [*(2 * every[:4].std(1)), 1], rtol=1e-5)
    x = torch.stack([PlaneDataset(paths, scaling).planes(i) for i in range(4)])
    assert x.shape == (4, 5, 3, 8, 8) and torch.allclose(
        x[:, :4].std(), torch.tensor(0.5), atol=0.01
    )
    write_planes(tmp_path / "again.npy", restore(x[0], scaling))
    again = np.load(tmp_path / "again.npy")
    assert again.shape == (3, 5, 8, 8) and again.dtype == np.float32
    assert np.allclose(again, np.load(paths[0]), rtol=1e-5)


def test_a_plain_ladder_learns_planes_and_gives_back_files(tmp_path):
    paths = some_planes(tmp_path)
    values = config().model_dump(mode="json") | {"field": None, "channels": 5, "likelihood": "l1"}
    values["scaling"] = measure_scaling(paths).model_dump()
    torch.manual_seed(0)
    model = checkpoint.build(parse(ModelConfig, values, "model"))
    data = PlaneDataset([*find_planes(tmp_path).values()], model.config.scaling)
    batch = torch.stack([data[i] for i in range(4)])
    fitted = fit(model, [batch], LossConfig(), OptimiserConfig(lr=3e-3, warmup_steps=5), steps=15)
    assert np.mean(fitted.losses[-5:]) < np.mean(fitted.losses[:5])
    checkpoint.save(fitted.model, tmp_path / "model.safetensors")
    model = stlatent.load(tmp_path / "model.safetensors")
    planes = read_planes(paths[0])
    latents = model.encode(normalise(planes, model.config.scaling)[None])
    back = restore(model.decode(latents), model.config.scaling)[0]
    assert back.shape == planes.shape
    error = (back - planes).abs().mean((1, 2, 3))
    assert (error < 0.5 * planes.std((1, 2, 3)) + 0.5).all()


@pytest.mark.parametrize(
    "array, words",
    [
        (np.zeros((3, 4, 8, 9), np.float32), "not square"),
        (np.zeros((4, 3, 8, 8), np.float32), "planes are one array of floats"),
        (np.zeros((3, 4, 8, 8), np.uint8), "holds uint8"),
        (np.full((3, 4, 8, 8), np.nan, np.float32), "not finite"),
        (np.array([{}]), "other than arrays"),
    ],
)
def test_files_that_are_no_planes_say_so(array, words, tmp_path):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(UnreadableError, match=words):
        read_planes(tmp_path / "a.npy")


def test_planes_that_unpack_to_too_much(tmp_path, monkeypatch):
    planes = np.zeros((3, 4, 64, 64), np.float32)
    np.savez_compressed(tmp_path / "a.npz", planes)
    assert read_planes(tmp_path / "a.npz").shape == (4, 3, 64, 64)
    monkeypatch.setattr("stlatent.media.planes.data.MAX_BYTES", planes.nbytes - 1)
    with pytest.raises(UnreadableError, match="unpacks to 196,608 bytes"):
        read_planes(tmp_path / "a.npz")
    np.savez(tmp_path / "empty.npz")
    with pytest.raises(UnreadableError, match="no array"):
        read_planes(tmp_path / "empty.npz")


def test_planes_go_through_the_jobs(tmp_path, capsys):
    """The same layout and range come back; what does not fit is named."""
    (tmp_path / "in" / "sub").mkdir(parents=True)
    paths = some_planes(tmp_path / "in", 2) + some_planes(tmp_path / "in" / "sub", 1)
    np.save(tmp_path / "in" / "wrong.npy", np.zeros((3, 4, 8, 8), np.float32))
    values = config().model_dump(mode="json") | {"field": None, "channels": 5, "likelihood": "l1"}
    values["scaling"] = measure_scaling(paths).model_dump()
    torch.manual_seed(0)
    model = checkpoint.build(parse(ModelConfig, values, "model")).eval()
    at, out, z = str(tmp_path / "m.safetensors"), tmp_path / "out", str(tmp_path / "z")
    checkpoint.save(model, at)
    assert main(["encode", str(tmp_path / "in"), "--model", at, "--out", z]) == 1
    assert "has 4 channels; the model has 5" in (tmp_path / "z" / "failed.jsonl").read_text()
    assert main(["decode", z, "--model", at, "--out", str(out)]) == 0
    made = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.npy"))
    assert made == ["0.npy", "1.npy", "sub/0.npy"]
    scaling = model.config.scaling
    for name in made:
        given, back = np.load(tmp_path / "in" / name), np.load(out / name)
        assert back.dtype == np.float32 and back.shape == given.shape
        x = normalise(torch.from_numpy(given).transpose(0, 1), scaling)
        with torch.no_grad():
            expected = restore(model.decode(model.encode(x[None]))[0], scaling)
        error = (torch.from_numpy(back).transpose(0, 1) - expected).abs().amax((1, 2, 3))
        assert (error < 0.02 * torch.tensor(scaling.scale)).all()  # latents are float16
    for arguments in (
        ["inspect", at, "--data", z, "--out", str(tmp_path / "report")],
        ["sample", at],
        ["decode", z, "--model", at, "--format", "mp4"],
    ):
        capsys.readouterr()
        assert main(arguments) == 2
        assert "planes" in capsys.readouterr().err


def test_other_channels_and_empty_folders_say_so(tmp_path):
    with pytest.raises(ValueError, match="holds no planes"):
        find_planes(tmp_path)
    paths = some_planes(tmp_path)
    np.savez(tmp_path / "c.npz", np.zeros((3, 6, 8, 8), np.float32))
    with pytest.raises(UnreadableError, match="has 6 channels"):
        measure_scaling([*paths, tmp_path / "c.npz"])
    with pytest.raises(UnreadableError, match="has 6 channels; the model has 5"):
        PlaneDataset([tmp_path / "c.npz"], measure_scaling(paths)).planes(0)


def test_fitting_improves_on_cosines():
    torch.manual_seed(0)
    volumes = torch.cat([solid(), turn_volume(solid(), ("z", "-x", "y"))])
    fitter = PlaneFitter(4, DecoderConfig(channels=1, hidden=16, near=512, uniform=128))

    def iou(planes):
        found = on_grid(fitter.decoder, planes, 16)
        return np.mean([volume_iou(a[0].numpy(), b[0].numpy()) for a, b in zip(volumes, found)])

    before = iou(cosine_planes(volumes, 4))
    losses = fitter.share(volumes, 60)
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:5])
    after = iou(fitter.fit(volumes, 60))
    assert after > before + 0.1 and after > 0.9


def test_the_tool_writes_planes_and_a_decoder_that_give_the_meshes_back(tmp_path, capsys):
    (tmp_path / "meshes").mkdir()
    trimesh.creation.icosphere(2).export(tmp_path / "meshes" / "ball.ply")
    trimesh.creation.box((1, 2, 3)).export(tmp_path / "meshes" / "box.obj")
    out = tmp_path / "planes"
    common = [str(tmp_path / "meshes"), "--out", str(out), "--resolution", "16"]
    assert fit_triplanes.main([*common, "--channels", "8", "--steps", "20"]) == 0
    said = capsys.readouterr().out
    assert float(re.search(r"mean volume IoU ([\d.]+)", said)[1]) > 0.9
    decoder = checkpoint.load_decoder(out / "decoder.safetensors")
    planes = read_planes(out / "box.obj.npy")[None]
    extents = mesh_from_planes(decoder, planes, 32).extents
    assert np.allclose(extents / extents.max(), [1 / 3, 2 / 3, 1], atol=0.08)
    assert fit_triplanes.main(common) == 2 and "not empty" in capsys.readouterr().err


# training runs --------------------------------------------------------------------------------


def start(tmp_path: Path, model: ModelConfig, data: dict) -> stlatent.Ladder:
    """Two steps of `stlatent train`, measured; the same command once more changes nothing."""
    values = {
        "model": model.model_dump(mode="json", exclude_unset=True),
        "data": data | {"batch_size": 2, "workers": 0},
        "out": str(tmp_path / "run"),
        "steps": 2,
        "tracker": None,
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(values))
    for _ in range(2):
        run(tmp_path / "run.yaml")
    return stlatent.load(tmp_path / "run")


def validated(tmp_path: Path) -> dict:
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    return next(m for m in map(json.loads, lines) if "validation_bits_per_value" in m)


def test_a_run_on_meshes_through_planes(tmp_path):
    (tmp_path / "meshes").mkdir()
    trimesh.creation.icosphere(2).export(tmp_path / "meshes" / "ball.ply")
    trimesh.creation.box((1, 2, 3)).export(tmp_path / "meshes" / "box.obj")
    data = {
        "root": str(tmp_path / "meshes"),
        "cache": str(tmp_path / "cache"),
        "fields": {"resolution": 16},
        "validation": {"names": ["box.obj"]},
    }
    model = start(tmp_path, config(), data)
    assert isinstance(model, stlatent.TriplaneAutoencoder)
    assert validated(tmp_path)["validation_volume_iou"][-1] > 0.5
    data["fields"]["resolution"] = 32
    with pytest.raises(ValueError, match="resolution is 32; this model makes planes of .* of 16"):
        start(tmp_path, config(), data)


def test_a_run_on_planes_measures_their_range(tmp_path):
    (tmp_path / "planes").mkdir()
    paths = some_planes(tmp_path / "planes")
    np.save(tmp_path / "planes" / "wrong.npy", np.zeros((3, 5, 4, 4), np.float32))
    data = {"root": str(tmp_path / "planes"), "side": 8, "validation": {"names": ["3.npy"]}}
    values = config().model_dump(mode="json") | {"field": None, "channels": 5, "likelihood": "l1"}
    model = start(tmp_path, parse(ModelConfig, values, "model"), data)
    assert model.config.scaling == measure_scaling(paths[:3])
    assert len(validated(tmp_path)["validation_psnr_db"]) == 2
    assert "has 5 channels of side 4" in (tmp_path / "run" / "unreadable.json").read_text()
