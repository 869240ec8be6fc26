"""A data set of latents, converted and back: what comes back is what was there."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import torch
from domains import SIZES, ladder
from pyarrow import parquet
from test_codec import EXACT, write_video

from stlatent.checkpoint import save
from stlatent.cli import main
from stlatent.export import export
from stlatent.export.convert import convert
from stlatent.export.exchange import HuggingFace, WebDataset
from stlatent.jobs.encode import encode_folder
from stlatent.jobs.options import EncodeOptions
from stlatent.jobs.unit import UnitWriter
from stlatent.jobs.verify import verify_store
from stlatent.media.codes import Code
from stlatent.media.encoder import About
from stlatent.media.registry import medium_of
from stlatent.media.source import PLACED
from stlatent.store.header import Header
from stlatent.store.manifest import MANIFEST, Manifest, write_json
from stlatent.store.place import Place
from stlatent.store.reader import LatentStore
from stlatent.store.records import Statistics
from stlatent.store.summary import merged
from stlatent.store.tensors import read_spans

COLLECTIONS = ("webdataset", "huggingface")
PLACE = {
    "placement": {"scale": 2.0, "offset": [0.5, 0, -1], "axes": ["x", "-z", "y"]},
    "band_voxels": 3.0,
    "route": {"source": "mesh", "turned": 3},
}


def stored(domain: str, dtype: str, folder: Path) -> LatentStore:
    """Random latents of three items, two of them of one source, one with a caption, as a job would
    write them."""
    from stlatent.media.sample import Shape

    model, place = ladder(domain), Place(folder)
    header = Header.of(model, "tiny", None, [dtype])
    kind = next(iter(medium_of(model).kinds.values()))
    shape = Shape.model_validate_json(json.dumps(PLACE)) if kind in PLACED else None
    draws = torch.Generator().manual_seed(3)
    with UnitWriter(place, header, 0, captions={"b/“two”": "a\nwave"}) as unit:
        for name, source, start in (("a", "a", 0), ("b/0", "b/“two”", 0), ("b/9", "b/“two”", 9)):
            item = unit.item(About(name, source, start, kind, 25.0 if start else None, shape))
            shapes = model.latent_shape(SIZES[domain])
            z = [torch.randn(one, generator=draws) ** 3 for one in shapes]
            item.append([Code(level, torch.tensor(10.0 * k)) for k, level in enumerate(z)])
            item.end(SIZES[domain])
        total = merged([unit.commit(["a", "b/“two”"])], header)
    figures = tuple(map(Statistics.of, total.moments))
    manifest = Manifest(**header.model_dump(), items=3, failed=0, units=1, statistics=figures)
    write_json(place, MANIFEST, manifest)
    return LatentStore(folder)


def tensors(store: LatentStore) -> Iterator[tuple[str, str, bytes]]:
    """Every tensor on disk: its level, its name, its bytes."""
    for unit in {store.unit(name) for name in store}:
        for level, _, file in store.header.files(unit):
            for name, span in read_spans(store.place, file).items():
                yield f"{level}", name, store.place.read(file, span.start, span.stop)


def same(found: LatentStore, wanted: LatentStore) -> None:
    """But for how it was cut into units, and rounding of statistics in float64."""
    mine, theirs = (s.header.model_dump(include={*Header.model_fields}) for s in (found, wanted))
    assert mine == theirs and found.items == wanted.items
    for mine, theirs in zip(found.manifest.statistics, wanted.manifest.statistics, strict=True):
        assert mine.count == theirs.count
        np.testing.assert_allclose(mine.mean, theirs.mean, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(mine.std, theirs.std, rtol=1e-12)
    assert not verify_store(found.place.url)[2]


@pytest.mark.parametrize("layout", COLLECTIONS)
@pytest.mark.parametrize("domain", SIZES)
def test_there_and_back_is_the_same_in_every_domain(tmp_path, domain, layout):
    if layout == "huggingface":
        pytest.importorskip("pyarrow")
    wanted = stored(domain, "float16", tmp_path / "z")
    assert convert(tmp_path / "z", tmp_path / "there", layout) == 3
    assert convert(tmp_path / "there", tmp_path / "back", "latents") == 3
    found = LatentStore(tmp_path / "back")
    same(found, wanted)
    assert sorted(tensors(found)) == sorted(tensors(wanted))
    assert {path.name for path in (tmp_path / "back").iterdir()} == {
        MANIFEST, "units", "level_0", "level_1", "level_2",
    }  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_byte_of_floats_comes_back(tmp_path, dtype):
    wanted = stored("video", dtype, tmp_path / "z")
    convert(tmp_path / "z", tmp_path / "there", "webdataset")
    convert(tmp_path / "there", tmp_path / "back", "latents")
    assert sorted(tensors(LatentStore(tmp_path / "back"))) == sorted(tensors(wanted))


def test_int8_has_the_same_whole_numbers_and_scales_to_the_last_place(tmp_path):
    wanted = stored("video", "int8", tmp_path / "z")
    convert(tmp_path / "z", tmp_path / "there", "webdataset")
    convert(tmp_path / "there", tmp_path / "back", "latents")
    pairs = zip(sorted(tensors(LatentStore(tmp_path / "back"))), sorted(tensors(wanted)))
    for (*found, mine), (*said, theirs) in pairs:
        assert found == said
        if not found[1].startswith("/scale/"):
            assert mine == theirs
        else:
            mine, theirs = (np.frombuffer(content, np.int32) for content in (mine, theirs))
            assert abs(mine - theirs).max() <= 1


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """Clips with captions, their latents from files, and what an autoencoder's trainers take."""
    work = tmp_path_factory.mktemp("work")
    for name, size in {"a.mp4": (9, 32, 48), "sub/b.mp4": (17, 32, 32)}.items():
        write_video(work / "in" / name, size)
        (work / "in" / name).with_suffix(".txt").write_text(f"of {name}", encoding="utf-8")
    (work / "in" / "broken.mp4").write_bytes(b"none")
    model = ladder("video")
    save(model, work / "model.safetensors")
    encode_folder(model, work / "in", work / "z", str(work / "model.safetensors"), EXACT)
    export(model, work / "vae", levels=3, data=[torch.rand(1, 3, 9, 32, 32) * 2 - 1])
    return work


