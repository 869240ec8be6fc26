"""Reading latents back to train on: windows, what came before them, order, labels."""

from __future__ import annotations

import json
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pytest
import torch
from domains import SIZES, batch, ladder
from safetensors.torch import save_file
from torch.utils.data import DataLoader

import stlatent.store
from stlatent.export.packing import packing_of
from stlatent.jobs.unit import About, UnitWriter
from stlatent.media.codes import Code
from stlatent.store.dataset import LatentDataset
from stlatent.store.header import Header
from stlatent.store.labels import VectorFile, folder_classes
from stlatent.store.manifest import Manifest, write_json
from stlatent.store.place import Place
from stlatent.store.reader import LatentStore
from stlatent.store.records import Statistics
from stlatent.store.shuffle import LatentStream
from stlatent.store.summary import merged
from stlatent.store.windows import collate

VIDEOS = {"a/long": 41, "a/short": 1, "b/mid": 17, "b/wide": 33, "c/mid": 17}  # frames


def store(folder: Path, domain: str, dtype: str, sizes: dict[str, tuple[int, ...]]) -> Path:
    """A data set of one item per name, two to a unit, made by a small ladder."""
    place, model = Place(folder), ladder(domain)
    header = Header.of(model, "tiny", 2048, [dtype])
    names, records = list(sizes), []
    for unit, first in enumerate(range(0, len(names), 2)):
        with UnitWriter(place, header, unit) as writer:
            for name in names[first : first + 2]:
                item = writer.item(About(name, f"{name}.src", 0, "frames", None))
                codes = model.encode(batch(domain, sizes[name], 1)).levels
                item.append([Code(z[0], bits=torch.tensor(1.0)) for z in codes])
                item.end(sizes[name])
            records.append(writer.commit([f"{name}.src" for name in names]))
    total = merged(records, header)
    about = {"items": total.items, "failed": 0, "units": len(records)}
    statistics = tuple(Statistics.of(moments) for moments in total.moments)
    write_json(
        place, "manifest.json", Manifest(**header.model_dump(), **about, statistics=statistics)
    )
    return folder


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sizes = {name: (frames, 32, 64 if name == "b/wide" else 48) for name, frames in VIDEOS.items()}
    return store(tmp_path_factory.mktemp("videos"), "video", "float32", sizes)


def bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


@pytest.mark.parametrize("domain", SIZES)
def test_packed_and_whitened_in_every_domain_and_back(domain: str, tmp_path: Path) -> None:
    path = store(tmp_path, domain, "float16", {"x": SIZES[domain], "y": SIZES[domain]})
    data, listed = LatentDataset(path, packed=True), LatentDataset(path, whiten=False)
    found = next(iter(DataLoader(data, batch_size=2, collate_fn=collate)))
    figures = [
        [value for s in data.store.manifest.statistics for value in getattr(s, field)]
        for field in ("mean", "std")
    ]
    stored = [data.store.read(name).levels for name in ("x", "y")]
    expected = [packing_of(ladder(domain), 3, *figures).pack(z) for z in stored]
    torch.testing.assert_close(found.latents, torch.cat(expected))
    for k, z in enumerate(data.restore(found.latents, found.start)):
        torch.testing.assert_close(z, torch.cat([s[k] for s in stored]))
    both = collate([listed[0], listed[1]])
    for k, z in enumerate(listed.restore(both.latents, both.start)):
        assert torch.equal(z, torch.cat([s[k] for s in stored]))
    whitened = LatentDataset(path)  # every position counts once
    for k in range(3):
        masks = [w.mask[k] if w.mask else ... for w in whitened]
        z = torch.cat([
            (w.latents[k] if m is ... else w.latents[k][:, m]).flatten(1)
            for w, m in zip(whitened, masks)
        ], 1)  # fmt: skip
        assert z.mean(1).abs().max() < 1e-3 and (z.std(1, False) - 1).abs().max() < 1e-3


def test_windows_and_what_came_before_are_those_of_the_whole(videos: Path) -> None:
    past = (5, 4, 3)
    data = LatentDataset(videos, steps=2, past=past, whiten=False)
    assert data.left_out == ["a/short"]
    assert len(data) == (6 - 1) + (3 - 1) + (5 - 1) + (3 - 1)
    factors = [1, 2, 2]  # strides 8, 4, 4 in time
    for i, start in ((0, 0), (1, 1), (4, 4), (5, 0)):
        window = data[i]
        assert (window.name, window.start) == ("a/long" if i < 5 else "b/mid", start)
        for k, f in enumerate(factors):
            # the whole, its first step repeated to fill a group
            whole = data.store.read_level(window.name, k)[0]
            whole = torch.cat([whole[:, :1]] * (f - 1) + [whole], 1)
            at = start * f
            assert torch.equal(window.latents[k], whole[:, at : at + 2 * f])
            assert window.mask[k].tolist() == [at + j >= f - 1 for j in range(2 * f)]
            before = whole[:, (f - 1) * (start > 0) : at]
            there = min(before.shape[1], past[k])
            assert window.past_mask[k].tolist() == [j >= past[k] - there for j in range(past[k])]
            assert not window.past[k][:, : past[k] - there].any()
            assert torch.equal(
                window.past[k][:, past[k] - there :], before[:, before.shape[1] - there :]
            )


