"""Sharing models: pushed to and loaded from a stand-in for the hub, on this machine."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from documents import foundation, videos
from domains import ladder
from hub_server import TOKEN, Hub, hub

import stlatent
from stlatent import checkpoint
from stlatent.cli import main
from stlatent.diffusion.text import embed
from stlatent.foundation.opening import open_foundation
from stlatent.losses.perceptual import _from_hub
from stlatent.model.config import FoundationConfig

COMMIT = "0123456789" * 4
NOBODY = "http://127.0.0.1:9"  # where nobody listens
TINY = ["steps=1", "data.frames=9", "data.crop=64", "data.batch_size=1", "data.workers=0"]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The only hub that this process knows, with an empty cache."""
    from huggingface_hub import constants

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def test_a_run_goes_to_the_hub_and_comes_back_the_same(server, capsys):
    videos(Path("VIDEOS"))
    assert main(["train", "video/tiny", "data.root=VIDEOS", "out=runs/mine", *TINY]) == 0
    assert main(["push", "runs/mine", "ada/clips", "--license", "apache-2.0"]) == 0
    assert f"{server.url}/ada/clips" in capsys.readouterr().out
    files = server.repos["ada/clips"]
    assert set(files) == {"model.safetensors", "picture.png", "README.md"}
    page = files["README.md"].decode()
    assert "license: apache-2.0" in page and "library_name: stlatent" in page
    model, here = stlatent.load("ada/clips"), stlatent.load("runs/mine")
    assert stlatent.fingerprint(model) == stlatent.fingerprint(here)
    assert all(f"| {k} | " in page for k in range(len(here.levels)))  # strides, and figures
    assert "| levels | PSNR, dB |" in page and "domain: video" in page
    assert str(Path.cwd()) not in page and "VIDEOS" not in page  # no path of this machine
    assert main(["encode", "VIDEOS", "--model", "ada/clips@main", "--out", "latents"]) == 0


def test_nothing_private_goes_where_all_can_see_it(server, capsys):
    videos(Path("VIDEOS"))
    checkpoint.save(ladder("video"), "model.safetensors")
    push = ["push", "model.safetensors", "--data", "VIDEOS"]
    server.repos["ada/open"] = {}
    assert main([*push, "ada/open", "--private"]) == 2 and not server.repos["ada/open"]
    assert "ada/open is there already, for all to see" in capsys.readouterr().err
    for _ in range(2):  # new, and a new version
        assert main([*push, "ada/mine", "--private"]) == 0
    assert server.private == {"ada/mine"} and server.repos["ada/mine"]


def test_what_was_fetched_is_there_offline(server, monkeypatch):
    from huggingface_hub import constants

    checkpoint.save(ladder("image"), "model.safetensors")
    server.repos["ada/small"] = {"model.safetensors": Path("model.safetensors").read_bytes()}
    x = torch.rand(1, 3, 32, 32)
    there = stlatent.load("ada/small").encode(x).levels
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for a, b in zip(there, stlatent.load("ada/small").encode(x).levels, strict=True):
        assert torch.equal(a, b)
    with pytest.raises(ValueError, match="ada/other is not here"):
        stlatent.load("ada/other")


def test_an_exported_folder_on_the_hub_is_a_model(server, monkeypatch):
    from stlatent.export import export

    export(ladder("image"), "vae", data=[torch.rand(1, 3, 32, 32)])
    names = ("config.json", "diffusion_pytorch_model.safetensors")
    server.repos["ada/vae"] = {name: Path("vae", name).read_bytes() for name in names}
    assert len(stlatent.load("ada/vae").levels) == len(ladder("image").levels)
    monkeypatch.setenv("HF_ENDPOINT", NOBODY)  # nor is the file of other models in the cache
    assert len(stlatent.load("ada/vae").levels) == len(ladder("image").levels)


@pytest.mark.parametrize(
    "command, words",
    [
        ("inspect no/body --data x --out y", "no/body is neither here nor on"),
        ("inspect ada/other --data x --out y", "holds neither model.safetensors nor"),
        ("push video ada", "'ada' is no name on the hub; give user/model"),
        ("push video ada/clips", "give --data, a folder to measure"),
    ],
)
def test_errors_are_one_line(server, capsys, command, words):
    server.repos["ada/other"] = {"readme.txt": b"x"}
    assert main(command.split()) == 2
    line = capsys.readouterr().err
    assert words in line and line.count("\n") == 1


def test_who_is_not_logged_in_is_told_to(server, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    videos(Path("VIDEOS"))
    checkpoint.save(ladder("video"), "model.safetensors")
    assert main(["push", "model.safetensors", "ada/clips", "--data", "VIDEOS"]) == 2
    assert "hf auth login" in capsys.readouterr().err


@pytest.fixture
def deaf() -> Iterator[str]:
    """A hub that takes what it is asked, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize("silent", [False, True])
def test_a_hub_out_of_reach_is_one_line_at_once(server, deaf, silent, monkeypatch, capsys, caplog):
    monkeypatch.setenv("HF_ENDPOINT", deaf if silent else NOBODY)
    monkeypatch.setattr("stlatent.hub.PATIENCE", 0.2)
    began = time.monotonic()
    library = logging.getLogger("huggingface_hub")
    library.addHandler(caplog.handler)
    assert main(["inspect", "ada/clips", "--data", "x", "--out", "y"]) == 2
    library.removeHandler(caplog.handler)
    line = capsys.readouterr().err
    assert "is out of reach" in line and line.count("\n") == 1
    assert time.monotonic() - began < 15  # the library below tries for 23 s and more
    assert not caplog.records  # nothing of trying again


@pytest.mark.parametrize("silent", [False, True])
def test_so_it_is_for_what_other_libraries_fetch(server, deaf, silent, monkeypatch):
    """Foundations, text encoders, backbones; what was fetched before opens nevertheless."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "cache")
    monkeypatch.setenv("HF_ENDPOINT", deaf if silent else NOBODY)
    monkeypatch.setattr("stlatent.hub.PATIENCE", 0.2)
    began, home = time.monotonic(), Path("cache", "models--ada--vae")
    timm = SimpleNamespace(get_pretrained_cfg=lambda _: SimpleNamespace(hf_hub_id="ada/other"))
    for opens in (
        lambda: open_foundation(FoundationConfig(path="ada/other", subfolder="vae")),
        lambda: embed(["a cat"], "ada/other"),
        lambda: _from_hub(timm, "resnet"),
    ):
        with pytest.raises(ValueError, match="is not here, was not fetched before, and .* reach"):
            opens()
    foundation(home / "snapshots" / COMMIT)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(COMMIT)
    assert open_foundation(FoundationConfig(path="ada/vae")).commit == COMMIT
    assert time.monotonic() - began < 15


def test_what_may_be_a_path_does_not_go_to_the_hub(server):
    Path("runs").mkdir()
    for reference in ("runs/mine", "mine/model.safetensors", "runs/mine/best", "./mine"):
        with pytest.raises(ValueError, match=f"no model at '{reference}'"):
            stlatent.load(reference)
    assert server.asked == []
