"""What is encoded, whatever it lies in: folders with captions, lists, shards, tables; and how large
frames become."""

from __future__ import annotations

import gzip
import io
import json
import logging
import math
import tarfile
from pathlib import Path

import fsspec
import pytest
import torch
from domains import ladder
from PIL import Image
from test_codec import EXACT, moving_pattern, write_video
from torch.utils.data import DataLoader

from stlatent import Ladder
from stlatent.jobs.encode import encode_folder
from stlatent.jobs.find import find_inputs
from stlatent.media.registry import medium_of
from stlatent.media.video.framing import bucket, framing
from stlatent.store.dataset import LatentDataset
from stlatent.store.reader import LatentStore
from stlatent.store.shuffle import LatentStream
from stlatent.store.windows import collate

SAID = {"a.mp4": "a wave", "b.mp4": "two waves, “crossing”", "sub/c.png": "a still"}


@pytest.fixture(scope="module")
def model() -> Ladder:
    return ladder("video")


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("plain")
    write_video(root / "a.mp4", (9, 32, 48))
    write_video(root / "b.mp4", (17, 40, 32))
    (root / "sub").mkdir()
    Image.fromarray(moving_pattern(1, 33, 21)[0]).save(root / "sub" / "c.png")
    return root


@pytest.fixture(scope="module")
def expected(model, plain, tmp_path_factory) -> dict[str, list[torch.Tensor]]:
    """Latents of the plain files, by their names."""
    out = tmp_path_factory.mktemp("expected") / "z"
    encode_folder(model, plain, out, "tiny", EXACT)
    return levels(out)


def levels(out: Path) -> dict[str, list[torch.Tensor]]:
    store = LatentStore(out)
    return {name: [*store.read(name).levels] for name in store}


def captions_of(out: Path) -> dict[str, str | None]:
    return {item.source: item.caption for item in LatentStore(out).items.values()}


def alike(found: list[torch.Tensor], wanted: list[torch.Tensor]) -> bool:
    """But for what the size of a batch changes."""
    return all(torch.allclose(a, b, atol=1e-4) for a, b in zip(found, wanted, strict=True))


def copied(plain: Path, to: Path) -> Path:
    for name in SAID:
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        (to / name).write_bytes((plain / name).read_bytes())
    return to


# captions ---------------------------------------------------------------------------------------


def test_captions_lie_beside_or_in_tables(model, plain, expected, tmp_path, caplog):
    root = copied(plain, tmp_path / "in")
    (root / "a.txt").write_text("\ufeff a wave\n", encoding="utf-8")
    rows = [{"file_name": "a.mp4", "text": "another"}, {"video": "b.mp4", "prompt": SAID["b.mp4"]}]
    (root / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "sub" / "metadata.csv").write_text("file_name,caption\nc.png,a still\nd.png,none\n")
    (root / "notes.txt").write_text("of nobody")
    out = tmp_path / "z"
    encode_folder(model, root, out, "tiny", EXACT)
    assert captions_of(out) == SAID
    assert all(alike(z, expected[name]) for name, z in levels(out).items())
    assert "types that are not read: notes.txt" in caplog.text
    assert "names 1 files that are not there" in caplog.text and "d.png" in caplog.text
    lines = [json.loads(line) for line in (out / "inputs.jsonl").read_text().splitlines()]
    assert {line["name"]: line["caption"] for line in lines} == SAID
    encode_folder(model, root, out, "tiny", EXACT)  # it is the same job still
    (root / "a.txt").write_text("a hill")
    with pytest.raises(ValueError, match="a.mp4 is described otherwise"):
        encode_folder(model, root, out, "tiny", EXACT)


def test_jobs_from_before_captions_go_on(model, plain, tmp_path):
    root, out = copied(plain, tmp_path / "in"), tmp_path / "z"
    encode_folder(model, root, out, "tiny", EXACT)
    assert '"caption"' not in "".join(p.read_text() for p in out.rglob("*.json*"))
    job = json.loads((out / "job.json").read_text())
    del job["captions"]
    (out / "job.json").write_text(json.dumps(job))
    (root / "a.txt").write_text("a wave")
    encode_folder(model, root, out, "tiny", EXACT)
    assert {*captions_of(out).values()} == {None}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"\xff\xfe", "a.txt is no text in UTF-8"),
        ("a.txt", b"x" * 2**17, "a.txt is no caption: it has 131072 bytes"),
        ("metadata.jsonl", b"{", "metadata.jsonl, line 1, is not valid JSON"),
        ("metadata.jsonl", b"[1]", "line 1, is no"),
        ("metadata.jsonl", b'{"caption": "x"}', "row 1, names no file"),
        ("metadata.csv", b"name\nx\n", "row 1, names no file"),
    ],
)
def test_captions_that_cannot_be_read_are_named(model, plain, tmp_path, name, content, said):
    root = copied(plain, tmp_path)
    (root / name).write_bytes(content)
    with pytest.raises(ValueError, match=said):
        find_inputs(medium_of(model), root)