def test_any_levels_on_the_grid_of_the_coarsest_of_them(videos: Path) -> None:
    data = LatentDataset(videos, levels=(1, 2), steps=2, packed=True)
    window = data[0]
    widths = [level.channels for level in data.store.header.levels]
    assert list(window.latents.shape) == [widths[1] + 4 * widths[2], 4, 2, 3]
    for start in (0, 1):
        levels = data.restore(data[start].latents[None], start)
        for k, z in zip((1, 2), levels):
            first, last = ((0, 3), (1, 5))[start]
            torch.testing.assert_close(z, data.store.read_level("a/long", k, first, last))
    with pytest.raises(ValueError, match="restore the two kinds apart"):
        data.restore(window.latents[None], [0, 1])


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_a_window_reads_its_bytes_alone(dtype: str, tmp_path: Path) -> None:
    path = store(tmp_path, "video", dtype, {"x": (161, 96, 96)})
    data = LatentDataset(path, levels=(0, 2), steps=3, past=(4, 6))
    data[9]  # headers are read once
    before = bytes_read()
    asking = bytes_read() - before
    before = bytes_read()
    window = data[9]
    count = bytes_read() - before - asking
    size = 2 if dtype == "float16" else 1
    tensors = [*window.latents, *window.past]
    scales = 0 if dtype == "float16" else 4 * sum(z.shape[0] for z in window.latents)
    assert 0 <= count - size * sum(z.numel() for z in tensors) - scales <= 8


def test_a_stream_passes_over_everything_and_resumes(videos: Path) -> None:
    data = LatentDataset(videos, levels=(0,), steps=1, names=["a/long", "b/mid", "c/mid"])

    def keys(step: int, count: int, **how: int) -> list[list[tuple[str, int]]]:
        workers = how.pop("workers", 0)
        stream = LatentStream(data, 2, seed=3, step=step, **how)
        loader = DataLoader(stream, batch_size=None, num_workers=workers)
        return [[*zip(w.name, w.start)] for w in islice(loader, count)]

    epoch = len(data) // 2
    whole = keys(0, 2 * epoch)
    everything = sorted((w.name, w.start) for w in data)
    for passed in (whole[:epoch], whole[epoch:]):
        assert sorted(chain.from_iterable(passed)) == everything
    assert whole[:epoch] != whole[epoch:]
    assert keys(5, 4) == whole[5:9]
    assert keys(0, 6, buffer=1) != whole[:6]
    shared = keys(0, 8, workers=2)
    assert keys(3, 5, workers=2) == shared[3:]
    readers = [LatentStream(data, 1)._keys(0, reader, 5) for reader in range(5)]
    assert sorted(key for reader in readers for key in reader) == everything
    assert keys(0, 4, rank=0, processes=2) != keys(0, 4, rank=1, processes=2)


def test_a_stream_puts_equal_shapes_together_and_varies_where_windows_begin(videos: Path) -> None:
    data = LatentDataset(videos, steps=2, every=2)
    batches = list(islice(LatentStream(data, 3), 40))
    assert {batch.latents[0].shape[-1] for batch in batches} == {3, 4}
    starts = {start for w in batches for n, start in zip(w.name, w.start) if n == "a/long"}
    assert starts == {0, 1, 2, 3, 4}
    with pytest.raises(ValueError, match="make no batch"):
        collate([data.window("a/long"), data.window("b/wide")])


def test_the_example_of_the_format_page_runs(videos: Path, monkeypatch) -> None:
    page = (Path(stlatent.store.__file__).parent / "FORMAT.md").read_text()
    example = page.partition("## Training on it")[2].partition("```python\n")[2].partition("```")[0]
    monkeypatch.chdir(videos.parent)
    Path("latents").symlink_to(videos, target_is_directory=True)
    made: dict = {}
    exec(example, made)
    channels = [level.channels for level in made["dataset"].store.header.levels]
    height, width = made["x"].shape[-2:]
    assert list(made["x"].shape) == [4, channels[0] + 2 * channels[1], 2, height, width]
    assert list(made["memory"].shape) == [4, channels[0], 24, height, width]
    assert list(made["known"].shape) == [4, 24] and list(made["label"].shape) == [4]


