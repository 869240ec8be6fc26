"""The command line: every verb once, and one clear line for whatever is wrong."""

from __future__ import annotations

import importlib.metadata as metadata
import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from domains import ladder
from test_codec import pixels, write_video

import stlatent
from stlatent.cli import main, outcome
from stlatent.cli.verbs import EXAMPLES, VERBS
from stlatent.media.video.pixels import to_float, to_uint8
from stlatent.media.video.readers import VideoReader
from stlatent.store.reader import LatentStore


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models, a folder of videos, and the latents of these by one of the models."""
    work = tmp_path_factory.mktemp("work")
    for domain in ("video", "image"):
        stlatent.save(ladder(domain), work / f"{domain}.safetensors")
    write_video(work / "videos" / "clip.mp4", (20, 64, 80))
    write_video(work / "videos" / "sub" / "odd.mp4", (9, 41, 57))
    assert main(encode_videos(work, work / "latents")) == 0
    shutil.copytree(work / "latents", work / "moved")
    manifest = json.loads((work / "moved" / "manifest.json").read_text())
    (work / "moved" / "manifest.json").write_text(json.dumps(manifest | {"model": "gone"}))
    return work


@pytest.fixture(autouse=True)
def inside(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(work)


def encode_videos(work: Path, out: Path) -> list[str]:
    return ["encode", f"{work}/videos", "--model", f"{work}/video.safetensors", "--out", str(out)]


# the verbs ------------------------------------------------------------------------------------


def test_encode_once_more_says_that_nothing_was_left(work, capsys):
    assert main(encode_videos(work, work / "latents")) == 0
    assert "latents: nothing was left to do, 2 items are there\n" in capsys.readouterr().out


def test_encode_prints_what_each_level_holds(work, tmp_path, capsys):
    assert main([*encode_videos(work, tmp_path / "z"), "--dtype", "float32"]) == 0
    table = capsys.readouterr().out
    assert "2 sources, 29 frames" in table
    assert [line.split()[:2] for line in table.splitlines()[2:5]] == [
        ["0", "8x16x16"],
        ["1", "4x16x16"],
        ["2", "4x8x8"],
    ]
    levels = json.loads((tmp_path / "z/manifest.json").read_text())["levels"]
    assert [level["dtype"] for level in levels] == ["float32"] * 3


def test_bits_are_encoded_and_decoded_as_anything_else(work, tmp_path, capsys):
    pytest.importorskip("constriction")
    z = tmp_path / "z"
    assert main([*encode_videos(work, z), "--entropy-code", "--step", "4,4,8"]) == 0
    assert [line.split()[-2] for line in capsys.readouterr().out.splitlines()[2:5]] == ["bits"] * 3
    assert json.loads((z / "manifest.json").read_text())["coding"]["step"] == [4, 4, 8]
    out = tmp_path / "out"
    assert main(["decode", str(z), "--levels", "2", "--format", "npy", "--out", str(out)]) == 0
    assert np.load(out / "sub" / "odd.npy").shape == (9, 41, 57, 3)
    for wrong, said in (
        (["--step", "4"], "add --entropy-code"),
        (["--entropy-code", "--std"], "std"),
    ):
        assert main([*encode_videos(work, tmp_path / "no"), *wrong]) == 2
        assert said in capsys.readouterr().err


def test_encode_says_by_its_exit_code_that_files_failed(work, tmp_path, capsys):
    write_video(tmp_path / "in" / "good.mp4", (3, 16, 32))
    (tmp_path / "in" / "bad.mp4").write_text("no video")
    model = ["--model", "video.safetensors"]
    assert main(["encode", f"{tmp_path}/in", *model, "--out", f"{tmp_path}/z"]) == 1
    assert "left out: 1" in capsys.readouterr().out
    assert list(LatentStore(tmp_path / "z").items) == ["good.mp4"]


def test_jobs_and_verify_say_how_things_are(work, tmp_path, capsys):
    z = tmp_path / "z"
    part = [*encode_videos(work, z), "--unit-files", "1"]
    assert main([*part, "--shard", "0/2"]) == 0
    assert "not complete: 1 units" in capsys.readouterr().out
    assert main(["jobs", "show", str(z)]) == 0
    assert "1 of 2 sources done (1 of 2 units), 0 failed, 1 left" in capsys.readouterr().out
    assert main(["verify", str(z)]) == 2
    assert "stlatent jobs" in capsys.readouterr().err
    assert main([*part, "--shard", "1/2"]) == 0
    assert main(["jobs", "show", str(z)]) == 0
    assert capsys.readouterr().out.endswith("complete\n")
    assert main(["verify", str(z)]) == 0
    assert "6 files" in capsys.readouterr().out
    file = z / "level_1" / "00001.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert main(["verify", str(z)]) == 1
    assert "level_1/00001.safetensors has changed" in capsys.readouterr().out


def test_decode_finds_the_model_by_itself(tmp_path):
    assert (
        main(["decode", "latents", "--levels", "1", "--format", "npy", "--out", f"{tmp_path}"]) == 0
    )
    assert np.load(tmp_path / "clip.npy").shape == (20, 64, 80, 3)
    assert np.load(tmp_path / "sub" / "odd.npy").shape == (9, 41, 57, 3)


def test_inspect_writes_a_report(tmp_path):
    arguments = ["inspect", "video.safetensors", "--data", "videos", "--out", f"{tmp_path}/report"]
    assert main([*arguments, "--frames", "2", "--size", "48", "--draws", "2"]) == 0
    assert (tmp_path / "report" / "index.html").is_file()
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["log_likelihood"]["draws"] == len(report["log_likelihood"]["nats"]) == 2
    clips = report["clips"]
    assert [(clip["name"], clip["size"]) for clip in clips] == [
        ("clip.mp4", [2, 48, 48]),
        ("sub/odd.mp4", [2, 41, 48]),
    ]


def test_sample_holds_levels_of_a_clip(tmp_path, capsys):
    def draw(out: str, *options: str) -> np.ndarray:
        shape = [
            "--frames",
            "9",
            "--size",
            "32x48",
            "--format",
            "npy",
            "--out",
            f"{tmp_path}/{out}",
        ]
        assert main(["sample", "video.safetensors", *shape, *options]) == 0
        return np.stack([np.load(file) for file in sorted((tmp_path / out).iterdir())])

    free = draw("free", "--count", "2")
    assert "nothing was held" in capsys.readouterr().out
    assert free.shape == (2, 9, 32, 48, 3)
    assert (free[0] != free[1]).any()
    np.testing.assert_array_equal(draw("again", "-n", "2"), free)
    capsys.readouterr()

    clip = ["--from", "videos/clip.mp4"]
    one, other = draw("coarse", *clip, "--keep-level", "0", "-n", "2")
    assert (one != other).any()
    np.testing.assert_array_equal(draw("usual", *clip, "-n", "2"), [one, other])
    assert "nothing was held" not in capsys.readouterr().out
    mirror = draw("fine", *clip, "--keep-level", "1", "--keep-level", "2")
    assert (mirror[0] != one).any()
    one, other = draw("all", *clip, "--keep-level", "0", "1", "2", "-n", "2")
    np.testing.assert_array_equal(one, other)

    model = stlatent.load("video.safetensors")
    x = to_float(pixels(Path("videos/clip.mp4"))[:9, 16:48, 16:64])[None]
    expected = to_uint8(model(x).x[0])
    assert np.abs(one.astype(int) - expected).max() <= 1


def test_sample_from_an_image_model(tmp_path):
    assert main(["sample", "image.safetensors", "--size", "20x30", "--out", f"{tmp_path}"]) == 0
    with VideoReader(tmp_path / "0000.png") as reader:
        assert (reader.frames, reader.size) == (1, (20, 30))


def test_train_hands_on_its_arguments(monkeypatch, tmp_path):
    given, config = [], tmp_path / "a.yaml"
    config.write_text("model: {}")
    monkeypatch.setattr("stlatent.train.run", lambda *arguments: given.extend(arguments))
    assert main(["train", str(config), "data.root=x", "--dry-run", "out=y"]) == 0
    assert given == [config, ["data.root=x", "out=y"], True]


def test_doctor_says_what_is_missing_and_how_to_get_it(monkeypatch, capsys):
    versions = {"pydantic": "1.9.0", "timm": None}
    there = metadata.version

    def version(name: str) -> str:
        if name in versions and versions[name] is None:
            raise metadata.PackageNotFoundError(name)
        return versions.get(name) or there(name)

    monkeypatch.setattr(metadata, "version", version)
    assert main(["doctor"]) == 1
    said = capsys.readouterr()
    assert "timm is missing: pip install 'stlatent[perceptual]'" in said.out
    assert "pydantic is 1.9.0, not <3,>=2.8" in said.err and "cpu: " in said.out


def test_every_verb_has_an_example_and_help(capsys):
    assert set(EXAMPLES) == set(VERBS)
    for verb in VERBS:
        with pytest.raises(SystemExit) as stop:
            main([verb, "--help"])
        assert stop.value.code == 0 and EXAMPLES[verb] in capsys.readouterr().out


# what is wrong --------------------------------------------------------------------------------

ENCODE = "encode videos --model video.safetensors --out new"
DECODE = "decode latents --out new"
SAMPLE = "sample video.safetensors --out new"
WRONG = {
    "encode nowhere --model video.safetensors --out new": "nowhere does not exist",
    "encode videos --model nowhere --out new": "no model at 'nowhere'",
    "encode videos --model vidoe --out new": "did you mean video?",
    "generate movng --out new": "did you mean moving?",
    "train video/codecc": "did you mean video/codec?",
    "encode videos --model video/base --out new": "video/base is a config and no model",
    "encode videos --model moving --out new": "`stlatent generate moving` draws from it",
    "encode videos --model image.safetensors --out new": "domain is 'image'",
    "encode videos --model video.safetensors --out latents --fps 5": "--fps (left out there, 5",
    "encode videos/sub --model video.safetensors --out latents": "--replace",
    "encode videos --model video.safetensors --out new --tile 40": "such as 32",
    "encode videos --model video.safetensors --out new --dtype int8,int8": "2 dtypes",
    f"{ENCODE} --psnr 30 --bits-per-pixel 1": "--psnr and --bits-per-pixel all say how many bits",
    f"{ENCODE} --psnr 30 --step 4": "--psnr and --step all say how many bits",
    f"{ENCODE} --bits-per-pixel 1 --dtype int8": "leave out --dtype",
    "encode videos --model video.safetensors --out nowhere://x": "Protocol not known",
    "encode videos --out memory://x": "in the memory of this process and is gone when it ends",
    "encode videos --out simplecache::memory://x": "in the memory of this process",
    "encode videos --out data://x": "data://x cannot be written: Read only",
    "encode videos --out dir://x": "dir://x cannot be opened",
    "jobs show videos": "is no job",
    "verify videos": "is no data set of latents",
    "encode videos --model video.safetensors --out videos": "holds other things",
    "encode videos --model videos/clip.mp4 --out new": "cannot be read as safetensors",
    f"{ENCODE} --device tpu9": "device 'tpu9' cannot be used",
    "decode videos": "is no data set of latents",
    f"{DECODE} --levels 0": "from 1 to 3",
    f"{DECODE} --levels 4": "from 1 to 3",
    "decode latents --out latents": "latents is a data set of latents; give another --out",
    f"{DECODE} --format gif": "format is 'gif'",
    f"{DECODE} --model image.safetensors": "fingerprint",
    "decode moved --out new": "give its place with --model",
    "inspect nowhere --data videos --out new": "no model at 'nowhere'",
    "inspect latents --data videos --out new": "manifest.json says what it holds",
    "inspect video.safetensors --data nowhere --out new": "nowhere does not exist",
    "inspect video.safetensors --data videos --out latents": "latents",
    f"{SAMPLE} --keep-level 0": "--from",
    f"{SAMPLE} --from nowhere.mp4 --keep-level 0": "no such file",
    f"{SAMPLE} --from videos/clip.mp4 --keep-level 7 --size 32": "levels 0 to 2",
    f"{SAMPLE} --size 99999999": "there is not enough memory",
    f"{SAMPLE} --frames 999999999999 --size 999999": "there is not enough memory",
    f"{SAMPLE} --from videos/clip.mp4 --keep-level 0 --size 128": "17x64x80",
    "sample image.safetensors --out new --frames 5": "single pictures",
    "generate moving --classes 0 1 -n 1 --out new": "2 classes or prompts are asked for, of 1",
    "train nowhere.yaml": "nowhere.yaml does not exist",
    # words that no verb has
    "": "VERB",
    "fly": "invalid choice: 'fly'",
    "encode videos": "encode: the following arguments are required: --out (see `stlatent encode",
    "encode videos --otu new": "encode: there is no option --otu; did you mean --out?",
    "encode videos --modle=video --out new": "no option --modle; did you mean --model?",
    f"{ENCODE} --zzz 9": "there is no option --zzz (see `stlatent encode --help`)",
    f"{DECODE} more": "unrecognized arguments: more",
    f"{ENCODE} --dtype int4": "invalid choice: 'int4'",
    f"{ENCODE} --shard 4/4": "such as 0/8",
    f"{ENCODE} --psnr -3": "not a number above 0",
    f"{ENCODE} --bits-per-pixel much": "not a number above 0",
    f"{ENCODE} --fps -1": "not a number above 0",
    f"{DECODE} --levels many": "'many' is not a whole number",
    f"{SAMPLE} --size big": "not HEIGHTxWIDTH",
    f"{SAMPLE} -n 0": "not a whole number from 1 on",
    f"{SAMPLE} --temperature nan": "'nan' is not a number from 0 on",
    f"{SAMPLE} --seed 99999999999999999999": "is not a whole number",
    "decode latents --out s3://bucket/x": "'s3://bucket/x' is a URL; give a folder of this machine",
    "export video --out s3://bucket/x": "is a URL",
    "inspect video --data x --out y --clips 4": "--clips is called --count now",
    "train a.yaml --fast": "there is no option --fast; what a config says is given as key=value",
}


@pytest.mark.parametrize("command", WRONG)
def test_wrong_input_is_one_line_and_code_2(command, work, capsys):
    before = sorted(work.rglob("*"))
    assert main(command.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("stlatent: error: ") and error.count("\n") == 1
    assert WRONG[command] in error
    assert sorted(work.rglob("*")) == before


def test_outputs_are_not_overwritten_unasked(tmp_path, capsys):
    arguments = ["decode", "latents", "--levels", "1", "--out", f"{tmp_path}"]
    assert main(arguments) == 0
    made = (tmp_path / "clip.mp4").stat().st_mtime_ns
    assert main(arguments) == 2
    assert "clip.mp4 exists" in capsys.readouterr().err
    assert (tmp_path / "clip.mp4").stat().st_mtime_ns == made
    assert main([*arguments, "--replace"]) == 0


def test_interruption_is_code_130(monkeypatch, capsys):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("stlatent.store.reader.LatentStore", interrupt)
    assert main(["decode", "latents"]) == 130
    assert capsys.readouterr().err == "stlatent: interrupted\n"


@pytest.mark.parametrize(
    "words, within",
    [
        ("encode videos --model video.safetensors --out {}", "jobs.encode.encode_units"),
        ("train video/tiny data.root=videos out={}", "train.autoencoder.open_data"),
    ],
)
def test_who_interrupts_what_goes_on_is_told_so(tmp_path, monkeypatch, capsys, words, within):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"stlatent.{within}", interrupt)
    assert main(words.format(tmp_path / "out").split()) == 130
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == "stlatent: interrupted; the same command goes on from there"


SWALLOWS = """
import os, signal
try:
    os.kill(os.getpid(), signal.SIGINT)
