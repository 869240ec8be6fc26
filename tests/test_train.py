"""Training on real files: exact resume after a kill, unreadable files, runs that must not mix."""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
import torch

import stlatent
from stlatent.model.config import load
from stlatent.train import run
from stlatent.train.config import RunConfig
from stlatent.train.data import open_data
from stlatent.train.loop import Loop

TINY = Path(__file__).parents[1] / "configs" / "video" / "tiny.yaml"


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """Three short clips of moving noise, and one file that is no video."""
    folder = tmp_path_factory.mktemp("videos")
    rng = np.random.default_rng(0)
    for name in ("a.mp4", "b.mp4", "held.mp4"):
        picture = rng.integers(0, 255, (12, 12, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        with av.open(str(folder / name), "w") as file:
            stream = file.add_stream("libx264", rate=10)
            stream.width = stream.height = 96
            for t in range(14):
                frame = av.VideoFrame.from_ndarray(np.roll(picture, 3 * t, 1), format="rgb24")
                file.mux(stream.encode(frame))
            file.mux(stream.encode())
    (folder / "broken.mp4").write_bytes(b"not a video")
    return folder


def options(videos: Path, run_folder: Path, **more) -> list[str]:
    settings = {
        "data.root": videos,
        "out": run_folder,
        "steps": 12,
        "save_every": 5,
        "log_every": 1,
        "tracker": "null",
        "data.crop": 32,
        "data.validation.names": "[held.mp4]",
        "data.validation.crop": 32,
        "data.validation.frames": 9,
        "data.validation.every": 6,
    }
    return [f"{key}={value}" for key, value in {**settings, **more}.items()]


def metrics(out: Path) -> list[dict]:
    """What was logged, without times."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def start(videos: Path, out: Path) -> subprocess.Popen:
    arguments = ["train", str(TINY), *options(videos, out)]
    code = (
        f"import torch; torch.set_num_threads(1); from stlatent.cli import main; main({arguments})"
    )
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)


def test_resuming_after_a_kill_gives_the_same_digits(videos, tmp_path):
    whole = start(videos, tmp_path / "whole")
    assert whole.wait(timeout=600) == 0
    killed = start(videos, tmp_path / "killed")
    log = tmp_path / "killed" / "metrics.jsonl"
    deadline = time.monotonic() + 600
    while not log.exists() or len(log.read_text().splitlines()) < 8:  # past the save at step 5
        assert time.monotonic() < deadline and killed.poll() is None
        time.sleep(0.005)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    again = start(videos, tmp_path / "killed")
    assert again.wait(timeout=600) == 0
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "whole")
    prints = [stlatent.fingerprint(stlatent.load(tmp_path / n)) for n in ("killed", "whole")]
    assert prints[0] == prints[1]


def test_a_run_leaves_models_pictures_and_names_what_it_could_not_read(videos, tmp_path, capsys):
    out = tmp_path / "run"
    for _ in ("trains", "finds it so"):
        run(TINY, options(videos, out, steps=2, tracker="tensorboard"))
        assert "is complete at step 2; raise steps or minutes" in capsys.readouterr().out
    assert json.loads((out / "unreadable.json").read_text()).keys() == {str(videos / "broken.mp4")}
    assert list((out / "reconstructions").glob("*.png")) and list(out.rglob("events.out.*"))
    model = stlatent.load(out)
    assert (
        not model.training
        and torch.isfinite(model.encode(torch.zeros(1, 3, 9, 32, 32)).levels[0]).all()
    )
    figures = metrics(out)[-1]
    assert len(figures["validation_psnr_db"]) == len(figures["validation_bits_per_value"]) == 3


def test_training_lowers_the_loss(videos, tmp_path):
    run(TINY, options(videos, tmp_path / "run", steps=60, **{"data.validation.every": 1000}))
    losses = [line["loss"] for line in metrics(tmp_path / "run") if "loss" in line]
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:10])


def test_photos_are_videos_of_one_frame(videos, tmp_path):
    from PIL import Image

    (tmp_path / "photos").mkdir()
    Image.new("RGB", (80, 70), (200, 10, 90)).save(tmp_path / "photos" / "p.png")
    extra = {"data.photos": tmp_path / "photos", "data.photo_share": 0.5}
    words = options(videos, tmp_path / "run", steps=4, **extra)
    data, cpu = open_data(load(RunConfig, TINY, words)), torch.device("cpu")
    batches = [data.enter(one, cpu) for one in islice(data.batches(0), 8)]
    assert {x.shape[2] for x in batches} == {1, 9}
    run(TINY, words)
    assert [line["step"] for line in metrics(tmp_path / "run") if "loss" in line] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "change, words",
    [
        ({"seed": 1}, "another `seed`"),
        ({"data.batch_size": 3}, "another `data`"),
        ({"out": "{}"}, "is of no run"),
        ({"data.validation.names": "[nothing.mp4]", "out": "{}/new"}, "'nothing.mp4'"),
        ({"loss.rate.weight": "[1, 2]", "out": "{}/new"}, "2 entries; the model has 3 levels"),
    ],
)
def test_runs_do_not_mix(videos, tmp_path, change, words):
    run(TINY, options(videos, tmp_path / "run", steps=1))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    change = {k: str(v).format(tmp_path / "other") for k, v in change.items()}
    with pytest.raises(ValueError, match=words):
        run(TINY, options(videos, tmp_path / "run", **({"steps": 1} | change)))


def test_a_run_that_never_began_may_be_corrected(videos, tmp_path):
    with pytest.raises(ValueError, match="nowhere"):
        run(TINY, options(videos / "nowhere", tmp_path / "run", steps=1))
    run(TINY, options(videos, tmp_path / "run", steps=1))


def test_dry_run_prints_and_writes_nothing(videos, tmp_path, capsys):
    assert run(TINY, options(videos, tmp_path / "run"), dry_run=True) is None
    text = capsys.readouterr().out
    assert (
        "parameters" in text and "level 0: [8, 2, 1, 1]" in text and "MiB for activations" in text
    )
    assert not (tmp_path / "run").exists()


def test_two_processes_train_one_model(videos, tmp_path):
    """Twice the batch, one set of files, and both end together by the clock."""
    launch = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    arguments = [str(TINY), *options(videos, tmp_path / "run", steps=1000, minutes=0.1)]
    done = subprocess.run(
        [sys.executable, *launch, "-m", "stlatent", "train", *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    steps = [line["step"] for line in metrics(tmp_path / "run") if "loss" in line]
    assert steps == list(range(1, len(steps) + 1))
    stlatent.load(tmp_path / "run")


def test_starting_from_other_weights(videos, tmp_path):
    run(TINY, options(videos, tmp_path / "first", steps=3))
    run(
        TINY,
        options(
            videos, tmp_path / "second", steps=1, start=tmp_path / "first", **{"optimiser.lr": 1e-9}
        ),
    )
    first, second = (stlatent.load(tmp_path / n) for n in ("first", "second"))
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in pairs)


def test_a_discriminator_trains_along_and_is_resumed(videos, tmp_path, monkeypatch):
    extra = {"adversarial": "{weight: 0.1, width: 8}", "steps": 6, "save_every": 3}
    run(TINY, options(videos, tmp_path / "whole", **extra))
    step = Loop.step

    def interrupted(self, batches):
        if self.done == 4:
            raise KeyboardInterrupt
        return step(self, batches)

    said = "saved until step 3.*the same command goes on"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match=said):
        patch.setattr(Loop, "step", interrupted)
        run(TINY, options(videos, tmp_path / "parts", **extra))
    run(TINY, options(videos, tmp_path / "parts", **extra))
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
