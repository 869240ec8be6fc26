"""Configs: what is read, what is refused, and how it is said."""

import importlib
import json
import pkgutil
import resource
import time
from pathlib import Path

import pytest
import yaml
from domains import config, ladder

import stlatent
from stlatent import ModelConfig, checkpoint
from stlatent.cli import main
from stlatent.diffusion import data as diffusion_data
from stlatent.diffusion.config import DiffusionRun
from stlatent.export import statistics
from stlatent.model.blocks import BLOCKS
from stlatent.model.config import dump, load, parse, read
from stlatent.model.documents import from_json, from_yaml
from stlatent.model.former import digested
from stlatent.model.kinds import (
    CellConfig,
    ConvNextCell,
    FsqCodebook,
    LikelihoodConfig,
    PosteriorConfig,
)
from stlatent.model.likelihoods import KINDS as LIKELIHOODS
from stlatent.model.posteriors import KINDS as POSTERIORS
from stlatent.model.reference import described, reference
from stlatent.model.strict import Strict, kinds_of
from stlatent.shipped import shipped_models
from stlatent.train.config import RunConfig

CONFIGS = sorted((Path(__file__).parents[1] / "configs").rglob("*.yaml"))
CONFIGS = [path for path in CONFIGS if path.parent.name != "diffusion"]
TINY = CONFIGS[0].parents[1] / "video" / "tiny.yaml"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: "/".join(p.parts[-2:]))
def test_every_config_is_valid_and_survives_a_round_trip(path, tmp_path):
    run = load(RunConfig, path)
    (tmp_path / "again.yaml").write_text(dump(run))
    assert load(RunConfig, tmp_path / "again.yaml") == run


@pytest.mark.parametrize(
    "text", ["2026-11-29", "007", "on", "1_000", "10:30", "a: b", "my clips #1", "1e3", "#1"]
)
def test_a_path_is_what_was_written(text):
    """YAML would take most of these for something else."""
    config = load(RunConfig, TINY, [f"out={text}", f"data.root={text}", f"start={text}"])
    assert str(config.out) == str(config.data.root) == text
    assert config.start == (None if text == "#1" else Path(text))  # nothing, as YAML has it


def test_numbers_and_lists_of_an_override_are_those_of_yaml():
    config = load(RunConfig, TINY, ["steps=1_000", "out=x ", "data.validation.names=[a.mp4]"])
    assert (config.steps, str(config.out)) == (1000, "x")
    assert load(RunConfig, TINY, ["start="]).start is None


@pytest.mark.parametrize(
    "override, words",
    [
        ("model.levles=1", "unknown key 'model.levles', the nearest valid key is 'levels'"),
        ("model.levels.1.widht=3", "unknown key 'model.levels.1.widht'.*'width'"),
        ("model.levels.7.width=3", "'7' is not an index from 0 to 2"),
        ("steps=lots", "steps: input should be a valid integer.*'lots'"),
        ("steps", "not of the form key=value"),
        ("model.domain=film", "'image', 'video', .* or 'sparse'.*'film'"),
        ("model.cell.kernel=4", "model.cell.kernel: it must be odd, such as 5"),
        ("model.levels.0.stride=[8, 24, 24]", "does not divide it"),
        ("model.levels.0.stride=[8, 32]", "needs one each for t, h, w"),
        ("data.crops_per_read=3", "multiple of crops_per_read, 3"),
        ("loss.prefix.share=2", "loss.prefix.share: .*less than or equal to 1"),
        ("optimiser.lr=inf", "optimiser.lr: input should be a finite number"),
        ("optimiser.lr=.nan", "optimiser.lr: input should be a finite number"),
        ("loss.rate.weight=[0.1, .inf]", "loss.rate.weight.*finite number"),
        ("model.levels=[" + "7, " * 99 + "7]", "model.levels.7: .*and .. more"),
        ("out=" + "[" * 100000, "64 groups lie inside each other"),
        ("out={a: 1, a: 2}", "key 'a' is given twice"),
    ],
)
def test_wrong_configs_are_explained_in_one_line(override, words):
    with pytest.raises(ValueError, match=words) as error:
        load(RunConfig, TINY, [override])
    assert "\n" not in str(error.value)


