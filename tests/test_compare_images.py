"""The comparison of image codecs counts the bytes of real files, and writes down what it prints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from domains import config, ladder
from PIL import Image

import stlatent
from stlatent import Ladder
from stlatent.model.rates import RateRange

pytest.importorskip("constriction")
import compare_images as tool


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Smooth waves, which a new ladder knows."""
    root, axes = tmp_path_factory.mktemp("pictures"), np.mgrid[:64, :48]
    for k in range(2):
        waves = [np.sin((axes[0] + (1 + k) * axes[1]) / (7 + c)) for c in range(3)]
        values = (np.stack(waves, -1) * 100 + 128).astype(np.uint8)
        Image.fromarray(values).save(root / f"{k}.png")
    return root


def test_every_curve_is_measured_tabled_and_plotted(pictures, tmp_path, monkeypatch, capsys):
    few = {name: one._replace(quality=(20, 80)) for name, one in tool.FORMATS.items()}
    monkeypatch.setattr(tool, "FORMATS", few)
    rate = RateRange(range=(0.01, 0.1))
    model = Ladder(config("image", rate=rate, posterior="rounded")).eval().requires_grad_(False)
    stlatent.save(model, tmp_path / "model.safetensors")
    out = tmp_path / "out"
    words = [str(pictures), "--model", str(tmp_path / "model.safetensors"), "--out", str(out)]
    assert tool.main([*words, "--prices", "2", "--psnr", "5"]) == 0
    report, printed = json.loads((out / "images.json").read_text()), capsys.readouterr().out
    assert (out / "images.png").read_bytes()[1:4] == b"PNG"
    assert "VTM" not in report["curves"]  # published of other pictures
    for name, (small, large) in report["curves"].items():
        assert small["bits_per_pixel"] < large["bits_per_pixel"], name
        assert 5 < small["psnr_db"] < large["psnr_db"] < 70, name
    for p in report["curves"]["ladder"]:
        assert f"{p['psnr_db']:.2f} dB" in printed
        assert sum(p["level_bits_per_pixel"]) == pytest.approx(p["bits_per_pixel"])
        assert p["folder_bits_per_pixel"] > p["bits_per_pixel"]
    (aim,) = report["targets"]
    for name, (decibels, bits) in aim["pictures"].items():
        assert decibels >= 5 and f"| 5 dB | {name} | {decibels:.2f} dB | {bits:.3f} |" in printed
    jpeg = report["curves"]["JPEG"][0]
    found = np.mean([bits for _, bits in jpeg["pictures"].values()])
    assert found == jpeg["bits_per_pixel"] > 8 * 300 / (64 * 48)  # no JPEG is shorter


def test_a_model_for_one_price_is_refused(pictures, tmp_path, capsys):
    stlatent.save(ladder("image"), tmp_path / "model.safetensors")
    words = [str(pictures), "--model", str(tmp_path / "model.safetensors")]
    assert tool.main([*words, "--out", str(tmp_path / "out")]) == 2
    assert "that takes λ" in capsys.readouterr().err and not (tmp_path / "out").exists()
