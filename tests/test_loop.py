"""The loop: precisions, signals, whose folder it is, what it leaves alone."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from domains import batch, ladder
from safetensors.torch import save_file
from test_train import TINY, metrics, options, videos  # noqa: F401  (a fixture)
from torch import nn

from stlatent.cli import main
from stlatent.files import alone
from stlatent.losses.elbo import LossConfig
from stlatent.train import run
from stlatent.train.config import OptimiserConfig, RunConfig
from stlatent.train.fit import fit
from stlatent.train.folder import STATE
from stlatent.train.loop import make_accelerator
from stlatent.train.loss import batch_loss
from stlatent.train.steps import Steps
from stlatent.train.task import Loss, Moment, Task
from stlatent.weights import read

# precisions -------------------------------------------------------------------------------------


def test_a_critic_trains_in_bf16(videos, tmp_path):  # noqa: F811
    extra = {"adversarial": "{weight: 0.1, width: 8}", "steps": 3, "precision": "bf16"}
    run(TINY, options(videos, tmp_path / "run", **extra))
    assert [line["step"] for line in metrics(tmp_path / "run") if "loss" in line] == [1, 2, 3]


class Square(Task):
    """A model whose gradient is as long as the batch says."""

    def __init__(self) -> None:
        self.model = self.network = nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.model.weight, 1.0)

    def loss(self, batch: torch.Tensor, at: Moment) -> Loss:
        return Loss((self.network(batch).float() ** 2).mean(), {})


def half_precision(task: Task, scale: float) -> Steps:
    """Steps in fp16 on the CPU, where accelerate offers none."""
    config = RunConfig.model_construct(precision="fp32", tracker=None, out=Path("nowhere"))
    accelerator = make_accelerator(config)
    accelerator.native_amp, accelerator.state._mixed_precision = True, "fp16"
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    return Steps(task, OptimiserConfig(skip=2.0, warmup_steps=0), accelerator)


def take(steps: Steps, x: float, number: int) -> None:
    moment = Moment(number, 0.0, torch.Generator())
    steps.step([torch.full((1, 1), x)], [moment])


def test_a_scale_that_is_too_large_comes_down():
    steps = half_precision(Square(), 2.0**127)
    for number in range(4):
        take(steps, 8.0, number)
    scaler = steps.accelerator.scaler
    assert steps.guard.skipped > 0 and scaler.get_scale() == 2.0 ** (127 - steps.guard.skipped)
    scaler.update(8.0)
    before = steps.task.model.weight.item()
    take(steps, 8.0, 4)
    assert steps.task.model.weight.item() < before


def test_a_gradient_that_is_too_long_leaves_the_scale():
    steps = half_precision(Square(), 4.0)
    for number, x in enumerate([1.0, 1.0, 30.0, 1.0]):
        take(steps, x, number)
    assert steps.guard.skipped == 1 and steps.accelerator.scaler.get_scale() == 4.0


def test_runs_of_two_precisions_in_one_process(videos, tmp_path):  # noqa: F811
    for precision in ("bf16", "fp32"):
        run(TINY, options(videos, tmp_path / precision, steps=1, precision=precision))
    (bf16, *_), (fp32, *_) = (metrics(tmp_path / precision) for precision in ("bf16", "fp32"))
    assert bf16["loss"] == pytest.approx(fp32["loss"], rel=0.05) and bf16["loss"] != fp32["loss"]


# signals and disks ------------------------------------------------------------------------------


def start(videos: Path, out: Path, **more) -> subprocess.Popen:  # noqa: F811
    arguments = ["train", str(TINY), *options(videos, out, save_every=1000, **more)]
    code = (
        "import sys, torch; torch.set_num_threads(1); from stlatent.cli import main; "
        f"sys.exit(main({arguments}))"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code], start_new_session=True, **pipes)


@pytest.fixture(scope="module")
def uninterrupted(videos, tmp_path_factory) -> list[dict]:  # noqa: F811
    """The metrics of a whole run that nothing has stopped."""
    out = tmp_path_factory.mktemp("whole") / "run"
    run(TINY, options(videos, out, save_every=1000))
    return metrics(out)


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_all_processes_saves_the_step(videos, uninterrupted, tmp_path, number, code):  # noqa: F811
    out = tmp_path / "parts"
    process = start(videos, out, **{"data.workers": 1})
    deadline, log = time.monotonic() + 600, out / "metrics.jsonl"
    while not log.exists() or len(log.read_text().splitlines()) < 3:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.005)
    os.killpg(process.pid, number)
    said, errors = process.communicate(timeout=600)
    assert process.returncode == code and "Traceback" not in errors, errors
    steps = [line["step"] for line in metrics(out) if "loss" in line]
    assert f"stopped after step {steps[-1]}" in said and 3 <= steps[-1] < 12
    assert (f"saved until step {steps[-1]}; the same command" in errors) == (code == 130)
    assert f'"step": {steps[-1]},' in read(out / "state.safetensors", tensors=False)[1]["values"]
    run(TINY, options(videos, out, save_every=1000, **{"data.workers": 1}))
    assert metrics(out) == uninterrupted


def test_a_full_disk_is_one_line(videos, tmp_path):  # noqa: F811
    arguments = ["train", str(TINY), *options(videos, tmp_path / "run", steps=1)]
    done = subprocess.run(
        [sys.executable, "-m", "stlatent", *arguments],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "cannot be written" in done.stderr.splitlines()[-1]
    assert not list((tmp_path / "run").rglob("*.tmp"))


@pytest.mark.parametrize("workers", [0, 1])
def test_what_a_reading_process_says_is_one_line(tmp_path, capsys, workers):
    for name in ("a.off", "b.off"):
        (tmp_path / name).write_text("no mesh")
    more = [f"data.root={tmp_path}", f"out={tmp_path / 'run'}", f"data.workers={workers}"]
    more += ["data.batch_size=1", f"data.cache={tmp_path / 'cache'}", "tracker=null"]
    recipe = TINY.parents[1] / "shape" / "voxel.yaml"
    small = "model.levels=[{stride: [32, 32, 32], width: 8, latent: 4, blocks: 1}]"
    assert main(["train", str(recipe), small, *more]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("stlatent: error: none of 2 sources can be read; the last, b.off") or (
        error.startswith("stlatent: error: none of 2 sources can be read; the last, a.off")
    )


@pytest.mark.parametrize("lr", [10, 1e-3])
def test_a_run_that_leaves_most_steps_out_says_so(videos, tmp_path, capsys, lr):  # noqa: F811
    more = {"optimiser.lr": lr, "optimiser.warmup_steps": 0, "steps": 20}
    run(TINY, options(videos, tmp_path / "run", **more))
    skipped = max(line.get("skipped", 0) for line in metrics(tmp_path / "run"))
    told = capsys.readouterr().out
    assert (skipped > 10) == (lr == 10) == ("lower optimiser.lr" in told), skipped
    assert told.count("steps were left out") <= 1


def test_no_bar_where_no_terminal_shows_it(videos, tmp_path, capsys):  # noqa: F811
    run(TINY, options(videos, tmp_path / "run", steps=3))
    told = capsys.readouterr()
    assert "\r" not in told.err + told.out and "step/s" not in told.err
    # what is held out, what is unreadable, a measurement, the end
    assert len(told.out.splitlines()) == 4


# whose folder it is -----------------------------------------------------------------------------


def test_what_no_run_wrote_is_not_overwritten(videos, tmp_path, monkeypatch):  # noqa: F811
    mine = TINY.read_text()
    (tmp_path / "config.yaml").write_text(mine)
    monkeypatch.chdir(tmp_path)
    for out in (".", tmp_path):
        with pytest.raises(ValueError, match=r"holds config.yaml, which is of no run"):
            run("config.yaml", options(videos, out, steps=1))
    assert [p.name for p in tmp_path.iterdir()] == ["config.yaml"]
    assert (tmp_path / "config.yaml").read_text() == mine


def test_a_run_goes_on_by_its_own_config(videos, tmp_path):  # noqa: F811
    out = tmp_path / "run"
    run(TINY, options(videos, out, steps=1))
    run(out / "config.yaml", ["steps=2"])
    assert [line["step"] for line in metrics(out) if "loss" in line] == [1, 2]


@pytest.fixture(scope="module")
def one_step(videos, tmp_path_factory) -> Path:  # noqa: F811
    out = tmp_path_factory.mktemp("one") / "run"
    run(TINY, options(videos, out, steps=1))
    return out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"stp": 1}, "unknown key 'stp', the nearest valid key is 'step'"),
        ({"step": "one"}, "step: input should be a valid integer"),
        ({"step": -1}, "step: input should be greater than or equal to 0"),
        ({"guard": {"skipped": 1.5}}, "guard.skipped: input should be a valid integer"),
        ({"guard": []}, "guard: input should be a valid dictionary"),
    ],
)
def test_a_state_that_cannot_be_is_one_line(videos, one_step, capsys, change, said):  # noqa: F811
    out, whole = one_step, (one_step / STATE).read_bytes()
    tensors, metadata = read(out / STATE)
    values = json.dumps(json.loads(metadata["values"]) | change)
    save_file(tensors, out / STATE, metadata | {"values": values})
    capsys.readouterr()
    try:
        assert main(["train", str(TINY), *options(videos, out, steps=2)]) == 2
    finally:
        (out / STATE).write_bytes(whole)  # for the others
    (line,) = capsys.readouterr().err.splitlines()
    assert f"values of {out / STATE}: {said}" in line


def test_a_run_lies_on_this_machine(videos, capsys):  # noqa: F811
    assert main(["train", str(TINY), *options(videos, "s3://bucket/run")]) == 2
    assert "out: a run lies in a folder of this machine" in capsys.readouterr().err


def test_one_training_at_a_time(videos, tmp_path, capsys):  # noqa: F811
    out = tmp_path / "run"
    run(TINY, options(videos, out, steps=1))
    before = (out / "config.yaml").read_bytes()
    capsys.readouterr()
    with alone(out / ".lock", "the test itself"):
        assert main(["train", str(TINY), *options(videos, out, steps=2)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "another training is at work there" in line
    assert (out / "config.yaml").read_bytes() == before
    assert run(TINY, options(videos, out, steps=2)) == out


# what it leaves alone ---------------------------------------------------------------------------


def test_the_global_source_of_noise_is_left_as_it_was():
    model, x = ladder("image").requires_grad_(True), batch("image", (32, 32))
    before = torch.get_rng_state()
    at = Moment(0, 0.0, torch.Generator().manual_seed(0))
    batch_loss(model, model, x, LossConfig(), at)
    fit(model, [x], LossConfig(), OptimiserConfig(), steps=2)
    assert torch.equal(torch.get_rng_state(), before)
