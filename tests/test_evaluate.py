"""`stlatent evaluate`: prefixes of ours beside autoencoders of diffusers, on public sets."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from documents import foundation
from domains import ladder
from PIL import Image
from test_codec import write_video

from stlatent import checkpoint
from stlatent.cli import main
from stlatent.evaluate.networks import frechet_distance
from stlatent.evaluate.peers import FrozenPeer, LadderPeer
from stlatent.evaluate.yardstick import evaluate, table
from stlatent.foundation.opening import open_foundation
from stlatent.media.metrics import psnr, ssim
from stlatent.media.registry import yardstick
from stlatent.media.video.yardsticks import SETS, read_yardstick
from stlatent.model.config import FoundationConfig


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small ones of the shapes of the public sets."""
    monkeypatch.chdir(tmp_path)
    for k in range(2):
        write_video(tmp_path / "sets" / "mine" / f"{k}.mp4", (20, 72, 96))
        frames = tmp_path / "sets" / "davis" / "JPEGImages" / "480p" / f"clip_{k}"
        frames.mkdir(parents=True)
        for t in range(5):
            picture = Image.linear_gradient("L").rotate(9 * t).resize((300, 280)).convert("RGB")
            picture.save(frames / f"{t:05d}.jpg")
    masks = tmp_path / "sets" / "davis" / "Annotations" / "480p" / "clip_0"
    masks.mkdir(parents=True)
    Image.new("L", (300, 280)).save(masks / "00000.png")
    return tmp_path / "sets"


def test_sets_are_cut_as_the_protocol_says(sets):
    clips = dict(read_yardstick(sets, "davis", still=False))
    assert set(clips) == {"clip_0", "clip_1"}  # and no masks
    assert all(x.shape == (1, 3, 5, 256, 256) for x in clips.values())
    assert all(x.shape == (1, 3, 17, 256, 256) for _, x in read_yardstick(sets, "mine", False))
    assert (SETS["mcl-jcv"].frames, SETS["mcl-jcv"].side, SETS["mcl-jcv"].count) == (17, 256, 30)
    (sets / "kodak").mkdir()
    Image.new("RGB", (96, 64)).save(sets / "kodak" / "kodim01.png")
    with pytest.raises(ValueError, match="kodak has 24 files, and .* holds 1"):
        next(read_yardstick(sets, "kodak", still=False))


def test_rows_are_what_encoding_and_decoding_give(sets):
    """Of a ladder, each prefix; of an autoencoder of pictures, frame by frame."""
    model = ladder("video").eval().requires_grad_(False)
    foundation(Path("tiny"))
    peers = [LadderPeer("ours", model), FrozenPeer("tiny", torch.device("cpu"))]
    clips = list(yardstick(model, sets, "davis"))
    rows = evaluate(peers, clips, "fp32")
    assert [row.levels for row in rows][-2:] == ["all", "all"] and rows[0].levels == "0"
    for levels in range(1, len(model.levels) + 1):
        decoded = [model.decode(model.encode(x), levels) for _, x in clips]
        pairs = list(zip((x for _, x in clips), decoded, strict=True))
        row = rows[levels - 1]
        assert row.psnr_db == pytest.approx(np.mean([psnr(x, y) for x, y in pairs]), abs=2e-3)
        assert row.ssim == pytest.approx(np.mean([ssim(x, y) for x, y in pairs]), abs=2e-4)
        numbers = sum(z.numel() for z in model.encode(clips[0][1]).levels[:levels])
        assert row.values_per_number == pytest.approx(clips[0][1].numel() / numbers, abs=0.1)
        assert row.encode_fps > 0 and row.decode_fps > 0 and row.bits_per_value >= 0
    frozen = open_foundation(FoundationConfig(path="tiny"))
    x = clips[0][1]
    frames = torch.cat([frozen.decode(frozen.encode(x[:, :, t])) for t in range(x.shape[2])])
    alone = evaluate(peers[1:], clips[:1], "fp32")[0]
    assert alone.psnr_db == pytest.approx(float(psnr(x, frames.transpose(0, 1)[None])), abs=2e-3)
    assert alone.bits_per_value is None and alone.model == "AutoencoderTiny (tiny)"
    assert table(rows).count("\n") == len(rows) + 1 and "LPIPS" not in table(rows)


