"""Volumes over time as a medium: `.npy` files through training, data sets, reports and samples."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoModel

import stlatent
from stlatent.cli import main
from stlatent.files import UnreadableError
from stlatent.media.registry import media, medium_for
from stlatent.media.volumes.child import open_volumes
from stlatent.model.domains import ALL_DOMAINS
from stlatent.store.reader import LatentStore

ROOT = Path(__file__).parents[1]


def ball(frames: int, shape: tuple[int, int, int], level: float = 1000.0) -> np.ndarray:
    """A ball that moves along x, `[T, X, Y, Z]`, in a range of its own."""
    x, y, z = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    middle = [n / 2 for n in shape]
    moved = [middle[0] / 2 + t * middle[0] / frames for t in range(frames)]
    inside = [(x - a) ** 2 + (y - middle[1]) ** 2 + (z - middle[2]) ** 2 < 25 for a in moved]
    return np.where(np.stack(inside), level, -level).astype(np.int16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("volumes")
    (folder / "in").mkdir()
    for i, frames in enumerate((13, 6)):
        np.save(folder / f"in/{i}.npy", ball(frames, (20, 18, 17), 1000.0 * (i + 1)))
    return folder / "in"


def test_from_files_to_files_through_every_verb(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    overrides = [f"data.root={folder}", "out=run", "steps=2", "tracker=null"]
    held = '{"names": ["1.npy"], "frames": 5, "crop": 16, "every": 2}'
    config = str(ROOT / "configs/volumes/tiny.yaml")
    assert main(["train", config, *overrides, f"data.validation={held}"]) == 0
    model = stlatent.load("run")
    assert model.config.scaling.offset == (0.0,) and model.config.scaling.scale == (2000.0,)
    assert list((tmp_path / "run/reconstructions").iterdir())

    assert main(["encode", str(folder), "--model", "run", "--out", "z"]) == 0
    store = LatentStore("z")
    assert store.items["0.npy"].size == (13, 20, 18, 17) and store.items["0.npy"].kind == "volumes"
    whole = np.load(folder / "0.npy").astype(np.float32)[None, None] / 2000
    for z, expected in zip(store.read("0.npy").levels, model.encode(whole).levels, strict=True):
        assert np.abs((z - expected).numpy()).max() < 0.05 * expected.abs().max() + 0.01

    assert main(["decode", "z", "--out", "back"]) == 0
    back = np.load(tmp_path / "back/0.npy")
    assert back.shape == (13, 20, 18, 17) and back.dtype == np.float32 and np.abs(back).max() > 100
    assert main(["inspect", "run", "--data", str(folder), "--out", "report", "--size", "16"]) == 0
    report = json.loads((tmp_path / "report/report.json").read_text())
    assert set(report["bands"]) == {"spatial", "temporal"} and report["noun"] == "sequence"
    assert main(["sample", "run", "--frames", "5", "--size", "16", "--out", "drawn"]) == 0
    assert np.load(tmp_path / "drawn/0000.npy").shape == (5, 16, 16, 16)

    assert main(["encode", str(folder), "--model", "run", "--out", "bits", "--psnr", "12"]) == 0
    coded, plain = (LatentStore(tmp_path / name) for name in ("bits", "z"))
    for a, b in zip(coded["1.npy"].levels, plain["1.npy"].levels, strict=True):
        assert a.shape == b.shape
    assert main(["export", "run", "--out", "vae", "--data", str(folder)]) == 0
    vae = AutoModel.from_pretrained(str(tmp_path / "vae"), trust_remote_code=True)
    x = torch.from_numpy(whole[:, :, :9, :16, :16, :16])
    latents = vae.encode(x).latent_dist.mode()
    assert latents.shape[2:] == (3, 2, 2, 2)
    back = vae.decode(latents).sample
    expected = model.decode(model.encode(x))
    assert back.shape == x.shape and np.abs((back - expected).detach().numpy()).max() < 1e-4


def test_every_domain_has_a_medium():
    found = {name: medium_for(name, field=False) for name in ALL_DOMAINS}
    assert {*found.values(), medium_for("triplane", field=True)} == {*media()}


def test_what_is_no_sequence_of_volumes_is_named(tmp_path):
    for name, array in {
        "a": np.zeros((4, 4)),
        "b": np.array(["x"]),
        "c": np.zeros((0, 4, 4, 4)),
    }.items():
        np.save(tmp_path / f"{name}.npy", array)
        with pytest.raises(UnreadableError, match=r"give numbers \[T, X, Y, Z\]"):
            open_volumes(tmp_path / f"{name}.npy")
    np.save(tmp_path / "cut.npy", np.zeros((9, 8, 8, 8)))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:9000])
    with pytest.raises(UnreadableError, match="damaged"):
        open_volumes(tmp_path / "cut.npy")