def test_config_is_json(tmp_path):
    original = config("video")
    assert (
        parse(
            ModelConfig,
            ModelConfig.model_validate_json(original.model_dump_json()).model_dump(),
            "x",
        )
        == original
    )


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{name}'] * 10)}]\n"
    for name, after in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "text, words",
    [
        ("steps: 1\nout: a\nsteps: 2", "the key 'steps' is given twice, line 3, column 1"),
        ("model: {domain: video, domain: image}", "the key 'domain' is given twice"),
        (BOMB + "steps: *i", "more than 100000 values"),
        ("steps: &a [*a]", "a group holds itself"),
        ("[" * 20000, "64 groups lie inside each other"),
        ("\n".join(" " * i + "a:" for i in range(100)), "64 groups lie inside each other"),
        ("steps: \x01", "character"),
        ("steps: " + "1" * 5000, "4300 digits"),
        ("steps: 2024-13-45", "month must be"),
        ("steps: !!python/object/apply:os.getcwd []", "not determine a constructor"),
        ("- steps", "no mapping"),
        ("steps: é".encode("latin1"), "no text in UTF-8"),
        ("a" * 2**23, "at most 4194304 are read"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_hostile_yaml_is_one_line_at_once(text, words, tmp_path, capsys):
    file = tmp_path / "config.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    began, before = time.process_time(), peak_mib()
    assert main(["train", str(file)]) == 2
    assert time.process_time() - began < 5 and peak_mib() - before < 300
    line = capsys.readouterr().err
    assert words in line and line.count("\n") == 1 and len(line) < 500


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def test_a_large_wrong_value_is_not_repeated():
    """Below the bound on all values, but its text would have megabytes."""
    values = from_yaml("a: &a [" + "x, " * 300 + "]\nsteps: [" + "*a, " * 300 + "]", "test")
    with pytest.raises(ValueError, match="steps: ") as error:
        parse(RunConfig, {"steps": values["steps"]}, "test")
    assert len(str(error.value)) < 2000


def test_anchors_and_merges_are_read(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {<<: *a}\nd: [*a, *a]")
    assert read(file)["b"] == {"x": 1, "y": 3} and read(file)["c"] == read(file)["d"][0]


def test_terminal_escapes_are_not_printed():
    with pytest.raises(ValueError) as error:
        parse(ModelConfig, {"\x1b[31mred\n": 1, "domain": "\x1b[2J"}, "test")
    assert str(error.value).isprintable()


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "", b"\xff", "1" * 5000], ids=lambda t: t[:9])
def test_hostile_json_is_one_line(text):
    with pytest.raises(ValueError, match="test is not valid JSON") as error:
        from_json(text, "test")
    assert "\n" not in str(error.value)


# kinds, and the form that configs had before them ------------------------------------------------

SMALL = {
    "domain": "image",
    "levels": [{"stride": [8, 8], "width": 8, "latent": 4}],
    "stem": {"stride": [4, 4], "width": 8},
}
FORMER = json.loads((Path(__file__).parent / "data" / "former_configs.json").read_text())


def test_a_kind_alone_is_short_for_its_defaults():
    short = SMALL | {"cell": "nvae", "posterior": "joint", "likelihood": "laplace"}
    long = {name: {"kind": short[name]} for name in ("cell", "posterior", "likelihood")}
    assert ModelConfig(**short) == ModelConfig(**SMALL | long)
    assert ModelConfig(**SMALL | {"cell": {"kernel": 5}}).cell == ConvNextCell(kernel=5)
    opened = load(RunConfig, TINY, ["model.cell=convnext", "model.cell.kernel=5"]).model
    assert opened.cell == ConvNextCell(kernel=5)


def test_names_live_in_the_config():
    assert set(BLOCKS) == set(kinds_of(CellConfig).values())
    assert set(POSTERIORS) == set(kinds_of(PosteriorConfig))
    assert set(LIKELIHOODS) == set(kinds_of(LikelihoodConfig))


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"cell": {"kind": "nvae", "kernel": 7}}, "unknown key 'cell.kernel'"),
        ({"cell": "nvae", "kernel": 7, "expand": 9}, "expand is 9, but nothing here reads it"),
        ({"cell": "nvea"}, "cell: 'nvea' is none of convnext, nvae, vdvae, the nearest is 'nvae'"),
        ({"cell": {"kind": ["nvae"]}}, "is none of convnext, nvae"),
        ({"cell": {"kenrel": 7}}, "unknown key 'cell.kenrel', the nearest valid key is 'kernel'"),
        ({"cell": 3}, "cell: give a kind, convnext, nvae, vdvae, or a group"),
        ({"cell": {"kernel": 4}}, "cell.kernel: it must be odd, such as 5"),
        ({"likelihood": {"kind": "mse", "scale": 1}}, "unknown key 'likelihood.scale'"),
        ({"likelihood": "mse", "scale": 1.0}, "scale is 1.0, but nothing here reads it"),
        ({"likelihood": {"kind": "laplace", "scale": 0}}, "likelihood.scale: .*greater than 0"),
        ({"posterior": {"log_noise": 1}}, "posterior.log_noise: .*less than or equal to 0"),
        ({"posterior": "naive"}, "none of residual, precision, joint, bottom_up"),
    ],
)
def test_a_config_says_nothing_that_is_not_read(changes, words):
    with pytest.raises(ValueError, match=words) as error:
        parse(ModelConfig, SMALL | changes, "test")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "book, words",
    [
        ({"kind": "fsq", "size": 64}, "levels.0.codebook.size is 64, but nothing here reads it"),
        ({"kind": "ema", "entropy": 1}, "levels.0.codebook.entropy is 1, but nothing"),
        ({"kind": "lfq", "sise": 64}, "unknown key 'levels.0.codebook.sise'.*'size'"),
    ],
)
def test_a_codebook_says_nothing_that_is_not_read(book, words):
    levels = [SMALL["levels"][0] | {"codebook": book}]
    with pytest.raises(ValueError, match=words):
        parse(ModelConfig, SMALL | {"levels": levels}, "test")
    codes = SMALL | {"levels": [SMALL["levels"][0] | {"codebook": "fsq"}]}
    assert ModelConfig(**codes).levels[0].codebook == FsqCodebook()
    with pytest.raises(ValueError, match="posterior is 'joint', but nothing here reads it"):
        parse(ModelConfig, codes | {"posterior": "joint"}, "test")