def test_files_come_back_with_captions_in_many_units_and_decode(work, tmp_path, monkeypatch):
    monkeypatch.setattr("stlatent.export.restore.UNIT_ITEMS", 1)
    monkeypatch.setattr("stlatent.export.exchange.SHARD_BYTES", 1)
    words = ["convert", f"{work / 'z'}", "--to", "webdataset", "--out", f"{tmp_path / 'wds'}"]
    assert main(words) == 0
    words = ["convert", f"{tmp_path / 'wds'}", "--to", "latents", "--out", f"{tmp_path / 'new'}"]
    assert main(words) == 0
    found, wanted = LatentStore(tmp_path / "new"), LatentStore(work / "z")
    same(found, wanted)
    assert found.manifest.units == 2 and found.manifest.failed == 0
    assert {item.caption for item in found.items.values()} == {"of a.mp4", "of sub/b.mp4"}
    assert main(["decode", f"{tmp_path / 'new'}", "--out", f"{tmp_path / 'out'}"]) == 0
    assert len([*(tmp_path / "out").rglob("*.mp4")]) == 2


def refused(folder: Path, out: Path, capsys) -> str:
    capsys.readouterr()  # what was said while it was made
    assert main(["convert", f"{folder}", "--to", "latents", "--out", f"{out}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert not out.exists()
    return line


@pytest.mark.parametrize("layout", ["ltx2", "finetrainers", "musubi"])
def test_caches_of_trainers_say_what_they_have_lost(work, tmp_path, capsys, layout):
    convert(work / "z", tmp_path / "cache", layout, work / "vae")
    said = refused(tmp_path / "cache", tmp_path / "new", capsys)
    assert layout in said and "sizes of items in pixels" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"std": True, "dtype": ("float32",)}, "the means alone"),
        ({"entropy_code": True}, "no bits"),
        ({"codes": True}, "no indices"),
    ],
)
def test_what_a_collection_does_not_hold_is_said(work, tmp_path, capsys, options, said):
    model = ladder("video")
    if options.pop("codes", False):
        from stlatent.model.kinds import EmaCodebook

        levels = [
            level.model_copy(update={"groups": 1, "codebook": EmaCodebook(size=16)})
            for level in model.config.levels
        ]
        model = ladder("video", levels=tuple(levels))
    save(model, tmp_path / "model.safetensors")
    how = EncodeOptions(precision="fp32", **options)
    encode_folder(model, work / "in", tmp_path / "z", str(tmp_path / "model.safetensors"), how)
    convert(tmp_path / "z", tmp_path / "wds", "webdataset")
    assert said in refused(tmp_path / "wds", tmp_path / "new", capsys)


