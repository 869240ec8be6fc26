"""The comparison with a flat model: equal budgets, right savings, and one run of it all."""

from __future__ import annotations

import json
import math
from pathlib import Path

import av
import compare_flat as tool
import numpy as np
import pytest

from stlatent.model.config import ModelConfig

ROOT = Path(__file__).parents[1]
TINY = ROOT / "configs" / "video" / "tiny.yaml"


def videos(folder: Path) -> Path:
    """Two short clips of a moving picture."""
    folder.mkdir()
    picture = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8).repeat(8, 0)
    for name in ("a.mp4", "held.mp4"):
        with av.open(str(folder / name), "w") as file:
            stream = file.add_stream("libx264", rate=10)
            stream.width = stream.height = 64
            for t in range(9):
                frame = np.roll(picture.repeat(8, 1), 3 * t, 1)
                file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            file.mux(stream.encode())
    return folder


def arguments(root: Path, out: Path) -> list[str]:
    settings = ["steps=2", "tracker=null", "data.crop=32", f"data.root={root}"]
    asked = ["names=[held.mp4]", "crop=32", "frames=9"]
    settings += [f"data.validation.{entry}" for entry in asked]
    return [str(TINY), *settings, "--rates", "0.1", "0.01", "--out", str(out)]


def test_both_models_are_trained_measured_and_tabled(tmp_path, capsys):
    words = arguments(videos(tmp_path / "videos"), tmp_path / "compared")
    assert tool.main(words) == 0
    printed = capsys.readouterr().out
    report = json.loads((tmp_path / "compared" / "compare.json").read_text())
    flat, ladder = (report["models"][name] for name in ("flat", "ladder"))
    assert abs(flat["parameters"] / ladder["parameters"] - 1) <= 0.05
    assert 0.8 * ladder["numbers"] < flat["numbers"] <= ladder["numbers"]
    assert [p["rate_weight"] for p in report["points"]] == [0.01, 0.1]
    for point in report["points"]:
        assert len(point["flat"]["prefixes"]) == 1 and len(point["ladder"]["prefixes"]) == 3
        for code in (point["flat"], point["ladder"], point["ladder"]["drawn"]):
            cell = f"{code['psnr_db']:.2f} dB, {code['bits_per_value']:.4f}"
            assert code["bits_per_value"] > 0 and math.isfinite(code["psnr_db"])
            assert cell in printed or code is point["ladder"]["drawn"]
    assert (tmp_path / "compared" / "compare.png").read_bytes()[1:4] == b"PNG"
    states = sorted((tmp_path / "compared").glob("*/state.safetensors"))
    before = [file.stat().st_mtime_ns for file in states]
    assert tool.main(words) == 0 and len(before) == 4
    assert before == [file.stat().st_mtime_ns for file in states]  # none was trained again
    again = json.loads((tmp_path / "compared" / "compare.json").read_text())
    assert again["points"] == report["points"]


def test_the_plan_trains_nothing(tmp_path, capsys):
    tiny = ROOT / "configs" / "image" / "tiny.yaml"
    assert tool.main([str(tiny), "--plan", "--out", str(tmp_path / "none")]) == 0
    assert "One clip of 256x256, 196608 values" in capsys.readouterr().out
    assert not (tmp_path / "none").exists()


def test_multiply_adds_are_those_of_a_model_counted_by_hand():
    level = {"stride": [4, 4], "width": 8, "latent": 2, "blocks": 0}
    stem = {"stride": [2, 2], "width": 6, "blocks": 0}
    model = ModelConfig(domain="image", levels=[level], stem=stem)
    stem_macs, down_macs = 12 * 6 * 16 * 16, 24 * 8 * 8 * 8  # at 16 x 16 and 8 x 8 positions
    block = 8 * 9 + 8 * 16 + 16 * 8  # depthwise 3 x 3, then to twice the width and back
    cell = 8 * 4 + 16 * 8 + block + 8 * 4  # prior, join, evidence, offset
    measured = tool.size(model, (32, 32))
    assert measured["encode_macs"] == stem_macs + down_macs + cell * 64
    assert measured["decode_macs"] == (8 * 4 + 2 * 8) * 64 + down_macs + stem_macs
    assert measured["numbers"] == 2 * 8 * 8


def points(*pairs: tuple[float, float]) -> list[dict[str, float]]:
    return [{"psnr_db": quality, "bits_per_value": bits} for quality, bits in pairs]


def test_savings_on_exponential_curves():
    flat = points((34, 0.8), (30, 0.2), (26, 0.05))  # four times the bits every 4 dB
    saved = tool.bits_saved(flat, points((35, 0.6 * 0.8 * 2**0.5), (29, 0.6 * 0.2 / 2**0.5)))
    assert saved["over"] == pytest.approx(0.4)
    assert saved["at_flat"] == [pytest.approx(0.4), pytest.approx(0.4), None]
    assert saved["at_ladder"] == [None, pytest.approx(0.4)]
    assert tool.bits_saved(flat, points((36, 0.1), (40, 0.2)))["over"] is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("data.validation.names=[]", "data.validation.names is empty"),
        ("minutes=3", "minutes is set"),
        ("modle=1", "unknown key 'modle'"),
    ],
)
def test_refuses_what_would_not_be_a_comparison(tmp_path, capsys, change, words):
    settings = [str(TINY), f"data.root={tmp_path}", "data.validation.names=[a.mp4]", change]
    assert tool.main([*settings, "--out", str(tmp_path / "out")]) == 2
    assert words in capsys.readouterr().err and not (tmp_path / "out").exists()
