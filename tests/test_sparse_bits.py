"""Shapes of sparse models as bits: cells and marks under the ladder's own priors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from domains import SPARSE_CONFIG

import stlatent
from stlatent.bits.bitstream import make_coding
from stlatent.bits.blocks import BlockEncoder
from stlatent.checkpoint import build, save
from stlatent.cli import main
from stlatent.geometry import FieldSettings, band_from_surface, surface_of
from stlatent.media.shape.near import blocks_of
from stlatent.model.config import ModelConfig, parse
from stlatent.model.gaussian import BITS_PER_NAT
from stlatent.sparse.blocks import Blocks
from stlatent.sparse.ladder import SparseLadder
from stlatent.store.reader import LatentStore

CONFIG = SPARSE_CONFIG | {
    "levels": [
        {"stride": [16] * 3, "width": 16, "latent": 3, "groups": 2},
        {"stride": [8] * 3, "width": 16, "latent": 2},
    ],
    "cube": {"resolution": 32},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is not trained, but no longer as it was made."""
    torch.manual_seed(0)
    made = build(parse(ModelConfig, CONFIG, "config"))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    folder = tmp_path_factory.mktemp("run")
    save(made, folder / "model.safetensors", {"step": 1})
    return folder


@pytest.fixture(scope="module")
def model(run: Path) -> SparseLadder:
    return stlatent.load(run)


@pytest.fixture(scope="module")
def meshes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("meshes")
    trimesh.creation.torus(1.0, 0.4).export(folder / "torus.glb")
    trimesh.creation.cylinder(0.2, 3.0).export(folder / "rod.ply")
    trimesh.creation.box((2, 1, 1)).export(folder / "box.obj")
    return folder


@pytest.fixture(scope="module")
def stored(run: Path, meshes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bits") / "latents"
    assert (
        main(["encode", str(meshes), "--model", str(run), "--out", str(out), "--entropy-code"]) == 0
    )
    return out


def torus(model: SparseLadder) -> Blocks:
    mesh = trimesh.creation.torus(1.0, 0.4)
    return blocks_of(band_from_surface(surface_of(mesh), FieldSettings(resolution=32)), model.block)


def test_what_is_read_is_what_was_chosen_and_marks_are_exact(
    model: SparseLadder, stored: Path
) -> None:
    x = torus(model)
    codes = BlockEncoder(model, (32, 32, 32), make_coding(model, [12**0.5])).push(x)
    found = model.from_grids(LatentStore(stored).read("torus.glb").levels)
    told = model.from_grids([code.latents for code in codes])
    for ours, theirs in zip(
        (*found.levels, *found.marks), (*told.levels, *told.marks), strict=True
    ):
        assert torch.equal(ours, theirs)
    given = model.encode(x)
    assert all(torch.equal(a, b) for a, b in zip(found.marks, given.marks, strict=True))
    assert torch.equal(model.decode(found).index, x.index)


def test_bits_are_what_the_priors_ask_for_and_near_the_rate(
    model: SparseLadder, stored: Path
) -> None:
    """Streams are as long as minus the logarithm of their probability, but for what every stream
    costs; the rate is that of noise, which rounding replaces."""
    for item in LatentStore(stored).items.values():
        assert len(item.bits) == 2 and min(item.bits) > 0
    codes = BlockEncoder(model, (32, 32, 32), make_coding(model, [12**0.5])).push(torus(model))
    for code in codes:
        overhead = 8 * (12 + 8 + 2 + 2 * 6)  # preamble, last words, origins, steps
        assert 0 <= 8 * len(code.stream) - float(code.bits) < overhead + 0.02 * float(code.bits)
    rate = sum(float(nats.sum()) for nats in model.encode(torus(model)).kl) * BITS_PER_NAT
    assert sum(float(code.bits) for code in codes) == pytest.approx(rate, rel=0.3)


def test_a_prefix_is_read_without_a_byte_of_what_is_finer(
    model: SparseLadder, stored: Path, tmp_path: Path
) -> None:
    cut = shutil.copytree(stored, tmp_path / "cut")
    shutil.rmtree(cut / "level_1")
    whole, first = LatentStore(stored).read("rod.ply"), LatentStore(cut).read("rod.ply", 1)
    assert torch.equal(whole.levels[0], first.levels[0])
    decoded = model.decode(model.from_grids(first.levels))
    assert torch.equal(decoded.values, model.decode(model.from_grids(whole.levels), 1).values)
    with pytest.raises(ValueError, match="level_1"):
        LatentStore(cut).read("rod.ply")


def test_whoever_does_which_part_the_bytes_are_the_same(
    run: Path, meshes: Path, stored: Path, tmp_path: Path
) -> None:
    out = tmp_path / "latents"
    command = ["encode", str(meshes), "--model", str(run), "--out", str(out), "--entropy-code"]
    assert main([*command, "--shard", "1/2"]) in (0, 3)
    assert main([*command, "--shard", "0/2"]) == 0
    names = sorted(str(p.relative_to(stored)) for p in stored.rglob("*.safetensors"))
    assert names == sorted(str(p.relative_to(out)) for p in out.rglob("*.safetensors"))
    assert all((stored / name).read_bytes() == (out / name).read_bytes() for name in names)


@pytest.mark.parametrize("level", [0, 1])
def test_a_damaged_stream_is_refused(stored: Path, tmp_path: Path, level: int) -> None:
    broken = shutil.copytree(stored, tmp_path / "broken")
    file = broken / f"level_{level}" / "00000.safetensors"
    content = bytearray(file.read_bytes())
    content[-1 - len(content) // 8] ^= 4
    file.write_bytes(content)
    failed = 0
    for name in (store := LatentStore(broken)):
        try:
            store.read(name)
        except ValueError as error:
            assert "verify" in str(error) and "\n" not in str(error)
            failed += 1
    assert failed == 1
    assert main(["verify", str(broken)]) == 1


def test_it_decodes_to_what_latents_decode_to(
    run: Path, meshes: Path, stored: Path, tmp_path: Path
) -> None:
    """As far as rounding to steps of the posterior's noise goes; and statistics are there."""
    plain = tmp_path / "latents"
    assert main(["encode", str(meshes), "--model", str(run), "--out", str(plain)]) == 0
    for latents in (plain, stored):
        assert main(["decode", str(latents), "--out", str(tmp_path / latents.parent.name)]) == 0
    bounds = [
        trimesh.load(tmp_path / latents.parent.name / "torus.glb", force="mesh").bounds
        for latents in (plain, stored)
    ]
    assert np.abs(bounds[0] - bounds[1]).max() < 0.2
    sizes = [sum(p.stat().st_size for p in d.glob("level_*/*")) for d in (plain, stored)]
    assert sizes[1] < sizes[0]
    manifest = json.loads((stored / "manifest.json").read_text())
    assert [len(level["mean"]) for level in manifest["statistics"]] == [7, 3]
    refused = ["encode", str(meshes), "--model", str(run), "--out", str(tmp_path / "no")]
    assert main([*refused, "--psnr", "30"]) == 2
    assert main([*refused, "--entropy-code", "--key-every", "2"]) == 2
    assert main([*refused, "--entropy-code", "--std"]) == 2