def test_captions_come_with_windows(model, plain, tmp_path):
    root, out = copied(plain, tmp_path / "in"), tmp_path / "z"
    (root / "a.txt").write_text("a wave")
    encode_folder(model, root, out, "tiny", EXACT)
    data = LatentDataset(out, labels={"a wave": 3, "b.mp4": 1, "sub/c.png": 2})
    found = {window.name: (window.caption, window.label) for window in data}
    assert found == {"a.mp4": ("a wave", 3), "b.mp4": ("", 1), "sub/c.png": ("", 2)}
    batch = next(iter(DataLoader(LatentStream(data, 1, seed=0), batch_size=None)))
    assert batch.caption == [found[batch.name[0]][0]]


# lists, shards, tables --------------------------------------------------------------------------


def shard(plain: Path, path: Path, more: dict[str, bytes] | None = None) -> Path:
    files = {name: (plain / name).read_bytes() for name in SAID}
    files |= {"a.txt": b"a wave", "b.json": json.dumps({"caption": SAID["b.mp4"]}).encode()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as file:
        for name, content in {**files, "sub/c.txt": b"a still", **(more or {})}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return path


def table(plain: Path, path: Path, named: bool) -> Path:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    contents = [(plain / name).read_bytes() for name in ("a.mp4", "b.mp4")]
    cells = [{"bytes": content, "path": "x.mp4"} for content in contents] if named else contents
    columns = {"number": [1, 2], "video": cells, "text": [SAID["a.mp4"], None]}
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(arrow.table(columns), path, row_group_size=1)
    return path


def listed(plain: Path, path: Path, end: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    names = [f"../{plain.name}/{name}" for name in SAID]
    files = [names[0], str(plain / "b.mp4"), (plain / "sub" / "c.png").as_uri()]
    if end == ".txt":
        path.write_text("# some\n" + "\n".join(files) + "\n")
    else:
        rows = [{"path": f, "caption": SAID[n]} for f, n in zip(files, SAID, strict=True)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("end", [".txt", ".jsonl"])
def test_lists_of_paths_and_urls(model, plain, expected, tmp_path, end):
    path = listed(plain, plain.parent / tmp_path.name / f"list{end}", end)
    encode_folder(model, path, tmp_path / "z", "tiny", EXACT)
    found = levels(tmp_path / "z")
    assert len(found) == 3 and not any(".." in name for name in found)
    for name, z in found.items():
        (same,) = [wanted for wanted in expected if name.endswith(f"/{wanted}")]
        assert alike(z, expected[same])
    said = {name.rpartition("/")[2]: text for name, text in captions_of(tmp_path / "z").items()}
    short = {name.rpartition("/")[2]: text for name, text in SAID.items()}
    assert said == (short if end == ".jsonl" else dict.fromkeys(short))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a.mp4\na.mp4\n", "line 2: a.mp4 is named twice"),
        ("gone.mp4\n", "gone.mp4 cannot be read"),
        ("memory://nowhere/a.mp4\n", "memory://nowhere/a.mp4 cannot be read"),
        ("a.xyz\n", "holds no videos and pictures"),
    ],
)
def test_lists_that_cannot_be_read_are_named(model, plain, tmp_path, text, said):
    (copied(plain, tmp_path) / "list.txt").write_text(text)
    with pytest.raises(ValueError, match=said):
        find_inputs(medium_of(model), tmp_path / "list.txt")


def test_shards_hold_what_folders_do(model, plain, expected, tmp_path, caplog):
    path = shard(plain, tmp_path / "in" / "0.tar", {"a.xyz": b"?"})
    encode_folder(model, path, tmp_path / "one", "tiny", EXACT)
    found = levels(tmp_path / "one")
    assert found.keys() == SAID.keys() and all(alike(z, expected[n]) for n, z in found.items())
    assert captions_of(tmp_path / "one") == SAID
    assert "types that are not read: a.xyz" in caplog.text
    shard(plain, tmp_path / "in" / "sub" / "1.tar")
    write_video(tmp_path / "in" / "d.mp4", (5, 32, 32))
    encode_folder(model, tmp_path / "in", tmp_path / "all", "tiny", EXACT)
    both = {f"{tar}/{name}" for tar in ("0.tar", "sub/1.tar") for name in SAID}
    assert levels(tmp_path / "all").keys() == both | {"d.mp4"}
    assert alike(levels(tmp_path / "all")["sub/1.tar/b.mp4"], expected["b.mp4"])


def test_a_shard_that_is_another_one_is_noticed(model, plain, tmp_path):
    path = shard(plain, tmp_path / "0.tar")
    encode_folder(model, path, tmp_path / "z", "tiny", EXACT)
    encode_folder(model, path, tmp_path / "z", "tiny", EXACT)
    shard(plain, path, {"e.txt": b"of nobody"})
    with pytest.raises(ValueError, match="other sources"):
        encode_folder(model, path, tmp_path / "z", "tiny", EXACT)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("0.tar", b"no tar at all" * 99, "cannot be read as a tar file"),
        ("0.parquet", b"no table", "cannot be read as parquet"),
    ],
)
def test_archives_that_are_none_are_named(model, tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=said):
        find_inputs(medium_of(model), tmp_path / name)


