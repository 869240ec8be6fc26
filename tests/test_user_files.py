"""What the library did not make, it does not touch."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from domains import ladder
from test_codec import EXACT, write_video
from test_jobs import content, killed

from stlatent import Ladder
from stlatent.jobs.encode import encode_folder
from stlatent.jobs.options import EncodeOptions
from stlatent.jobs.unit import UnitWriter
from stlatent.store.reader import LatentStore

OTHER = EncodeOptions(dtype=("bfloat16",), precision="fp32")


@pytest.fixture(scope="module")
def model() -> Ladder:
    return ladder("video")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    for name in ("a.mp4", "b.mp4"):
        write_video(root / name, (3, 16, 32))
    return root


@pytest.fixture(scope="module")
def made(model: Ladder, videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "latents"
    encode_folder(model, videos, out, "tiny", EXACT)
    return out


@pytest.fixture
def latents(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "home" / "latents"))


def dtype(latents: Path) -> str:
    return LatentStore(latents).header.levels[0].dtype


# --replace ------------------------------------------------------------------------------------


@pytest.mark.parametrize("fails", [False, True])
def test_neighbours_stay_when_latents_are_replaced(model, videos, latents, monkeypatch, fails):
    for name in ("latents.old", "latents.new", "latents.bak"):
        shutil.copytree(latents, latents.with_name(name))
    before = content(latents)
    if fails:
        monkeypatch.setattr(UnitWriter, "commit", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            encode_folder(model, videos, latents, "tiny", OTHER, replace=True)
        assert content(latents) == before
    else:
        encode_folder(model, videos, latents, "tiny", OTHER, replace=True)
        assert dtype(latents) == "bfloat16"
        assert not [p for p in latents.parent.iterdir() if p.name.startswith(".")]
    for name in ("latents.old", "latents.new", "latents.bak"):
        assert content(latents.with_name(name)) == before


def test_what_is_left_of_another_replacement_is_no_dead_end(model, videos, latents):
    def work() -> None:
        encode_folder(model, videos, latents, "tiny", OTHER, replace=True)

    assert killed(work, 3)
    half = EncodeOptions(dtype=("float16",), precision="fp32")
    encode_folder(model, videos, latents, "tiny", half, replace=True)
    assert dtype(latents) == "float16" and [p.name for p in latents.parent.iterdir()] == ["latents"]


def test_two_replacements_at_once_do_not_mix(model, videos, latents):
    def another(*_: object) -> None:
        encode_folder(model, videos, latents, "tiny", OTHER, replace=True)

    half = EncodeOptions(dtype=("float16",), precision="fp32")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stlatent.jobs.encode.merged", another)
        with pytest.raises(ValueError, match="another process makes another data set"):
            encode_folder(model, videos, latents, "tiny", half, replace=True)


def test_replacing_that_is_killed_anywhere_loses_neither(model, videos, latents, tmp_path):
    encode_folder(model, videos, tmp_path / "fresh", "tiny", OTHER)

    def work() -> None:
        encode_folder(model, videos, latents, "tiny", OTHER, replace=True)

    at = 1
    while killed(work, at):
        at += 1
        places = [latents, *latents.parent.glob(".*/new"), *latents.parent.glob(".*/old")]
        assert any((place / "manifest.json").exists() for place in places)
    work()
    assert content(latents) == content(tmp_path / "fresh")
    assert [p.name for p in latents.parent.iterdir()] == ["latents"]


def test_the_data_set_behind_a_link_is_replaced(model, videos, latents, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(latents)
    for options, expected in ((OTHER, "bfloat16"), (EXACT, "float32")):
        encode_folder(model, videos, link, "tiny", options, replace=True)
        assert link.is_symlink() and dtype(latents) == expected
    encode_folder(model, videos, link, "tiny", EXACT)  # nothing is left to do
    assert [p.name for p in latents.parent.iterdir()] == ["latents"]


# folders --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["failed.jsonl", "preview.png", "inputs.jsonl", "units/x", "level_0/x", "job.json"]
)
def test_only_empty_folders_and_our_own_are_claimed(model, videos, tmp_path, name):
    file = tmp_path / "out" / name
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    for replace in (False, True):
        with pytest.raises(ValueError, match=r"other things|was not made by|cannot be read"):
            encode_folder(model, videos, tmp_path / "out", "tiny", replace=replace)
    assert content(tmp_path / "out")[name] == b"mine"
    assert len([p for p in (tmp_path / "out").rglob("*") if p.is_file()]) == 1


@pytest.mark.parametrize("name", ["thesis.txt", "level_0/thesis.txt", "units/notes.json"])
def test_what_lies_among_latents_keeps_them_from_being_replaced(model, videos, latents, name):
    (latents / name).write_text("mine")
    with pytest.raises(ValueError, match="holds more than latents"):
        encode_folder(model, videos, latents, "tiny", OTHER, replace=True)
    assert (latents / name).read_text() == "mine" and dtype(latents) == "float32"


def test_a_job_of_which_nothing_comes_takes_its_own_files_away(model, tmp_path):
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_text("no video")
    out = tmp_path / "out"
    options = EXACT.model_copy(update={"unit_files": 1})
    encode_folder(model, tmp_path / "in", out, "tiny", options, shard=(0, 2))
    for name in ("notes.txt", "level_0/notes.txt"):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("mine")
    with pytest.raises(ValueError, match="nothing in .* can be read"):
        encode_folder(model, tmp_path / "in", out, "tiny", options)
    assert content(out) == {
        "level_0": b"",
        "level_0/notes.txt": b"mine",
        "notes.txt": b"mine",
    }
    shutil.rmtree(out)
    with pytest.raises(ValueError, match="nothing in .* can be read"):
        encode_folder(model, tmp_path / "in", out, "tiny", options)
    assert not out.exists()


def test_latents_may_lie_in_the_folder_that_is_encoded(model, videos, tmp_path):
    root = Path(shutil.copytree(videos, tmp_path / "in"))
    for options in (EXACT, EXACT, OTHER, OTHER):
        result = encode_folder(model, root, root / "z", "tiny", options, replace=options is OTHER)
        assert (result.items, result.failed) == (2, ())
    assert sorted(p.name for p in root.iterdir()) == ["a.mp4", "b.mp4", "z"]


@pytest.mark.parametrize("name", ["._00000.json", "notes.txt", "00000.json.bak"])
def test_other_names_among_units_are_passed_over(latents, name):
    (latents / "units" / name).write_text("x")
    assert len(LatentStore(latents).items) == 2