def test_labels_by_folder_and_from_files(videos: Path, tmp_path: Path) -> None:
    names = list(LatentStore(videos).items)
    classes, folders = folder_classes(names)
    data = LatentDataset(videos, steps=2, labels=classes)
    assert folders == ["a", "b", "c"]
    assert collate([data.window("a/long"), data.window("c/mid")]).label.tolist() == [0, 2]
    rows = torch.arange(3.0 * len(names)).view(-1, 3)
    np.save(tmp_path / "v.npy", rows.half().numpy())
    save_file({f"{n}.src": v.clone() for n, v in zip(names, rows)}, tmp_path / "v.safetensors")
    for vectors in (
        VectorFile(tmp_path / "v.npy", names),
        VectorFile(tmp_path / "v.safetensors"),
    ):
        data = LatentDataset(videos, steps=2, labels=vectors)
        assert torch.equal(collate([data.window("b/mid")]).label, rows[2:3])
    with pytest.raises(ValueError, match="no label for b/mid"):
        LatentDataset(videos, steps=2, labels={"a/long": 0})
    with pytest.raises(ValueError, match="6 rows|5 rows for 4"):
        VectorFile(tmp_path / "v.npy", names[:4])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"levels": (0, 3)}, "levels is"),
        ({"levels": (1, 0)}, "levels is"),
        ({"steps": 0}, "steps is 0"),
        ({"past": (1, 1, 1)}, "give its length"),
        ({"steps": 1, "past": (1, 1)}, "each of the 3 levels"),
        ({"steps": 99}, "ask for fewer"),
        ({"names": ["z"]}, "has no item 'z'"),
    ],
)
def test_what_does_not_fit_is_refused(videos: Path, options: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        LatentDataset(videos, **options)


def test_the_benchmark_reads_little_more_than_the_levels_it_wants(tmp_path) -> None:
    pytest.importorskip("webdataset", reason="pip install webdataset")
    import benchmark_reads

    sizes = {f"{i}": (17, 64, 64) for i in range(8)}
    path, out = store(tmp_path / "z", "video", "float32", sizes), tmp_path / "reads.json"
    assert benchmark_reads.main([f"{path}", "--seconds", "0.01", "--out", f"{out}"]) == 0
    figures = json.loads(out.read_text())
    assert figures["items"] == 8
    for levels in ("level_0", "all_levels"):
        ours = figures[levels].pop("stlatent")
        assert 1 < ours.pop("bytes_over_those_of_the_levels") < 2  # headers weigh, as it is small
        assert all(rate > 0 for rate in [*ours.values(), *figures[levels].values()])


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("domain", ["image", "video"])
def test_a_plain_loader_makes_the_same_batches(
    domain: str, labelled: bool, workers: int, tmp_path: Path
) -> None:
    path = store(tmp_path, domain, "float16", {"x": SIZES[domain], "y": SIZES[domain]})
    given = {"steps": 2, "past": (2, 2, 2)} if domain == "video" else {}
    given |= {"labels": {"x": 1, "y": 0}} if labelled else {}
    for packed in (False, True):
        data = LatentDataset(path, packed=packed, **given)
        plain = DataLoader(data, batch_size=2, num_workers=workers)
        own = DataLoader(data, batch_size=2, collate_fn=collate)
        for a, b in zip(plain, own, strict=True):
            assert type(a) is type(b) and [*a.name] == b.name and a.start.tolist() == b.start
            for field in ("latents", "mask", "past", "past_mask", "label"):
                x, y = getattr(a, field), getattr(b, field)
                assert len(x) == len(y) and all(map(torch.equal, x, y))
            for x, y in zip(data.restore(a.latents, 0), data.restore(b.latents, 0), strict=True):
                assert torch.equal(x, y)
    assert bool(len(b.label)) is labelled


def test_a_store_goes_by_the_names_of_its_items(videos: Path) -> None:
    found = LatentStore(videos)
    assert len(found) == len(found.items) == 5 and list(found) == list(found.items)
    name = next(iter(found))
    assert name in found and "none" not in found
    assert all(map(torch.equal, found[name].levels, found.read(name).levels))
    for work in (found.read, found.unit, found.__getitem__, lambda n: found.read_level(n, 0)):
        with pytest.raises(KeyError, match="has no item 'none'; its items are 'a/long', 'a/short'"):
            work("none")
