"""Several processes on CPUs are one training: the losses of one process with the whole batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_train import TINY, metrics, options, videos  # noqa: F401  (a fixture)

from stlatent.train import run

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


def test_two_processes_are_one_with_the_whole_batch(videos, tmp_path):  # noqa: F811
    run(TINY, options(videos, tmp_path / "one", **MORE, **{"data.batch": 4}))
    arguments = [str(TINY), *options(videos, tmp_path / "two", **MORE, **{"data.batch": 2})]
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *launch, str(program), json.dumps(arguments), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert [rank["processes"] for rank in ranks] == [2, 2]
    assert ranks[0]["critic"] == ranks[1]["critic"]
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert len(one) == len(two)
    for left, right in zip(one, two, strict=True):
        for name, value in left.items():
            assert right[name] == pytest.approx(value, rel=1e-3, abs=1e-4), (left["step"], name)
    assert [Path(p).name for p in os.listdir(tmp_path / "two" / "last")] == ["model.safetensors"]
