"""A share of the files is held out by default, by a hash of their names."""

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from test_train import metrics
from test_train import options as video_options

import stlatent
from stlatent import Ladder, checkpoint
from stlatent.checkpoint import build
from stlatent.media.audio.write import write_sound
from stlatent.media.planes.data import write_planes
from stlatent.media.training import HeldOut
from stlatent.model.config import load
from stlatent.model.rates import RateRange
from stlatent.train import run
from stlatent.train.config import RunConfig
from stlatent.train.data import TrainingData, loss_over_rates, open_data, with_data
from stlatent.train.loss import batch_loss
from stlatent.train.task import Moment

CONFIGS = Path(__file__).parents[1] / "configs"
NAMES = [f"clip_{i}.mp4" for i in range(200)]


def test_a_file_stays_on_its_side_when_others_come():
    few, many = (set(HeldOut(share=0.05).chosen(NAMES[:n])) for n in (100, 200))
    assert few and few == many & set(NAMES[:100])


def test_how_many_are_held_out():
    assert [len(HeldOut(share=0.001).chosen(NAMES[:n])) for n in (0, 3, 4, 200)] == [0, 0, 1, 1]
    assert len(HeldOut(share=0.9).chosen(NAMES)) == 16
    assert HeldOut(share=0).chosen(NAMES) == HeldOut().chosen(NAMES) == ()
    assert HeldOut(names=("a",), share=0.5).chosen(NAMES) == ("a",)


def pictures(folder: Path) -> None:
    for i in range(5):
        Image.new("RGB", (40, 36), (50 * i, 90, 200)).save(folder / f"{i}.png")


def planes(folder: Path) -> None:
    for i in range(5):
        write_planes(folder / f"{i}.npy", torch.rand(24, 3, 64, 64) * 2 - 1)


def meshes(folder: Path) -> None:
    for i in range(5):
        trimesh.creation.box((1, 1, 1 + i / 4)).export(folder / f"{i}.off")


def sounds(folder: Path) -> None:
    for i in range(5):
        tone = 0.5 * np.sin(np.arange(4000) * (i + 1) / 10)[None].astype(np.float32)
        write_sound(folder / f"{i}.wav", [tone], 8000, "wav")


def volumes(folder: Path) -> None:
    for i in range(5):
        np.save(folder / f"{i}.npy", np.random.default_rng(i).normal(size=(9, 16, 16, 16)))