@pytest.mark.parametrize("name", ["0.tar.gz", "0.TGZ", "0.tar"])
def test_compressed_archives_say_so(model, plain, tmp_path, caplog, name):
    """By their name, by what a `.tar` begins with, and beside files that are read."""
    (path := tmp_path / name).write_bytes(gzip.compress(shard(plain, tmp_path / "x").read_bytes()))
    with pytest.raises(ValueError, match="is compressed.*unpack it"):
        find_inputs(medium_of(model), path)
    if name != "0.tar":
        (tmp_path / "a.mp4").write_bytes((plain / "a.mp4").read_bytes())
        assert [one.name for one in find_inputs(medium_of(model), tmp_path)] == ["a.mp4"]
        assert f"to be unpacked first: {name}" in caplog.text


def test_a_line_without_end_is_cut_short(model, plain, tmp_path, caplog):
    (copied(plain, tmp_path) / "list.txt").write_text("a.mp4\n" + "x" * 100_000 + "\n")
    assert [one.name for one in find_inputs(medium_of(model), tmp_path / "list.txt")] == ["a.mp4"]
    assert "xxx…xxx" in caplog.text and len(caplog.text) < 2000


def test_names_in_shards_do_not_lead_out(model, plain, tmp_path):
    content = (plain / "a.mp4").read_bytes()
    path = shard(plain, tmp_path / "0.tar", {"../../out.mp4": content, "/abs.mp4": content})
    result = encode_folder(model, path, tmp_path / "z", "tiny", EXACT)
    assert {failure.name for failure in result.failed} == {"../../out.mp4", "/abs.mp4"}
    assert LatentStore(tmp_path / "z").items.keys() == SAID.keys()


@pytest.mark.parametrize("named", [True, False])
def test_tables_hold_files_and_captions(model, plain, expected, tmp_path, named):
    path = table(plain, tmp_path / "in" / "train.parquet", named)
    encode_folder(model, path, tmp_path / "z", "tiny", EXACT)
    found, names = levels(tmp_path / "z"), ["0000000.mp4", "0000001.mp4"]
    assert [*found] == names and captions_of(tmp_path / "z") == {names[0]: "a wave", names[1]: None}
    assert alike(found[names[0]], expected["a.mp4"]) and alike(found[names[1]], expected["b.mp4"])


def test_behind_urls_it_is_the_same(model, plain, expected, tmp_path, caplog):
    """Files, captions and shards; what is of no type that is read is named, as of folders."""
    fs, home = fsspec.filesystem("memory"), f"/find-{tmp_path.name}"
    shard(plain, tmp_path / "0.tar")
    files = {"a.mp4": (plain / "a.mp4").read_bytes(), "a.txt": b"a wave", "notes.xyz": b"?"}
    for name, content in {**files, "0.tar": (tmp_path / "0.tar").read_bytes()}.items():
        fs.pipe(f"{home}/{name}", content)
    encode_folder(model, f"memory:/{home}", tmp_path / "z", "tiny", EXACT)
    found = levels(tmp_path / "z")
    assert found.keys() == {"a.mp4", *(f"0.tar/{name}" for name in SAID)}
    assert alike(found["a.mp4"], expected["a.mp4"]) and alike(
        found["0.tar/b.mp4"], expected["b.mp4"]
    )
    assert captions_of(tmp_path / "z")["a.mp4"] == "a wave"
    assert "types that are not read: notes.xyz" in caplog.text


