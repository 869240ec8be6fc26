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


# records --------------------------------------------------------------------------------------


def at(*path: Any, value: Any) -> Callable[[Any], None]:
    """A change of one entry of a JSON value."""

    def change(values: Any) -> None:
        for key in path[:-1]:
            values = values[key]
        values[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (at("domain", value="smell"), "domain is 'smell'; there are"),
        (at("domain", value="image"), "axes are"),
        (at("units", value=10**9), "1000000000 units, but 2 are there"),
        (at("levels", 0, "stride", value=[0, 16, 16]), "greater than or equal to 1"),
        (at("levels", 0, "stride", value=[9, 16, 16]), "divided by the next"),
        (at("levels", 0, "stride", value=[16, 16]), "needs one each for t, h, w"),
        (at("levels", 1, "channels", value=10**9), "statistics are of"),
        (at("levels", value=[]), "at least 1 item"),
        (at("levels", 0, "dtype", value="bits"), "coding is None"),
        (at("statistics", 0, "std", 0, value=float("inf")), "finite"),
        (at("statistics", 0, "std", 0, value=-1.0), "greater than or equal to 0"),
        (at("tile", value=1), "no multiple of the coarsest"),
        (at("fingerprint", value="0" * 16), "fingerprint"),
    ],
)
def test_manifests_that_cannot_be(copy, tmp_path, capsys, change, said):
    edit(copy / "manifest.json", change)
    assert said in refused(capsys, "decode", copy, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (at("items", 0, "fps", value=float("inf")), "fps"),
        (at("items", 0, "fps", value=1e300), "fps"),
        (at("items", 0, "fps", value=0), "fps"),
        (at("items", 0, "size", value=[-9, 32, 48]), "size"),
        (at("items", 0, "size", value=[10**15, 32, 48]), "size"),
        (at("items", 0, "size", value=[9, 32]), "size"),
        (at("items", 0, "size", value=[9, 32, 4800]), "grids"),
        (at("items", 0, "grids", 0, value=[]), "grids"),
        (at("items", 0, "grids", value=[]), "grids"),
        (at("items", 0, "bits", value=[]), "bits"),
        (at("items", 0, "kind", value="mesh"), "shape is None"),
        (at("items", 1, "name", value="a.mp4"), "one name"),
        (at("items", 0, "name", value="sub/b.mp4"), "called 'sub/b.mp4'"),
        (at("files", value={"../x": {"bytes": 1, "sha256": "0" * 64}}), "files"),
        (at("files", value={}), "files"),
        (at("moments", value=[]), "moments"),
    ],
)
def test_units_that_cannot_be(copy, tmp_path, capsys, change, said):
    edit(copy / "units" / "00000.json", change)
    assert said in refused(capsys, "decode", copy, "--out", tmp_path / "out")
    assert main(["verify", str(copy)]) in (1, 2)
    assert not (tmp_path / "out").exists()


def test_brackets_that_nest_deeply(copy, tmp_path, capsys):
    deep = "[" * 100_000 + "]" * 100_000
    (copy / "units" / "00000.json").write_text(deep)
    assert "cannot be read" in refused(capsys, "decode", copy, "--out", tmp_path / "out")
    (copy / "job.json").write_text(deep)
    assert "cannot be read" in refused(capsys, "jobs", "show", copy)
    file = copy / "level_0" / "00001.safetensors"
    file.write_bytes(len(deep).to_bytes(8, "little") + deep.encode())
    with pytest.raises(ValueError, match=r"00001\.safetensors cannot be read"):
        VectorFile(file)


@pytest.mark.parametrize(
    "about",
    [
        {"shape": [9, 100000, 100000]},
        {"shape": [9, 100000, 100000], "data_offsets": [0, 360_000_000_000]},
        {"shape": [-1, 4, 2, 3]},
        {"data_offsets": [-8, 184]},
        {"data_offsets": [0, 100]},
        {"data_offsets": [192, 0]},
        {"dtype": "F64"},
        {"dtype": "I8"},
    ],
)
def test_tensors_that_their_file_does_not_hold(copy, tmp_path, capsys, about):
    file = copy / "level_0" / "00000.safetensors"
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["a.mp4"] |= about
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    said = refused(capsys, "decode", copy, "--out", tmp_path / "out")
    assert ("level_0/00000.safetensors" in said and "a.mp4" in said) or "a tensor" in said


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_latents_that_are_not_finite_are_not_decoded(copy, tmp_path, capsys, value):
    file = copy / "level_1" / "00000.safetensors"
    tensors = load_file(file)
    tensors["a.mp4"][0, 0, 0, 0] = value
    save_file(tensors, file)
    said = refused(capsys, "decode", copy, "--out", tmp_path / "out")
    assert "values of 'a.mp4' that are not finite" in said
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(LatentStore(copy).read("a.mp4", 1).levels) == 1  # level 0 is as it was


def test_records_of_another_model_s_levels(copy, model):
    def change(values: Any) -> None:
        for key in ("levels", "statistics"):
            values[key].pop()

    edit(copy / "manifest.json", change)
    for unit in (copy / "units").iterdir():

        def fewer(values: Any) -> None:
            values["files"] = {k: v for k, v in values["files"].items() if "level_2" not in k}
            values["moments"].pop()
            for item in values["items"]:
                item["grids"].pop()
                item["bits"].pop()

        edit(unit, fewer)
    with pytest.raises(ValueError, match="levels of other strides or channels"):
        LatentStore(copy, stlatent.load(model))