def shard(folder: Path, change) -> Path:
    """The shard of a collection, with its files `{name: content}` changed."""
    (path,) = folder.glob("*.tar")
    with tarfile.open(path) as file:
        files = {member.name: file.extractfile(member).read() for member in file}
    with tarfile.open(path, "w") as file:
        for name, content in change(files).items():
            (folder / "part").write_bytes(content)
            file.add(folder / "part", name)
    (folder / "part").unlink()
    return folder


FIRST = "00000000.level_0.npy"
HUGE = FIRST, lambda npy: npy.replace(b"(4, ", b"(9999999999, ")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: {n: c for n, c in f.items() if n != FIRST}, f"has no {FIRST}"),
        (lambda f: f | {FIRST: f[FIRST][:-2]}, "cannot be read|are no latents"),
        (lambda f: f | {FIRST: f["00000001.level_0.npy"]}, "latents of a.mp4 are"),
        (lambda f: f | {FIRST: b"\x93NUMPY\x01\x00" + 9 * b"("}, "cannot be read"),
        (lambda f: f | {"00000000.json": b"{}"}, "00000000.json"),
        (lambda f: dict([*f.items()][:5]), "holds 1 items, but was made of 2"),
    ],
)
def test_broken_collections_are_one_line(work, tmp_path, capsys, change, said):
    import re

    convert(work / "z", tmp_path / "wds", "webdataset")
    line = refused(shard(tmp_path / "wds", change), tmp_path / "new", capsys)
    assert re.search(said, line)


def test_a_shard_that_claims_more_than_it_holds_is_not_read(tmp_path):
    """A sparse member of a tar stands for as many zeros as it says."""
    member = tarfile.TarInfo(FIRST)
    member.size, member.type = 512, tarfile.GNUTYPE_SPARSE
    head = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    head[386:410] = tarfile.itn(0, 12) + tarfile.itn(512, 12)
    head[483:495] = tarfile.itn(2**45, 12, tarfile.GNU_FORMAT)
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    (tmp_path / "00000.tar").write_bytes(bytes(head) + bytes(512 + 1024))
    with tarfile.open(tmp_path / "00000.tar") as shard:
        assert shard.getmembers()[0].size == 2**45
    with pytest.raises(ValueError, match="has no"):
        list(WebDataset.read(tmp_path / "00000.tar", 1))


@pytest.mark.parametrize("strange", [{"item": [None]}, {"level_0": [1]}, {"level_0_shape": [None]}])
def test_a_table_of_other_things_is_refused(tmp_path, strange):
    table = {"item": ["{}"], "level_0": [[1.0]], "level_0_shape": [[1]]} | strange
    parquet.write_table(pyarrow.table(table), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="columns of another kind"):
        list(HuggingFace.read(tmp_path / "a.parquet", 1))


def test_other_folders_are_refused(work, tmp_path, capsys):
    assert "has no stlatent.json" in refused(work / "in", tmp_path / "new", capsys)
    assert "has no stlatent.json" in refused(work / "z", tmp_path / "new", capsys)
