"""Several processes on CPUs are one training: the losses of one process with the whole batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from domains import ladder
from PIL import Image
from test_train import TINY, metrics, options, videos  # noqa: F401  (a fixture)

from stlatent import LadderPipeline, checkpoint
from stlatent.diffusion.config import DiffusionRun
from stlatent.diffusion.data import open_data
from stlatent.diffusion.training import Diffusion
from stlatent.jobs.encode import encode_folder
from stlatent.model.config import load
from stlatent.train import run
from stlatent.train.optimiser import batch_noise
from stlatent.train.task import Moment

MORE = {
    "steps": 4,
    "save_every": 2,
    "loss.prefix.share": 1.0,
    "adversarial": "{weight: 0.1, width: 8}",
    "loss.spectral": "{weight: 0.01}",
}
# runs twice: the first time it ends after two steps, as after Ctrl-C
PROGRAM = """
import json, sys, torch
torch.set_num_threads(1)
from stlatent.train import run
from stlatent.train.loop import Loop

step, loops = Loop.step, []

def watched(self, batches):
    if self not in loops:
        loops.append(self)
    if self.done == 2 and len(loops) == 1:
        raise KeyboardInterrupt
    return step(self, batches)

Loop.step = watched
(path, *overrides), place = json.loads(sys.argv[1]), sys.argv[2]
try:
    run(path, overrides)
except KeyboardInterrupt:
    run(path, overrides)
loop = loops[1]
critic = [p.double().sum().item() for p in loop.task.extras.critic.module.parameters()]
rank, count = loop.accelerator.process_index, loop.accelerator.num_processes
with open(f"{place}/{rank}.json", "w") as file:
    json.dump({"processes": count, "critic": critic}, file)
"""


def torch_run(text: str, arguments: list[str], place: Path) -> None:
    """Run a program in two processes that know each other."""
    program = place / "program.py"
    program.write_text(text)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *launch, str(program), json.dumps(arguments), str(place)],
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_two_processes_are_one_with_the_whole_batch(videos, tmp_path):  # noqa: F811
    run(TINY, options(videos, tmp_path / "one", **MORE, **{"data.batch_size": 4}))
    arguments = [str(TINY), *options(videos, tmp_path / "two", **MORE, **{"data.batch_size": 2})]
    torch_run(PROGRAM, arguments, tmp_path)
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert [rank["processes"] for rank in ranks] == [2, 2]
    assert ranks[0]["critic"] == ranks[1]["critic"]
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert len(one) == len(two)
    for left, right in zip(one, two, strict=True):
        for name, value in left.items():
            assert right[name] == pytest.approx(value, rel=1e-3, abs=1e-4), (left["step"], name)
    assert [Path(p).name for p in os.listdir(tmp_path / "two" / "last")] == ["model.safetensors"]


DIFFUSION = """
import json, sys, torch
torch.set_num_threads(1)
from stlatent.diffusion import run
from stlatent.train.loop import Loop

loops, begin = [], Loop.__init__

def watched(self, *args):
    begin(self, *args)
    loops.append(self)

Loop.__init__ = watched
(path, *overrides), place = json.loads(sys.argv[1]), sys.argv[2]
run(path, overrides)
(loop,) = loops
rank, count = loop.accelerator.process_index, loop.accelerator.num_processes
weights = [p.double().sum().item() for p in loop.average.parameters()]
with open(f"{place}/{rank}.json", "w") as file:
    json.dump({"processes": count, "weights": weights}, file)
"""


def test_two_processes_train_one_diffusion_model(tmp_path):
    """Each with its own samples and noise; what is logged is the mean over both."""
    model = ladder("image")
    checkpoint.save(model, tmp_path / "model.safetensors")
    (tmp_path / "in").mkdir()
    for k in range(8):
        pixels = np.random.default_rng(k).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"in/{k}.png")
    reference = str(tmp_path / "model.safetensors")
    encode_folder(model, tmp_path / "in", tmp_path / "latents", reference)
    out = tmp_path / "run"
    settings = {
        "data.root": tmp_path / "latents",
        "data.batch_size": 2,
        "steps": 2,
        "save_every": 2,
    }
    settings |= {"log_every": 1, "tracker": "null", "out": out, "data.held_out": 0}
    arguments = [str(TINY.parents[1] / "diffusion/tiny.yaml")]
    arguments += [f"{name}={value}" for name, value in settings.items()]
    torch_run(DIFFUSION, arguments, tmp_path)

    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert [rank["processes"] for rank in ranks] == [2, 2]
    assert ranks[0]["weights"] == ranks[1]["weights"]
    config = load(DiffusionRun, arguments[0], arguments[1:])
    task, losses, names = Diffusion(config, open_data(config), torch.device("cpu")), [], []
    for rank in range(2):
        batch = next(iter(task.batches(0, rank, 2)))
        names += batch.name
        noise = batch_noise(config.seed, 0, 0, task.device)
        losses.append(task.loss(batch, Moment(0, 0.0, noise, rank, 2)).total.item())
    assert len({*names}) == 4 and losses[0] != losses[1]
    assert metrics(out)[0]["loss"] == pytest.approx(sum(losses) / 2, rel=1e-5)
    assert LadderPipeline.from_pretrained(out / "pipeline").denoiser.levels == [range(1)]
