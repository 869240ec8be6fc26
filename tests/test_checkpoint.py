"""Model files: what is read, what is refused, and that the refusal is cheap."""

from __future__ import annotations

import copy
import json
import resource
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from domains import SIZES, batch, config, ladder
from exported import autoencoder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import stlatent
from stlatent import Ladder, checkpoint
from stlatent.cli import main
from stlatent.model.config import DecoderConfig
from stlatent.train import state
from stlatent.triplane.fields import FieldDecoder

FILE = checkpoint.FILE


@pytest.fixture(scope="module")
def model() -> Ladder:
    """A hundred tensors, of eighty kilobytes."""
    return ladder("image")


@pytest.fixture(scope="module")
def whole(model: Ladder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("model") / FILE
    stlatent.save(model, file, {"step": 1})
    return file


def metadata_of(file: Path) -> dict[str, str]:
    with safe_open(file, framework="pt") as opened:
        return opened.metadata()


@pytest.mark.parametrize("given", [3, None, {}])
def test_what_names_no_model_is_refused_in_one_line(given):
    with pytest.raises(ValueError, match=f"^{type(given).__name__} names no model; give a shipped"):
        stlatent.load(given)


def refusal(file: Path) -> str:
    """The one line with which a file is refused, within bounds of time and memory."""
    began, before = time.process_time(), peak_mib()
    with pytest.raises(ValueError) as error:
        stlatent.load(file)
    assert time.process_time() - began < 3 and peak_mib() - before < 200
    line = str(error.value)
    assert line.isprintable() and len(line) < 4000 and type(error.value) is ValueError
    return line


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def forged(folder: Path, config: Any, **metadata: str) -> Path:
    """A kilobyte that says it is a model of this config."""
    text = config if isinstance(config, str) else json.dumps(config)
    about = {"format": checkpoint.FORMAT, "config": text} | metadata
    save_file({"top": torch.zeros(8)}, folder / FILE, about)
    return folder / FILE


LEVEL = {"stride": [8, 8], "width": 8, "latent": 4}
SMALL = {"domain": "image", "levels": [LEVEL], "stem": {"stride": [4, 4], "width": 8}}
PLANES = {
    "domain": "triplane",
    "channels": 8,
    "likelihood": "sdf",
    "levels": [LEVEL | {"stride": [1, 8, 8]}],
    "stem": {"stride": [1, 4, 4], "width": 8},
}
GREEDY = {
    "width": SMALL | {"levels": [LEVEL | {"width": 30_000}]},
    "blocks": SMALL | {"levels": [LEVEL | {"blocks": 10_000_000}]},
    "groups": SMALL | {"levels": [LEVEL | {"groups": 2**31 - 1}]},
    "levels": SMALL | {"levels": [LEVEL] * 2_000},
    "latent": SMALL | {"levels": [LEVEL | {"latent": 10**9}]},
    "stem": SMALL | {"stem": {"stride": [4, 4], "width": 8, "blocks": 10**9}},
    "stride": SMALL | {"levels": [LEVEL | {"stride": [2**30, 2**30]}]},
    "most": SMALL | {"levels": [LEVEL | {"stride": [1024, 1024]}] * 50},
    "channels": SMALL | {"channels": 10**9},
    "pairs": SMALL | {"channels": 4096, "likelihood": "logistic_mixture"},
    "kernel": SMALL | {"kernel": 10**9 + 1},
    "expand": SMALL | {"expand": 10**9},
    "integer": SMALL | {"channels": 10**300},
    "codes": SMALL | {"levels": [LEVEL | {"codebook": {"kind": "ema", "size": 65536}}]},
    "grid": SMALL | {"levels": [LEVEL | {"codebook": {"kind": "fsq", "steps": [2**20] * 60}}]},
    "volume": PLANES | {"field": {"resolution": 10**9}},
    "hidden": PLANES | {"field": {"hidden": 10**6}},
    "layers": PLANES | {"field": {"layers": 10**8}},
    "lift": PLANES | {"field": {"lift": {"stride": [1, 1, 1], "width": 10**6}}},
}


@pytest.mark.parametrize("name", GREEDY)
def test_a_kilobyte_that_asks_for_much_is_refused_at_once(name, tmp_path):
    file = forged(tmp_path, GREEDY[name])
    assert str(file) in refusal(file)


@pytest.mark.parametrize(
    "config, words",
    [
        ("[" * 100_000, "not valid JSON: recursion limit"),
        ('{"domain": "image", "stem": ' + "[" * 150 + "]" * 150 + "}", "levels: field required"),
        ("", "not valid JSON"),
        ("[]", "valid dictionary"),
        ({"domain": "image"}, "levels: field required"),
        (SMALL | {"widht": 3}, "unknown key 'widht'"),
        (json.dumps(SMALL | {"log_noise": 0.0}).replace("0.0", "NaN"), "log_noise"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_a_config_that_is_none_is_refused(config, words, tmp_path):
    assert words in refusal(forged(tmp_path, config))


def test_metadata_are_of_one_form(whole, tmp_path):
    tensors, about = load_file(whole), metadata_of(whole)
    file = tmp_path / FILE
    for changed, words in [
        (None, "no stlatent model (format None"),
        ({}, "no stlatent model (format None"),
        (about | {"format": "x" * 9999}, "no stlatent model"),
        ({k: v for k, v in about.items() if k != "config"}, "config: field required"),
        (about | {"more": "x"}, "unknown key 'more'"),
    ]:
        save_file(tensors, file, changed)
        assert words in refusal(file)
    save_file(tensors, file, about | {"about": "[" * 100_000})
    with pytest.raises(ValueError, match="not valid JSON"):
        checkpoint.about(file)
    file.write_bytes(whole.read_bytes()[:-100])
    assert "cannot be read as safetensors" in refusal(file)


def test_a_tensor_that_does_not_fit_is_named(whole, tmp_path):
    tensors, about = load_file(whole), metadata_of(whole)
    name, file = "up.1.conv.weight", tmp_path / FILE
    shape = list(tensors[name].shape)
    for changed, words in [
        ({k: v for k, v in tensors.items() if k != name}, f"has no tensor '{name}'"),
        (tensors | {"up.9.weight": torch.zeros(1)}, "tensor 'up.9.weight' that its config"),
        (tensors | {name: tensors[name][:-1].clone()}, f"'{name}' is numbers [{shape[0] - 1}, "),
        (tensors | {name: tensors[name].long()}, f"asks for numbers {shape}"),
        (tensors | {name: tensors[name].to(torch.complex64)}, f"'{name}' is complex64"),
    ]:
        save_file(changed, file, about)
        assert words in refusal(file)


@pytest.mark.parametrize("device", ["meta", "nonsense", "cuda:99", "cpu:99x", "xla"])
def test_a_device_that_keeps_no_values_is_one_line(device, whole, capsys, tmp_path):
    with pytest.raises(ValueError, match=f"device '{device}' cannot be used") as error:
        stlatent.load(whole, device)
    assert "\n" not in str(error.value)
    command = ["sample", str(whole), "--size", "16", "--device", device, "--out", str(tmp_path)]
    assert main(command) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_state_of_a_run_is_of_that_run(tmp_path):
    model, other, file = ladder("image"), ladder("voxel"), tmp_path / "state.safetensors"
    parts = {"model": model}, {"adam": torch.optim.AdamW(model.parameters())}
    state.save(file, *parts, {"step": 3})
    assert state.load(file, *parts) == {"step": 3}
    about, tensors = metadata_of(file), load_file(file)
    top, moment = tensors["model/top"], {"adam/0/exp_avg": torch.zeros(7)}
    for metadata, changed, words in [
        (about | {"groups": "[" * 100_000}, {}, "not valid JSON"),
        (about | {"groups": "{}"}, {}, "no settings of the adam"),
        (about | {"groups": '{"adam": [{"params": [[]]}]}'}, {}, "no settings of the adam"),
        (about | {"values": "[]"}, {}, "no groups or values"),
        ({"format": state.FORMAT}, {}, "values: field required"),
        ({}, {}, "no stlatent state of a run"),
        (about, {"model/top": top[:-1].clone()}, "tensor 'top' is numbers"),
        (about, moment, r"tensor '0/exp_avg' \[7\] that is not of this run"),
        (about, {"adam/x": top.clone()}, "tensor 'x'"),
        (about, {"adam/999999/step": torch.zeros(())}, "tensor '999999/step'"),
    ]:
        save_file(tensors | changed, file, metadata)
        with pytest.raises(ValueError, match=words) as error:
            state.load(file, *parts)
        assert str(error.value).isprintable()
    state.save(file, *parts, {})
    with pytest.raises(ValueError, match="has no tensor|tensor '.*' is numbers"):
        state.load(file, {"model": other}, {})


def test_a_decoder_of_planes_is_read_like_a_model(tmp_path):
    file = tmp_path / "decoder.safetensors"
    checkpoint.save_decoder(FieldDecoder(8, DecoderConfig(hidden=8)), file)
    assert checkpoint.load_decoder(file).config.hidden == 8
    tensors, about = load_file(file), metadata_of(file)
    for changed, words in [
        (about | {"planes": "1000000000"}, "planes: .*4096"),
        (about | {"config": json.dumps({"hidden": 10**6})}, "far more than its tensors hold"),
        (about | {"config": json.dumps({"hidden": 9})}, "tensor '.*' is numbers"),
    ]:
        save_file(tensors, file, changed)
        with pytest.raises(ValueError, match=words):
            checkpoint.load_decoder(file)


# any part of the metadata, changed ----------------------------------------------------------------

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, 1, -1, 30_000, 10**9, 2**31, 1e300, -1e-300, float("inf"), float("nan")]),
    st.text(max_size=20),
    st.lists(st.integers(0, 2**40), max_size=5),
    st.dictionaries(st.text(max_size=8), st.integers(), max_size=3),
    st.integers(1, 2000).map(lambda n: [dict(LEVEL, stride=[8, 8]) for _ in range(n)]),
)


def places(node: Any) -> list[tuple[Any, Any]]:
    """Every group of a JSON value with every key of it."""
    pairs = node.items() if isinstance(node, dict) else enumerate(node)
    found = [(node, key) for key, _ in pairs]
    for group, key in list(found):
        if isinstance(group[key], dict | list):
            found += places(group[key])
    return found


@given(data=st.data())
@settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_a_mutated_config_is_refused_in_one_line_or_loads_whole(data, whole, model, tmp_path):
    about = metadata_of(whole)
    values = {"config": json.loads(about["config"]) | {"field": None}}
    for _ in range(data.draw(st.integers(1, 3))):
        group, key = data.draw(st.sampled_from(places(values)), label="place")
        if data.draw(st.booleans()) and isinstance(group, dict) and group is not values:
            del group[key]
        else:
            group[key] = copy.deepcopy(data.draw(VALUES))
    text = json.dumps(values["config"])
    if data.draw(st.integers(0, 3)) == 0:
        cut = data.draw(st.integers(0, len(text)))
        text = text[:cut] + data.draw(st.text(max_size=5)) + text[cut + 1 :]
    save_file(load_file(whole), tmp_path / FILE, about | {"config": text})
    began, before = time.process_time(), peak_mib()
    try:
        loaded = stlatent.load(tmp_path / FILE)
    except ValueError as error:
        assert type(error) is ValueError
        assert str(error).isprintable() and len(str(error)) < 4000
    else:
        assert loaded.state_dict().keys() == model.state_dict().keys()
    assert time.process_time() - began < 5 and peak_mib() - before < 300


# what diffusers keeps -----------------------------------------------------------------------------


@pytest.mark.parametrize("domain", SIZES)
def test_an_exported_folder_is_a_model(domain, tmp_path):
    original, x = ladder(domain), batch(domain)
    for levels in (1, len(original.levels)):
        out = tmp_path / str(levels)
        autoencoder(original, levels, x).save_pretrained(out)
        for reference in (out, out / checkpoint.EXPORTED):
            loaded = stlatent.load(reference)
            assert stlatent.fingerprint(loaded) == stlatent.fingerprint(original)
            latents = loaded.encode(x)
            for found, expected in zip(latents.levels, original.encode(x).levels, strict=True):
                assert torch.equal(found, expected)
            assert torch.equal(loaded.decode(latents), original.decode(latents))
    assert checkpoint.about(out) == {}


def test_half_precision_of_an_export(tmp_path):
    original, x = ladder("image"), batch("image")
    autoencoder(original, 2, x).half().save_pretrained(tmp_path / "half")
    loaded = stlatent.load(tmp_path / "half")
    expected = original(x).x
    difference = (loaded.decode(loaded.encode(x)) - expected).abs().max()
    assert difference < 0.02 * expected.abs().max()
    assert all(p.dtype == torch.float32 for p in loaded.parameters())


def test_an_export_that_is_none_is_refused(tmp_path):
    autoencoder(ladder("image"), 2, batch("image")).save_pretrained(tmp_path)
    text = (tmp_path / "config.json").read_text()
    for written, words in [
        ("[" * 100_000, "not valid JSON"),
        ("{}", "no config of a ladder"),
        (json.dumps(json.loads(text) | {"model": config("video").model_dump(mode="json")}), "'"),
    ]:
        (tmp_path / "config.json").write_text(written)
        assert words in refusal(tmp_path / checkpoint.EXPORTED)
    (tmp_path / "config.json").unlink()
    assert "no config of a ladder" in refusal(tmp_path / checkpoint.EXPORTED)
