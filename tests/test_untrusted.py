"""Data sets that someone else made: nothing in them is trusted, and every fault is one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from domains import ladder
from PIL import Image
from safetensors.torch import load_file, save_file
from test_codec import EXACT, moving_pattern, write_video

import stlatent
from stlatent import Ladder
from stlatent.cli import main
from stlatent.files import inside, safe_name
from stlatent.jobs.encode import encode_folder
from stlatent.store.labels import VectorFile
from stlatent.store.place import Place
from stlatent.store.reader import LatentStore


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    stlatent.save(ladder("video"), path)
    return path


@pytest.fixture(scope="module")
def latents(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips and a picture, in two units."""
    root = tmp_path_factory.mktemp("data")
    write_video(root / "in" / "a.mp4", (9, 32, 48))
    write_video(root / "in" / "sub" / "b.mp4", (3, 17, 20))
    Image.fromarray(moving_pattern(1, 21, 33)[0]).save(root / "in" / "c.png")
    options = EXACT.model_copy(update={"unit_files": 2})
    encode_folder(stlatent.load(model), root / "in", root / "out", str(model), options)
    return root / "out"


@pytest.fixture
def copy(latents: Path, tmp_path: Path) -> Path:
    """In a folder of its own, beside which nothing else is."""
    return Path(shutil.copytree(latents, tmp_path / "home" / "latents"))


def edit(path: Path, change: Callable[[Any], None]) -> None:
    """Change what a JSON file says."""
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def rename(latents: Path, name: str) -> None:
    """Give the first item another name, in its record and in its files."""

    def change(values: Any) -> None:
        values["items"][0]["name"] = name

    edit(latents / "units" / "00000.json", change)
    for file in latents.glob("level_*/00000.safetensors"):
        tensors = load_file(file)
        tensors[name] = tensors.pop("a.mp4")
        save_file(tensors, file)


def refused(capsys: pytest.CaptureFixture, *words: object) -> str:
    """What is said about a command that must end with one line and exit code 2."""
    assert main([str(word) for word in words]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].startswith("stlatent"), said
    return said[0]


# names ----------------------------------------------------------------------------------------

OUTSIDE = ["../a.mp4", "../../a.mp4", "/abs/a.mp4", "sub/../../a.mp4", "..", "a/..", "a\0.mp4"]
OUTSIDE += ["..\\a.mp4", "C:a.mp4", "c:\\a.mp4", "\\\\host\\a.mp4", "", ".", "a//b", "a/./b", "a/"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_that_lead_outside_are_refused(name):
    with pytest.raises(ValueError, match="cannot be the name of a file inside a folder"):
        safe_name(name)


@pytest.mark.parametrize("name", ["a.mp4", "a/b.mp4", "..a/b..", "2024-01-01T12:30:00.mp4", "ü…"])
def test_ordinary_names_are_names(name, tmp_path):
    assert safe_name(name) == name and inside(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize("name", [*OUTSIDE, "__metadata__"])
def test_decoding_never_writes_outside(model, copy, capsys, name):
    name = name.replace("/abs", str(copy.parent))
    rename(copy, name)
    before = {*copy.parent.parent.rglob("*")}
    assert "name" in refused(capsys, "decode", copy, "--out", copy.parent / "x" / "out")
    assert {*copy.parent.parent.rglob("*")} == before


def test_links_do_not_lead_out_of_a_data_set(copy, tmp_path, capsys):
    secret = tmp_path / "secret"
    (copy / "level_0").rename(secret)
    (copy / "level_0").symlink_to(secret)
    assert "symbolic link" in refused(capsys, "decode", copy, "--out", tmp_path / "out")
    (copy / "level_0").unlink()
    shutil.copytree(secret, copy / "inner")
    (copy / "level_0").symlink_to("inner")  # inside: no harm
    assert len(LatentStore(copy).read("a.mp4").levels) == 3
    (copy / "manifest.json").rename(tmp_path / "m")
    (copy / "manifest.json").symlink_to(tmp_path / "m")
    assert "symbolic link" in refused(capsys, "decode", copy, "--out", tmp_path / "out")


def test_links_below_out_are_not_followed(copy, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "sub").symlink_to(tmp_path / "elsewhere")
    assert "symbolic link" in refused(capsys, "decode", copy, "--out", tmp_path / "out")
    assert not [*(tmp_path / "elsewhere").iterdir()]


def test_a_data_set_may_be_reached_through_a_link(copy, tmp_path):
    (tmp_path / "link").symlink_to(copy)
    assert list(LatentStore(tmp_path / "link").items) == ["a.mp4", "c.png", "sub/b.mp4"]
    save_file({"a.mp4": torch.ones(3)}, tmp_path / "text.safetensors")
    (copy / "labels.safetensors").symlink_to(tmp_path / "text.safetensors")
    assert VectorFile(copy / "labels.safetensors")["a.mp4"].tolist() == [1, 1, 1]


def test_a_source_whose_name_is_reserved_is_named(tmp_path):
    model: Ladder = ladder("video")
    for folder in ("__metadata__", "film"):
        (tmp_path / "in" / folder).mkdir(parents=True)
        for i, frame in enumerate(moving_pattern(3, 20, 30)):
            Image.fromarray(frame).save(tmp_path / "in" / folder / f"{i:03d}.png")
    result = encode_folder(model, tmp_path / "in", tmp_path / "out", "tiny")
    assert [f.name for f in result.failed] == ["__metadata__"]
    assert "rename it" in result.failed[0].reason
    assert list(LatentStore(tmp_path / "out").items) == ["film"]


def test_places_read_and_write_inside_alone(tmp_path):
    place = Place(tmp_path / "place")
    for work in (place.read, place.exists, lambda name: place.put(name, [b"x"])):
        with pytest.raises(ValueError, match="cannot be the name"):
            work("../x")
    assert not (tmp_path / "x").exists()
