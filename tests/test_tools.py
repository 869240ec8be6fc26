"""The benchmarks run and write down what they print; how fast anything is, no test says."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import benchmark_speed as benchmark
import pytest
import torch
from domains import batch, ladder
from test_codec import write_video

ROOT = Path(__file__).parents[1]
TINY = str(ROOT / "configs" / "video" / "tiny.yaml")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Every pass is timed once, and the number of threads stays."""
    monkeypatch.setattr(benchmark, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(benchmark.torch, "set_num_threads", lambda count: None)
    return benchmark


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    write_video(root / "a.mp4", (5, 32, 32))
    write_video(root / "b.mp4", (20, 48, 40))
    return root


def test_speed_is_printed_and_written(quick, videos, tmp_path, capsys):
    out = tmp_path / "speed.json"
    size = ["--size", "5", "32", "32", "--clip", str(videos / "a.mp4"), "--rounds", "2"]
    folder = ["--folder", str(videos), "--out", str(out)]
    assert quick.main(["--config", TINY, "--only", "tiny", *size, *folder]) == 0
    report, printed = json.loads(out.read_text()), capsys.readouterr().out
    fp32 = [row for row in report["speed"] if row["precision"] == "fp32"]
    us, tiny = fp32
    assert tiny["model"] == "AutoencoderTiny" and tiny["model"] in printed
    assert tiny["latents_per_value"] == pytest.approx(4 / (3 * 8 * 8))
    for row in fp32:
        assert row["frames"] == 5 and row["params_million"] > 0
        for way in ("encode", "decode"):
            assert (
                row[f"{way}_fps"] == pytest.approx(5000 / row[f"{way}_ms"]) and row[f"{way}_ms"] > 0
            )
            ratio = us[f"{way}_fps"] / row[f"{way}_fps"]
            assert row[f"{way}_ratio"] == pytest.approx(ratio)
    assert report["folder"]["frames"] == 25
    assert min(report["folder"]["reading_share"], report["folder"]["network_share"]) > 0


def test_ours_is_run_as_a_whole_pass_would_be(monkeypatch):
    """Piece by piece, so that what is timed is what `stlatent encode` does."""
    monkeypatch.setattr("stlatent.model.device.CPU_CHUNK_PIXELS", 1)
    model, x = ladder("video"), batch("video", (23, 32, 48), 1)
    us = benchmark.ours(model, "ladder", x.shape[2:])
    latents, whole = us.encode(x), model.encode(x)
    for z, expected in zip(latents, whole.levels, strict=True):
        torch.testing.assert_close(z, expected)
    torch.testing.assert_close(us.decode(latents), model.decode(whole), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "tiny,huge"], "huge"),
        (["--rounds", "0"], "from 1 on"),
        (["--size", "9", "32", "32"], "give another"),
    ],
)
def test_wrong_input_gets_one_line(quick, videos, capsys, arguments, said):
    clip = ["--clip", str(videos / "a.mp4")]
    given = ["--config", TINY, "--size", "5", "32", "32", *clip, *arguments]
    assert quick.main(given) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
