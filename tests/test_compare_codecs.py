"""The comparison with classical codecs counts what it should, and writes down what it prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from domains import ladder

import stlatent
from stlatent.model.rates import RateRange

pytest.importorskip("constriction")
import compare_codecs as tool

ROOT = Path(__file__).parents[1]
CLIP = ROOT / "assets" / "clips" / "wolf.mp4"


def test_every_codec_is_measured_tabled_and_plotted(tmp_path, monkeypatch, capsys):
    few = {name: codec._replace(crf=(20, 45)) for name, codec in tool.CODECS.items()}
    monkeypatch.setattr(tool, "CODECS", few)
    stlatent.save(ladder("video"), tmp_path / "model.safetensors")
    words = [str(CLIP), "--model", str(tmp_path / "model.safetensors"), "--out", str(tmp_path)]
    assert tool.main([*words, "--size", "9", "64", "64", "--steps", "4", "16"]) == 0
    (clip,) = json.loads((tmp_path / "codecs.json").read_text())["clips"]
    assert (tmp_path / "codecs.png").read_bytes()[1:4] == b"PNG"
    printed = capsys.readouterr().out
    for name in few:
        worse, better = clip[name]
        assert worse["crf"] == 45 and worse["bits"] < better["bits"]
        assert 20 < worse["psnr_db"] < better["psnr_db"] < clip["ceiling_db"] < 60
    assert clip["H.264"][0]["bits"] < 8 * 1500  # x264's own note alone is 700 bytes
    points = clip["ladder"]
    assert [(p["step"], p["levels"]) for p in points] == [(4, 1), (4, 2), (4, 3), (16, 3)]
    for p in points:
        assert p["bits"] / (9 * 64 * 64) == p["bits_per_pixel"]
        assert f"{p['psnr_db']:.2f} dB" in printed
    assert points[0]["bits"] < points[1]["bits"] < points[2]["bits"] > points[3]["bits"]


def test_a_model_that_takes_the_price_walks_its_range():
    rate = RateRange(range=(0.003, 0.1))
    model = ladder("video", rate=rate, posterior="rounded")
    ways = tool.settings(model, tool.STEPS, 3)
    weights = [way["rate_weight"] for way in ways]
    assert weights[::2] == [0.003, 0.1] and weights[1] == pytest.approx(rate.middle)
    x = tool.centre_clip(CLIP, (9, 64, 64))[0]
    points = [p for p in tool.ladder(model, x, ways) if p["levels"] == 3]
    assert [p["rate_weight"] for p in points] == weights
    assert points[0]["bits"] > points[1]["bits"] > points[2]["bits"]


def test_bits_are_compared_at_equal_psnr():
    curve = [{"psnr_db": 30.0, "bits": 1000}, {"psnr_db": 34.0, "bits": 4000}]
    assert tool.times({"psnr_db": 32.0, "bits": 6000}, curve) == pytest.approx(3.0)
    assert tool.times({"psnr_db": 29.9, "bits": 6000}, curve) is None


def test_a_model_of_no_videos_is_refused(tmp_path, capsys):
    stlatent.save(ladder("image"), tmp_path / "model.safetensors")
    out = tmp_path / "out"
    words = [str(CLIP), "--model", str(tmp_path / "model.safetensors"), "--out", str(out)]
    assert tool.main(words) == 2
    assert "give one of domain 'video'" in capsys.readouterr().err and not out.exists()
