"""Files and folders that are there whole or not at all, whoever writes, on full disks too."""

from __future__ import annotations

import ast
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from domains import ladder
from test_codec import EXACT, moving_pattern, pixels, write_video

import stlatent
from stlatent.cli import main
from stlatent.files import GOES_ON, MARK, put, temporary, writing
from stlatent.jobs.decode import decode_store
from stlatent.jobs.encode import encode_folder
from stlatent.jobs.unit import UnitWriter
from stlatent.media.video.write import FORMATS, NpyWriter, frame_writer, suffix
from stlatent.store.reader import LatentStore

PACKAGE = Path(stlatent.__file__).parent
LONG = "ü" * 125 + ".mp4"  # 254 bytes


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    stlatent.save(ladder("video"), path)
    return path


@pytest.fixture(scope="module")
def latents(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_video(root / "in" / "a.mp4", (9, 96, 96))
    write_video(root / "in" / "b.mp4", (9, 96, 96))
    encode_folder(stlatent.load(model), root / "in", root / "out", str(model), EXACT)
    return root / "out"


def forked(work: Callable[[], int], said: Path) -> int:
    """The exit code of `work` in a process of its own, whose output goes to the file `said`."""

    def run() -> None:
        with open(said, "w") as file, redirect_stdout(file), redirect_stderr(file):
            code = work()
        os._exit(code)

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(60)
    code = process.exitcode
    process.kill()
    return code


def full(bytes: int) -> None:
    """From here on no file may be larger: as if the disk were full."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes, bytes))


# writing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kinds", ["file file", "file folder", "folder file", "folder folder"])
def test_what_is_there_stays_until_the_new_one_is_complete(tmp_path, kinds):
    def make(path: Path, kind: str, text: str) -> None:
        if kind == "folder":
            path.mkdir()
        (path / "x" if kind == "folder" else path).write_text(text)

    def text() -> str:
        return (path / "x" if path.is_dir() else path).read_text()

    former, new = kinds.split()
    path = tmp_path / "sub" / "it"
    with writing(path) as partial:
        make(partial, former, "former")
    for fails in (True, False):
        with pytest.raises(ZeroDivisionError) if fails else writing(tmp_path / "other") as other:
            with writing(path) as partial:
                make(partial, new, "new")
                assert text() == "former"
                if fails:
                    raise ZeroDivisionError
            other.touch()
        assert text() == ("former" if fails else "new")
        assert [p.name for p in path.parent.iterdir()] == ["it"]


def test_temporary_names_are_short_marked_and_our_own(tmp_path):
    for name in ("a", "x" * 255, "ü" * 127, "🙂" * 63):
        names = {temporary(tmp_path / name).name for _ in range(20)}
        assert len(names) == 20
        assert all(n.endswith(MARK) and n[0] == "." and len(n.encode()) < 255 for n in names)
        with writing(tmp_path / name) as partial:
            partial.touch()
        assert (tmp_path / name).exists()


def test_a_link_is_replaced_and_not_what_it_stands_for(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "new").write_text("new")
    put(tmp_path / "new", tmp_path / "link")
    assert (tmp_path / "link").read_text() == "new" and not [*(tmp_path / "real").iterdir()]


def test_one_place_moves_files_into_place():
    """And the data set that is replaced, which has a way of its own."""
    found = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in ("os.replace", "os.rename"):
                found.add(file.relative_to(PACKAGE).as_posix())
    assert found == {"files.py", "jobs/replace.py"}


# decoding -------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
def test_two_that_decode_into_one_folder_leave_whole_files(model, latents, tmp_path, format):
    """The second one begins while the first one is in the middle of a file."""
    net, out = stlatent.load(model), tmp_path / "out"
    decode_store(net, LatentStore(latents), tmp_path / "alone", format=format)
    size = (9, 96, 96)
    with frame_writer(out / ("a" + suffix(format, False)), format, False, size, 25) as w:
        w.write(moving_pattern(4, 96, 96))
        second = tmp_path / "second"
        arguments = ["decode", str(latents), "--out", str(out), "--format", format]
        assert forked(lambda: main(arguments), second) == 0, second.read_text()
        w.write(moving_pattern(5, 96, 96))
    decode_store(net, LatentStore(latents), out, format=format, replace=True)
    for file in (p for p in (tmp_path / "alone").rglob("*") if p.is_file()):
        made = out / file.relative_to(tmp_path / "alone")
        if format == "mp4":
            assert len(pixels(made)) == 9
        else:
            assert made.read_bytes() == file.read_bytes()
    assert not list(out.rglob(f"*{MARK}*"))


def test_arrays_are_what_numpy_writes(tmp_path):
    frames = moving_pattern(5, 8, 9)
    with NpyWriter(tmp_path / "a.npy", frames.shape) as writer:
        writer.write(frames[:2])
        writer.write(frames[2:, :, ::1])
    np.save(tmp_path / "b.npy", frames)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


@pytest.mark.parametrize("format", FORMATS)
def test_a_full_disk_is_one_line_and_leaves_nothing(latents, tmp_path, format):
    def work() -> int:
        full(2000)
        return main(["decode", str(latents), "--out", str(out), "--format", format])

    out = tmp_path / "out"
    assert forked(work, tmp_path / "said") == 2
    said = (tmp_path / "said").read_text().splitlines()
    assert len(said) == 1 and "error" in said[0], said
    assert not [path for path in out.rglob("*") if path.is_file()]


def test_encoding_to_a_full_disk_is_one_line_and_goes_on_later(model, latents, tmp_path):
    arguments = ["encode", f"{latents.parent}/in", "--model", str(model), "--out"]

    real = UnitWriter.commit

    def commit(*given: object) -> object:
        full(3000)
        return real(*given)

    def work() -> int:
        UnitWriter.commit = commit
        return main([*arguments, f"{tmp_path}/out"])

    assert forked(work, tmp_path / "said") == 2
    said = (tmp_path / "said").read_text().splitlines()
    assert len(said) == 1 and "File too large" in said[0], said
    assert main([*arguments, f"{tmp_path}/out"]) == 0
    assert list(LatentStore(tmp_path / "out").items) == ["a.mp4", "b.mp4"]


@pytest.mark.parametrize("format", FORMATS)
def test_names_as_long_as_a_file_system_takes(model, tmp_path, format):
    write_video(tmp_path / "in" / "a.mp4", (3, 16, 16))
    (tmp_path / "in" / "a.mp4").rename(tmp_path / "in" / LONG)
    net = stlatent.load(model)
    encode_folder(net, tmp_path / "in", tmp_path / "z", "tiny", EXACT)
    (made,) = decode_store(net, LatentStore(tmp_path / "z"), tmp_path / "out", format=format)
    shown = np.load(made) if format == "npy" else pixels(made)
    assert len(shown) == 3 and [p.name for p in (tmp_path / "out").iterdir()] == [made.name]


def test_a_copy_of_a_killed_process_is_no_item(model, tmp_path):
    """What a process leaves that is killed in the middle is hidden: no item is made of it."""
    write_video(tmp_path / "in" / "a.mp4", (3, 16, 16))
    shutil.copy(tmp_path / "in" / "a.mp4", temporary(tmp_path / "in" / "b.mp4"))
    assert encode_folder(ladder("video"), tmp_path / "in", tmp_path / "z", "tiny").items == 1


# other ends -----------------------------------------------------------------------------------


def shell(line: str, folder: Path) -> tuple[list[int], str]:
    """The exit codes of the commands of a pipe, and what they say on stderr."""
    done = subprocess.run(
        ["bash", "-c", f'{line}; echo "${{PIPESTATUS[@]}}" > codes'],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    return [int(code) for code in (folder / "codes").read_text().split()], done.stderr


@pytest.mark.parametrize("end", ["| head -1", ">&- 2>&-"])
def test_a_command_does_its_work_whoever_listens(model, latents, tmp_path, end):
    command = f"{sys.executable} -m stlatent encode {latents.parent}/in --model {model} --out out"
    codes, said = shell(f"{command} {end}", tmp_path)
    assert codes[0] == 0 and "error" not in said and "Traceback" not in said
    assert list(LatentStore(tmp_path / "out").items) == ["a.mp4", "b.mp4"]


@pytest.mark.parametrize("seconds", [1.0, 4.0])
def test_ctrl_c_is_one_line_at_any_time(model, latents, tmp_path, seconds):
    """After so many seconds of its own, however busy the machine is."""
    command = [sys.executable, "-m", "stlatent", "encode", f"{latents.parent}/in"]
    process = subprocess.Popen(
        [*command, "--model", str(model), "--out", str(tmp_path / "out")],
        env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    running, deadline = psutil.Process(process.pid), time.monotonic() + 600
    while process.poll() is None and sum(running.cpu_times()[:2]) < seconds:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    with suppress(ProcessLookupError):  # it may be done
        os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=600)
    lines = {"stlatent: interrupted\n", f"stlatent: interrupted; {GOES_ON}\n"}
    assert (process.returncode, said) in [*((130, line) for line in lines), (0, "")]
    assert not list(tmp_path.glob("out/.stlatent-work/*/*"))


def test_ctrl_c_after_the_work_is_done_changes_nothing():
    program = (
        "import atexit, os, signal, sys; from stlatent.cli.outcome import command;"
        "atexit.register(os.kill, os.getpid(), signal.SIGINT);"
        "sys.exit(command('x')(lambda: None)())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