def test_the_command_prints_a_table_and_writes_json(sets, capsys):
    checkpoint.save(ladder("video"), "model.safetensors")
    words = ["evaluate", "model.safetensors", "--data", "sets", "--set", "davis"]
    assert main([*words, "--out", "found.json"]) == 0
    printed = capsys.readouterr().out
    assert "| model.safetensors | all |" in printed and "no LPIPS: its network" in printed
    found = json.loads(Path("found.json").read_text())
    assert len(found) == len(ladder("video").levels) and found[0]["lpips"] is None
    assert main([*words, "--out", "found.json"]) == 2  # it is there
    assert main([*words[:-1], "nothing"]) == 2
    assert "the sets are mcl-jcv, davis, kodak" in capsys.readouterr().err


def test_what_has_no_public_set_says_so(sets, capsys):
    checkpoint.save(ladder("voxel"), "voxel.safetensors")
    assert main(["evaluate", "voxel.safetensors", "--data", "sets"]) == 2
    assert "`stlatent inspect` measures" in capsys.readouterr().err


def test_networks_are_graphs_that_are_given(sets, monkeypatch, capsys):
    """LPIPS by a graph of two pictures, FVD by one of a clip: here simple ones, known by hand."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper

    def write(name: str, inputs: list, nodes: list) -> None:
        out = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
        graph = helper.make_graph(nodes, "g", inputs, [out])
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        made.ir_version = 10
        onnx.save(made, name)

    def given(name: str, axes: int) -> object:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * axes)

    apart = [helper.make_node("Sub", ["a", "b"], ["d"]), helper.make_node("Abs", ["d"], ["e"])]
    mean = helper.make_node("ReduceMean", ["e"], ["out"], axes=[1, 2, 3], keepdims=0)
    write("lpips.onnx", [given("a", 4), given("b", 4)], [*apart, mean])
    of_clip = helper.make_node("ReduceMean", ["c"], ["out"], axes=[2, 3, 4], keepdims=0)
    write("fvd.onnx", [given("c", 5)], [of_clip])
    checkpoint.save(ladder("video"), "model.safetensors")
    words = ["evaluate", "model.safetensors", "--data", "sets", "--set", "davis", "--out", "a.json"]
    assert main([*words, "--lpips", "lpips.onnx", "--fvd", "fvd.onnx", "--precision", "fp32"]) == 0
    last = json.loads(Path("a.json").read_text())[-1]
    model = checkpoint.load("model.safetensors")
    clips = [x for _, x in read_yardstick(sets, "davis", still=False)]
    decoded = [model.decode(model.encode(x)).clamp(-1, 1) for x in clips]
    apart = np.mean([float((x - y).abs().mean()) for x, y in zip(clips, decoded, strict=True)])
    assert last["lpips"] == pytest.approx(apart, abs=1e-3)
    means = [[np.asarray(x.mean((0, 2, 3, 4)), float) for x in one] for one in (clips, decoded)]
    assert last["fvd"] == pytest.approx(frechet_distance(*means), abs=0.01)
    (one := Path("sets", "one")).mkdir()
    write_video(one / "0.mp4", (20, 72, 96))
    words[words.index("davis")] = "one"
    with monkeypatch.context() as patch:
        patch.setattr(LadderPeer, "encode", lambda *_: pytest.fail("it has measured"))
        assert main([*words[:-2], "--fvd", "fvd.onnx"]) == 2
    assert "FVD compares sets of clips, 2 or more; 1 is here" in capsys.readouterr().err
    assert main([*words[:-2], "--lpips", "fvd.onnx"]) == 2
    assert "fvd.onnx has 1 inputs; a graph of 2 fits" in capsys.readouterr().err
    assert main([*words[:-2], "--fvd", "a.json"]) == 2
    assert "cannot be read as an ONNX graph" in capsys.readouterr().err


def test_frechet_distance_is_that_of_gaussians():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(4000, 3)), 2 * rng.normal(size=(4000, 3)) + 1
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    # |mean difference|^2 + sum of (1 - 2)^2 per axis
    assert frechet_distance(a, b) == pytest.approx(3 + 3, rel=0.05)
    both = [np.cov(x.T) for x in (a, b)]
    root = np.sqrt(np.linalg.eigvals(both[0] @ both[1]).real).sum()
    apart = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(both[0] + both[1]) - 2 * root
    assert frechet_distance(a, b) == pytest.approx(apart)
    few = frechet_distance(a[:2], b[:2])  # fewer clips than features: still a number
    assert math.isfinite(few) and few > 0