except BaseException:
    pass
"""
INTERRUPTED = """
import signal, sys
from stlatent.cli.outcome import command

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in background

@command("stlatent")
def main():
    import swallows

sys.exit(main())
"""


def test_interruption_of_an_import_is_never_swallowed(tmp_path):
    (tmp_path / "swallows.py").write_text(SWALLOWS)
    run = python("-c", INTERRUPTED, cwd=tmp_path)
    assert (run.returncode, run.stdout, run.stderr) == (130, "", "stlatent: interrupted\n")


@pytest.mark.parametrize("words", ["--help", *(f"{verb} --help" for verb in VERBS)])
def test_help_comes_without_torch(words):
    run = python("-X", "importtime", "-m", "stlatent", *words.split())
    assert run.returncode == 0 and "usage: stlatent" in run.stdout
    imported = {line.rpartition("|")[2].strip() for line in run.stderr.splitlines()}
    assert "stlatent.cli" in imported
    assert not imported & {"torch", "numpy", "pydantic", "diffusers", "stlatent.model"}


def test_importing_the_package_brings_no_torch():
    run = python(
        "-c", "import sys, stlatent; print('torch' in sys.modules, 'load' in dir(stlatent))"
    )
    assert run.stdout == "False True\n"


def python(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
    """A fresh interpreter that finds this package."""
    environment = {**os.environ, "PYTHONPATH": str(Path(stlatent.__file__).parents[1])}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def test_a_process_of_its_own(work):
    """As a user runs it: code and streams, without a traceback."""
    run = python("-m", "stlatent", "decode", "latents", "--levels", "9", cwd=work)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == "stlatent: error: levels is 9; latents has levels to read from 1 to 3\n"


def test_names_do_not_steer_the_terminal(tmp_path, capsys):
    """A name may hold escapes, and bytes that are no text."""
    name = "red \x1b[31m" + os.fsdecode(b"caf\xe9")
    assert main(["verify", str(tmp_path / name)]) == 2
    told = capsys.readouterr().err
    assert "red \\x1b[31mcaf\\udce9" in told and "\x1b" not in told
    outcome.say(f"one\n{name}")
    assert capsys.readouterr().out == "one\nred \\x1b[31mcaf\\udce9\n"
    record = logging.makeLogRecord({"msg": "left out %s", "args": (name,)})
    assert outcome.LogFormatter().format(record) == "left out red \\x1b[31mcaf\\udce9"
