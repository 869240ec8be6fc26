"""Latents for others: as their own readers, or the layouts that they document, want them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from domains import ladder
from PIL import Image
from safetensors import safe_open
from test_codec import EXACT, moving_pattern, pixels, write_video

from stlatent.checkpoint import save
from stlatent.cli import main
from stlatent.cli.decoding import LAYOUTS as NAMED
from stlatent.export import AutoencoderLadder, export
from stlatent.export.convert import LAYOUTS, convert
from stlatent.jobs.encode import encode_folder
from stlatent.media.video.pixels import to_float
from stlatent.model.fingerprint import fingerprint
from stlatent.store.reader import LatentStore

CLIPS = {"a.mp4": (9, 32, 48), "sub/b.mp4": (17, 32, 32)}
SAID = {"a.mp4": "a wave", "sub/b.mp4": "“two”\nwaves"}


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """Clips, a picture of the same stem as one of them, their latents and an exported model."""
    work = tmp_path_factory.mktemp("work")
    for name, size in CLIPS.items():
        write_video(work / "in" / name, size)
        (work / "in" / name).with_suffix(".txt").write_text(SAID[name], encoding="utf-8")
    Image.fromarray(moving_pattern(1, 32, 32)[0]).save(work / "in" / "sub" / "c.png")
    model = ladder("video")
    save(model, work / "model.safetensors")
    encode_folder(model, work / "in", work / "z", str(work / "model.safetensors"), EXACT)
    export(model, work / "vae", levels=2, data=[to_float(pixels(work / "in" / "a.mp4"))[None]])
    return work


@pytest.fixture(scope="module")
def packed(work) -> dict[str, torch.Tensor]:
    """What the exported autoencoder makes of the files, `[C, T, H, W]`."""
    vae = AutoencoderLadder.from_pretrained(work / "vae")
    files = {name: work / "in" / name for name in (*CLIPS, "sub/c.png")}
    x = {name: to_float(pixels(path))[None] for name, path in files.items()}
    with torch.inference_mode():
        return {name: vae.encode(one).latent_dist.mode()[0] for name, one in x.items()}


def alike(found: torch.Tensor, wanted: torch.Tensor) -> bool:
    return found.shape == wanted.shape and torch.allclose(found, wanted, atol=1e-4)


def loaded(path: Path) -> dict:
    """As trainers do: tensors and numbers alone."""
    return torch.load(path, weights_only=True)


def test_all_layouts_are_verbs_words():
    assert (*LAYOUTS,) == NAMED


def test_an_exported_ladder_has_the_fingerprint_of_its_model(work):
    vae = AutoencoderLadder.from_pretrained(work / "vae")
    assert fingerprint(vae.ladder) == fingerprint(ladder("video"))


def test_ltx2_finds_latents_and_conditions_by_one_name(work, packed, tmp_path, capsys):
    words = ["convert", f"{work / 'z'}", "--to", "ltx2", "--vae", f"{work / 'vae'}"]
    assert main([*words, "--out", f"{tmp_path / 'ltx'}"]) == 0
    assert "3 items for ltx2" in capsys.readouterr().out
    root = tmp_path / "ltx" / ".precomputed" / "latents"
    said = json.loads((tmp_path / "ltx" / "dataset.json").read_text())
    assert {row["media_path"]: row["caption"] for row in said} == SAID | {"sub/c.png": ""}
    assert len([*root.rglob("*.pt")]) == 3
    for row in said:
        values = loaded((root / row["media_path"]).with_suffix(".pt"))
        assert alike(values["latents"], packed[row["media_path"]])
        sizes = [values[name] for name in ("num_frames", "height", "width")]
        assert sizes == [*values["latents"].shape[1:]] and values["fps"] in (24, 25)


def test_finetrainers_counts_items_in_the_order_of_captions(work, packed, tmp_path):
    assert convert(work / "z", tmp_path / "ft", "finetrainers", work / "vae") == 3
    lines = (tmp_path / "ft" / "metadata.jsonl").read_text().splitlines()
    for k, row in enumerate(map(json.loads, lines)):
        values = loaded(tmp_path / "ft" / f"latent-0-{k}.pt")
        assert alike(values["latents"][0], packed[row["file_name"]])
        mean, std = values["latents_mean"], values["latents_std"]
        assert len(mean) == len(std) == values["latents"].shape[1]
        assert not mean.any() and (std == 1).all()
    assert len([*(tmp_path / "ft").glob("latent-0-*.pt")]) == 3


def test_musubi_finds_sizes_and_frames_in_names(work, packed, tmp_path):
    """In every name: its data sets of videos end at one without frames."""
    convert(work / "z", tmp_path / "mt", "musubi", work / "vae")
    found = {path.name: path for path in (tmp_path / "mt").glob("*_wan.safetensors")}
    names = {
        "a.mp4": "a_00000-009_0048x0032_wan.safetensors",
        "sub/b.mp4": "sub__b_00000-017_0032x0032_wan.safetensors",
        "sub/c.png": "sub__c_00000-001_0032x0032_wan.safetensors",
    }
    assert {*found} == {*names.values()}
    for source, name in names.items():
        z = packed[source]
        shape = "x".join(map(str, z.shape[1:]))
        with safe_open(found[name], "pt") as file:
            assert [*file.keys()] == [f"latents_{shape}_float32"]
            assert alike(file.get_tensor(f"latents_{shape}_float32"), z)
            about = file.metadata()
        assert about["architecture"] == "wan" and about["frame_count"] in ("1", "9", "17")


def test_musubi_has_a_file_and_a_caption_for_every_item(work, tmp_path):
    """Also of names that are one when folders are left out, or frames are put behind them."""
    videos = ["a/b.mp4", "a__b.mp4", "a/_b.mp4", "a_/b.mp4", "c.mp4"]
    for k, name in enumerate(videos):
        write_video(tmp_path / "in" / name, (5, 32, 32))
        (tmp_path / "in" / name).with_suffix(".txt").write_text(f"number {k}")
    Image.fromarray(moving_pattern(1, 32, 32)[0]).save(tmp_path / "in" / "c_00000-005.png")
    model = str(work / "model.safetensors")
    encode_folder(ladder("video"), tmp_path / "in", tmp_path / "z", model, EXACT)
    assert convert(tmp_path / "z", tmp_path / "mt", "musubi", work / "vae") == 6
    found = {path.name for path in (tmp_path / "mt").glob("*_wan.safetensors")}
    lines = (tmp_path / "mt" / "metadata.jsonl").read_text().splitlines()
    said = {row["video_path"]: row["caption"] for row in map(json.loads, lines)}
    assert len(found) == 6 and sorted(said.values()) == ["", *(f"number {k}" for k in range(5))]
    for name in said:  # as musubi-tuner pairs latents with the embeddings of captions
        stem = Path(name).stem
        assert stem != name and found & {
            f"{stem}_00000-001_0032x0032_wan.safetensors",
            f"{stem}_00000-005_0032x0032_wan.safetensors",
        }


@pytest.mark.parametrize("dtype", ["float16", "float32", "bfloat16"])
def test_webdataset_reads_all_levels(work, tmp_path, dtype, monkeypatch):
    webdataset = pytest.importorskip("webdataset")
    monkeypatch.setattr("stlatent.export.exchange.SHARD_BYTES", 1)
    options = EXACT.model_copy(update={"dtype": (dtype,)})
    encode_folder(ladder("video"), work / "in", tmp_path / "z", "tiny", options)
    convert(tmp_path / "z", tmp_path / "wds", "webdataset")
    shards = sorted(map(str, (tmp_path / "wds").glob("*.tar")))
    assert len(shards) == 3
    store = LatentStore(tmp_path / "z")
    samples = [*webdataset.WebDataset(shards, shardshuffle=False).decode()]
    assert [sample["json"]["name"] for sample in samples] == [*store.items]
    for sample in samples:
        item = store.items[sample["json"]["name"]]
        assert sample.get("txt") == item.caption
        for k, z in enumerate(store.read(item.name).levels):
            assert np.array_equal(sample[f"level_{k}.npy"], z[0].numpy())


def test_huggingface_reads_all_levels(work, tmp_path):
    datasets = pytest.importorskip("datasets")
    convert(work / "z", tmp_path / "hf", "huggingface")
    found = datasets.load_dataset(
        str(tmp_path / "hf"), split="train", cache_dir=str(tmp_path / "c")
    )
    store = LatentStore(work / "z")
    assert found["name"][:] == [*store.items]
    for row in found.with_format("numpy"):
        item = store.items[str(row["name"])]
        assert (row["caption"] or None) == item.caption
        for k, z in enumerate(store.read(item.name).levels):
            values = row[f"level_{k}"].reshape(row[f"level_{k}_shape"])
            assert np.array_equal(values, z[0].numpy())
    about = json.loads((tmp_path / "hf" / "stlatent.json").read_text())
    assert about["fingerprint"] == store.manifest.fingerprint


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["z", "--to", "ltx2"], "packed: `stlatent export"),
        (["z", "--to", "webdataset", "--vae", "vae"], "leave out --vae"),
        (["in", "--to", "webdataset"], "is no data set of latents"),
        (["z", "--to", "musubi", "--vae", "other"], "fingerprint"),
        (["z", "--to", "musubi", "--vae", "in"], "config.json"),
    ],
)
def test_wrong_conversions_are_one_line(work, tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(work)
    if "other" in words and not (work / "other").exists():
        other = ladder("video-joint")
        export(other, work / "other", data=[to_float(pixels(work / "in" / "a.mp4"))[None]])
    assert main(["convert", *words, "--out", f"{tmp_path / 'new'}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line and not (tmp_path / "new").exists()


def test_nothing_is_written_over(work, tmp_path):
    (tmp_path / "mine.txt").write_text("years of work")
    with pytest.raises(ValueError, match="holds other things"):
        convert(work / "z", tmp_path, "webdataset")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