TINY_SHAPES = [
    "model.stem={stride: [2, 2, 2], width: 8, blocks: 1}",
    "model.levels=[{stride: [8, 8, 8], width: 8, latent: 4, blocks: 1}]",
    "data.fields.resolution=16",
]
KINDS = {
    "image": ("image/tiny", pictures, ["data.crop=32", "data.validation.crop=32"]),
    "voxel": ("shape/voxel", meshes, TINY_SHAPES),
    "triplane": ("shape/planes", planes, []),
    "audio": ("audio/tiny", sounds, ["data.rate=8000"]),
    "volumes": ("volumes/tiny", volumes, ["data.validation.crop=16"]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_held_out_is_not_trained_on(kind, tmp_path):
    recipe, make, more = KINDS[kind]
    make(tmp_path)
    more = [*more, f"data.root={tmp_path}", f"out={tmp_path / 'run'}"]
    if kind == "voxel":
        more.append(f"data.cache={tmp_path / 'cache'}")
    config = with_data(load(RunConfig, CONFIGS / f"{recipe}.yaml", more))
    data = open_data(config)
    (held,) = data.held_out
    assert held in data.notice and "share=0.05" in data.notice
    (trained,) = data.set.kinds.values()
    paths = getattr(trained, "sources", None) or getattr(trained, "paths", None) or trained.items
    assert len(paths) == 4 and not any(held in str(path) for path in paths)
    assert data.measure(build(config.model).eval(), 0)
    none = open_data(with_data(load(RunConfig, CONFIGS / f"{recipe}.yaml", [*more, *OFF])))
    assert not none.held_out and "nothing is held out" in none.notice


def test_archives_that_training_does_not_open_are_named(tmp_path, caplog):
    pictures(tmp_path)
    for name in ("0.tar", "1.parquet"):
        (tmp_path / name).write_bytes(b"?")
    more = [*KINDS["image"][2], f"data.root={tmp_path}", f"out={tmp_path / 'run'}"]
    assert open_data(load(RunConfig, CONFIGS / "image/tiny.yaml", more)).set
    assert "archives, which training does not open: 0.tar, 1.parquet" in caplog.text


OFF = ["data.validation.share=0"]


def test_a_mesh_that_cannot_be_read_is_not_the_one_held_out(tmp_path):
    meshes(tmp_path)
    first, *_ = HeldOut(share=0.01).chosen([f"{i}.off" for i in range(5)])
    (tmp_path / first).write_text("no mesh")
    more = [*TINY_SHAPES, f"data.root={tmp_path}", f"data.cache={tmp_path / 'cache'}"]
    data = open_data(with_data(load(RunConfig, CONFIGS / "shape" / "voxel.yaml", more)))
    assert len(data.held_out) == 1 and first in data.bad and first not in data.held_out


def options(folder: Path, *more: str) -> list[str]:
    common = ["tracker=null", "log_every=1", "data.crop=32", "data.validation.crop=32"]
    return [*common, f"data.root={folder}", f"out={folder / 'run'}", *more]


def test_a_run_measures_and_keeps_its_best_by_default(tmp_path, capsys):
    pictures(tmp_path)
    out = run(CONFIGS / "image" / "tiny.yaml", options(tmp_path, "steps=2"))
    assert "held out for validation: " in capsys.readouterr().out
    assert stlatent.load(out / "best") and list((out / "reconstructions").glob("*.png"))
    assert len(metrics(out)[-1]["validation_psnr_db"]) == 3


def test_a_run_that_began_without_a_share_goes_on_without(tmp_path):
    """As those of former versions, whose configs do not mention one."""
    pictures(tmp_path)
    recipe = CONFIGS / "image" / "tiny.yaml"
    out = run(recipe, options(tmp_path, "steps=2", *OFF))
    former = (out / "config.yaml").read_text().replace("    share: 0.0\n", "")
    assert "share: 0.0\n" not in former.split("validation:")[1]
    (out / "config.yaml").write_text(former)
    run(recipe, options(tmp_path, "steps=3"))
    lines = metrics(out)
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert not any("validation_psnr_db" in line for line in lines)


def test_names_are_what_they_were(tmp_path):
    config = load(RunConfig, CONFIGS / "video" / "tiny.yaml", video_options(tmp_path, tmp_path))
    assert with_data(config).data.validation == config.data.validation


RATED = ["model.rate={range: [0.01, 0.1]}", "model.posterior=rounded"]


def test_the_best_of_a_model_for_all_rates_has_the_least_loss(tmp_path, monkeypatch):
    """And not the most bits, which has the highest PSNR."""
    pictures(tmp_path)
    losses, figures = iter([3.0, 1.0, 2.0]), TrainingData.measure

    def measure(self: TrainingData, model: object, step: int) -> dict[str, list[float]]:
        found = figures(self, model, step)
        assert len(found["loss"]) == 3 and np.isfinite(found["loss"]).all()
        return found | {"loss": [next(losses)] * 3, "psnr_db": [float(step)]}

    monkeypatch.setattr(TrainingData, "measure", measure)
    more = [*RATED, "steps=3", "data.validation.every=1"]
    out = run(CONFIGS / "image" / "tiny.yaml", options(tmp_path, *more))
    assert checkpoint.about(out / "best")["step"] == 2


def test_the_loss_over_rates_is_that_which_is_trained(tmp_path, monkeypatch):
    pictures(tmp_path)
    more = options(tmp_path, *RATED, "loss.prefix={share: 0, preview: 0}")
    config = load(RunConfig, CONFIGS / "image/tiny.yaml", more)
    torch.manual_seed(0)
    model, held_out = Ladder(config.model), open_data(with_data(config)).held_out
    found = loss_over_rates(model, held_out)
    rates = config.model.rate
    for weight, loss in zip((rates.range[0], rates.middle, rates.range[1]), found, strict=True):
        told = torch.full([1], weight)
        monkeypatch.setattr(RateRange, "draw", lambda *_, told=told: told)
        at = Moment(10**6, 1.0, torch.Generator().manual_seed(0))
        trained = [batch_loss(model, model, x, config.loss, at)[0] for x in held_out.values()]
        mean = sum(one.total.item() for one in trained) / len(trained)
        assert loss == pytest.approx(mean, rel=0.02)
