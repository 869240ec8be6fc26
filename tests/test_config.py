"""Configs: what is read, what is refused, and how it is said."""

import resource
import time
from pathlib import Path

import pytest
from domains import config

from stlatent import ModelConfig
from stlatent.cli import main
from stlatent.model.config import dump, load, parse, read
from stlatent.model.documents import from_json, from_yaml
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
    "override, words",
    [
        ("model.levles=1", "unknown key 'model.levles', the nearest valid key is 'levels'"),
        ("model.levels.1.widht=3", "unknown key 'model.levels.1.widht'.*'width'"),
        ("model.levels.7.width=3", "'7' is not an index from 0 to 2"),
        ("steps=lots", "steps: input should be a valid integer.*'lots'"),
        ("steps", "not of the form key=value"),
        ("model.domain=film", "'image', 'video', .* or 'triplane'.*'film'"),
        ("model.kernel=4", "must be odd, such as 5"),
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
    began, before = time.monotonic(), peak_mib()
    assert main(["train", str(file)]) == 2
    assert time.monotonic() - began < 5 and peak_mib() - before < 300
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
