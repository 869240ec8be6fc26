"""Several processes at one job: started by torchrun, or actors of Ray."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from domains import ladder
from test_codec import EXACT, SIZES, write_video
from test_jobs import content

import stlatent
from stlatent.cli import main
from stlatent.jobs.encode import encode_folder
from stlatent.jobs.ray_pool import RayPool
from stlatent.jobs.status import job_status

OPTIONS = EXACT.model_copy(update={"unit_files": 1})
COPIES = 2


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, videos and a text, and their latents made by one process."""
    work = tmp_path_factory.mktemp("work")
    stlatent.save(ladder("video"), work / "tiny.safetensors")
    for name, size in SIZES.items():
        for copy in range(COPIES):
            write_video(work / "in" / str(copy) / name, size)
    (work / "in" / "text.mp4").write_text("no video")
    assert main(command(work, work / "alone")) == 1
    return work


def command(work: Path, out: Path) -> list[str]:
    options = ["--dtype", "float32", "--precision", "fp32", "--unit-files", "1", "--threads", "1"]
    return [
        *("encode", f"{work}/in", "--model", f"{work}/tiny.safetensors", "--out", f"{out}"),
        *options,
    ]


def launched(*arguments: str) -> subprocess.CompletedProcess:
    """`torchrun` with two processes on this machine."""
    given = ["--standalone", "--nproc-per-node", "2", "-m", "stlatent", *arguments]
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *given],
        env=os.environ | {"PYTHONPATH": str(Path(stlatent.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_two_processes_of_torchrun_share_the_work(work: Path, tmp_path: Path) -> None:
    """Also where they replace what is there; what failed is said once, in the end."""
    out = tmp_path / "out"
    write_video(tmp_path / "other" / "a.mp4", (1, 16, 16))
    encode_folder(ladder("video"), tmp_path / "other", out, "former")
    done = launched(*command(work, out), "--replace")
    assert done.returncode == 1 and done.stdout.count("left out: 1") == 1, done.stderr
    assert "9 sources" not in done.stdout  # that is what the first of the two has done
    assert content(out) == content(work / "alone")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "out"]


def test_actors_of_ray_make_the_same_data_set_though_one_is_killed(work, tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="pip install 'stlatent[ray]' (500 MB)")
    root = Path(stlatent.__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", f"{root}{os.pathsep}{root / 'tests'}")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # else they starve on a busy machine
    killed: list[int] = []

    def kill_an_actor() -> None:
        while not killed and time.monotonic() < deadline:
            done = (tmp_path / "out" / "job.json").exists() and job_status(tmp_path / "out").done
            for process in psutil.process_iter(["cmdline"]) if done else ():
                if "_Actor" in " ".join(process.info["cmdline"] or ()):
                    process.kill()
                    killed.append(process.pid)
                    break
            time.sleep(0.02)

    deadline = time.monotonic() + 600
    killer = threading.Thread(target=kill_an_actor)
    killer.start()
    model = stlatent.load(work / "tiny.safetensors")
    result = encode_folder(
        model, work / "in", tmp_path / "out", f"{work}/tiny.safetensors", OPTIONS, pool=RayPool(2)
    )
    killer.join()
    assert killed and result.sources == COPIES * len(SIZES) + 1
    assert content(tmp_path / "out") == content(work / "alone")