# sizes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [(720, 1280), (1280, 720), (480, 480), (100, 1000), (33, 47)])
def test_buckets_are_near_in_aspect_and_within_the_limit(source):
    size = bucket(source, 256 * 256, 32)
    assert math.prod(size) <= 256 * 256 and not any(side % 32 for side in size)
    assert abs(math.log(size[0] / size[1]) - math.log(source[0] / source[1])) < 0.2
    assert bucket(source[::-1], 256 * 256, 32) in (size[::-1], size)
    with pytest.raises(ValueError, match="has at least 32x32"):
        bucket(source, 1023, 32)


def test_what_is_kept_is_the_centre():
    asked = {"size": (64, 64), "buckets": None, "short_side": None, "step": 16}
    frame = framing((100, 200), asked)
    assert (frame.rows, frame.columns, frame.size) == ((0, 100), (50, 150), (64, 64))


@pytest.mark.parametrize("domain", ["video", "image"])
def test_sizes_and_buckets(domain, plain, tmp_path):
    root = tmp_path / "in"
    root.mkdir()
    shapes = {"wide": (45, 90), "wider": (50, 100), "tall": (90, 45), "even": (70, 70)}
    for name, size in shapes.items():
        Image.fromarray(moving_pattern(1, *size)[0]).save(root / f"{name}.png")
    step = max(ladder(domain).levels[0].stride[-2:])
    for options in ({"size": (48, 40)}, {"buckets": 64 * 64}):
        out = tmp_path / next(iter(options))
        encode_folder(ladder(domain), root, out, "tiny", EXACT.model_copy(update=options))
        sizes = {name: item.size[-2:] for name, item in LatentStore(out).items.items()}
        if "size" in options:
            assert {*sizes.values()} == {(48, 40)}
            continue
        assert all(math.prod(s) <= 64**2 and not any(n % step for n in s) for s in sizes.values())
        assert sizes["wide.png"] == sizes["wider.png"] == sizes["tall.png"][::-1]
        batches = DataLoader(LatentStream(LatentDataset(out), 2, seed=0), batch_size=None)
        names = next(iter(batches)).name
        assert len({sizes[name] for name in names}) == 1
    with pytest.raises(ValueError, match="--short-side and --size all say"):
        type(EXACT).model_validate({"short_side": 9, "size": (9, 9)})
    with pytest.raises(ValueError, match="--buckets is 4 pixels"):
        few = EXACT.model_copy(update={"buckets": 4})
        encode_folder(ladder(domain), root, tmp_path / "few", "tiny", few)


def test_cropping_loses_what_lies_outside_alone(model, tmp_path):
    """The centre of a larger picture at its own scale gives what the same picture alone gives."""
    pixels = moving_pattern(1, 64, 96)[0]
    for name, part in {"whole": pixels, "centre": pixels[:, 16:80]}.items():
        (tmp_path / name).mkdir()
        Image.fromarray(part).save(tmp_path / name / "x.png")
        options = EXACT.model_copy(update={"size": (64, 64)})
        encode_folder(model, tmp_path / name, tmp_path / f"z-{name}", "tiny", options)
    assert alike(*(levels(tmp_path / f"z-{name}")["x.png"] for name in ("whole", "centre")))


# short items ------------------------------------------------------------------------------------


@pytest.mark.parametrize("past", [(), (2, 4, 8)])
def test_short_items_are_left_out_aloud_or_padded(model, plain, tmp_path, caplog, past):
    out = tmp_path / "z"
    encode_folder(model, plain, out, "tiny", EXACT)
    with caplog.at_level(logging.WARNING):
        data = LatentDataset(out, steps=3, past=past)
    assert data.names == ["b.mp4"] and "left out 2 of 3 items" in caplog.text
    data = LatentDataset(out, steps=3, past=past, pad=True)
    assert data.names == ["a.mp4", "b.mp4", "sub/c.png"] and len(data) == 3 and not data.left_out
    factors = [8 // level.stride[0] for level in model.levels]
    for name, steps in {"a.mp4": 2, "b.mp4": 3, "sub/c.png": 1}.items():
        window, short = data.window(name), LatentDataset(out, steps=steps).window(name)
        for z, mask, own, known, f in zip(
            window.latents, window.mask, short.latents, short.mask, factors, strict=True
        ):
            assert z.shape[1] == len(mask) == 3 * f
            assert torch.equal(z[:, : steps * f], own) and torch.equal(mask[: steps * f], known)
            assert not mask[steps * f :].any()
            assert torch.equal(z[:, steps * f :], own[:, -1:].expand_as(z[:, steps * f :]))
    streams = LatentStream(LatentDataset(out, steps=3, pad=True, names=["a.mp4"]), 2, seed=0)
    assert next(iter(streams)).name == ["a.mp4", "a.mp4"]
    alone = [data.window("a.mp4"), data.window("a.mp4")]
    assert collate(alone).latents[0].shape[0] == 2