@pytest.mark.parametrize("row", FORMER, ids=lambda row: row["name"])
def test_a_former_config_keeps_its_meaning_and_its_fingerprint(row):
    read_now = parse(ModelConfig, row["written"], "test")
    assert digested(read_now).decode() == row["digested"]
    now = read_now.model_dump(mode="json")
    assert parse(ModelConfig, now, "test").model_dump(mode="json") == now
    opened = read_now.model_copy(update={"drop_path": read_now.drop_path})
    assert digested(opened) == digested(read_now)  # where a run changes what it has read


@pytest.mark.parametrize("row", FORMER, ids=lambda row: row["name"])
def test_a_run_of_a_former_version_goes_on(row, tmp_path):
    """Its folder holds every setting in the former form; what it is given says the same today."""
    values = {"out": "x", "data": {"root": "y"}, "model": row["written"]}
    if row["written"]["field"]:
        values["data"]["fields"] = {"resolution": row["written"]["field"]["resolution"]}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    former = load(RunConfig, tmp_path / "config.yaml")
    (tmp_path / "config.yaml").write_text(dump(former))
    assert load(RunConfig, tmp_path / "config.yaml") == former
    assert former.model == parse(ModelConfig, row["written"], "test")


@pytest.mark.parametrize(
    "name, expected", [("video", "7f067f075c71a113"), ("voxel", "ad870e158f8e6fda")]
)
def test_shipped_models_keep_their_fingerprints(name, expected, tmp_path):
    """Data sets record them; the file of `voxel` is of the former form."""
    model = stlatent.load(name)
    assert stlatent.fingerprint(model) == expected
    stlatent.save(model, tmp_path / checkpoint.FILE)
    again = stlatent.load(tmp_path)
    assert again.config == model.config and stlatent.fingerprint(again) == expected


def test_a_former_run_folder_is_read():
    for name in ("video", "voxel"):
        file = shipped_models()[name].with_name("config.yaml")
        assert load(RunConfig, file).model.cell == ConvNextCell()


# what a reference page is made of ----------------------------------------------------------------


def every_class() -> list[type[Strict]]:
    for module in pkgutil.walk_packages(stlatent.__path__, "stlatent."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found, waiting = [], [Strict]
    while waiting:
        found += (below := waiting.pop().__subclasses__())
        waiting += below
    return sorted(
        {cls for cls in found if cls.__module__.startswith("stlatent.")}, key=lambda cls: str(cls)
    )


def test_every_setting_is_described_where_it_stands():
    classes = every_class()
    assert len(classes) > 40
    for cls in classes:
        rows = reference(cls)
        assert [row.name for row in rows] == list(cls.model_fields)
        assert all(row.meaning and row.kind for row in rows), cls
        assert not set(described(cls)) - set(cls.model_fields), f"{cls}: no such settings"


def test_the_reference_says_what_may_be_given():
    rows = {row.name: row for row in reference(ModelConfig)}
    assert rows["channels"].kind == "whole number, at least 1, at most 4096"
    assert rows["channels"].default == "3" and rows["domain"].default is None
    assert rows["cell"].kind == "`ConvNextCell` or `NvaeCell` or `VdvaeCell`"
    assert rows["cell"].default == "convnext" and rows["cube"].default == "null"
    assert rows["levels"].kind == "[`Level` …]"
    undescribed = type("Undescribed", (ModelConfig,), {"__annotations__": {"new": int}, "new": 1})
    with pytest.raises(ValueError, match="Undescribed.new is not among the Attributes"):
        reference(undescribed)


@pytest.mark.parametrize(
    "text, words",
    [
        ("[" * 100_000, "not valid JSON"),
        ("[]", "no classes"),
        ('{"a": 0, "b": "dog"}', "no classes"),
    ],
    ids=["deep", "list", "numbers and names"],
)
def test_a_file_of_classes_is_one_line(text, words, tmp_path):
    (tmp_path / "labels.json").write_text(text)
    stages = {"stages": [{"levels": 1}], "condition": {"classes": 3}}
    data = {"root": "x", "labels": str(tmp_path / "labels.json")}
    run = parse(DiffusionRun, {"out": "y", "diffusion": stages, "data": data}, "test")
    with pytest.raises(ValueError, match=words) as error:
        diffusion_data._labels(run, ["a"])
    assert str(error.value).isprintable()


def test_what_a_model_was_trained_on_is_read_like_any_config(tmp_path):
    stlatent.save(ladder("image"), tmp_path / checkpoint.FILE)
    for text, words in [("a: [" + "[" * 9999, "64 groups"), ("data: 3", "trained on None")]:
        (tmp_path / "config.yaml").write_text(text)
        with pytest.raises(ValueError, match=words):
            statistics._trained_on(tmp_path)
