"""Data sets of latents: what goes in comes out, whole or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from domains import ladder
from PIL import Image
from safetensors.torch import load_file

from stlatent import Ladder, Latents
from stlatent.jobs.decode import decode_store, outputs
from stlatent.jobs.encode import encode_folder
from stlatent.jobs.options import EncodeOptions
from stlatent.jobs.prefetch import prefetch
from stlatent.jobs.unit import UnitWriter
from stlatent.media.coder import TiledEncoder
from stlatent.media.video.pixels import to_float, to_uint8
from stlatent.media.video.readers import VideoReader
from stlatent.media.video.write import Mp4Writer, frame_writer, suffix
from stlatent.model.gaussian import BITS_PER_NAT
from stlatent.store.reader import LatentStore

EXACT = EncodeOptions(dtype=("float32",), precision="fp32")
SIZES = {  # T, H, W
    "one.mp4": (1, 33, 47),
    "two.mp4": (2, 32, 64),
    "sub/seventeen.mp4": (17, 48, 31),
    "sub/deep/thirty.mp4": (30, 40, 56),
}


@pytest.fixture(scope="module")
def model() -> Ladder:
    return ladder("video")


def moving_pattern(frames: int, height: int, width: int) -> np.ndarray:
    t, y, x = np.meshgrid(*map(np.arange, (frames, height, width)), indexing="ij")
    waves = [np.sin(0.2 * x + 0.3 * t), np.cos(0.15 * y - 0.2 * t), np.sin(0.1 * (x + y))]
    return np.round(127.5 + 120 * np.stack(waves, -1)).astype(np.uint8)


def write_video(path: Path, size: tuple[int, int, int], fps: float = 25.0) -> None:
    with Mp4Writer(path, size[1:], fps) as writer:
        writer.write(moving_pattern(*size))


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    for name, size in SIZES.items():
        write_video(root / name, size)
    return root


@pytest.fixture(scope="module")
def latents(model: Ladder, videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The videos, streamed in chunks of one group of frames."""
    out = tmp_path_factory.mktemp("data") / "latents"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stlatent.model.device.CPU_CHUNK_PIXELS", 1)
        encode_folder(model, videos, out, "tiny", EXACT)
    return out


def pixels(path: Path) -> np.ndarray:
    with VideoReader(path) as reader:
        return reader.read(range(reader.frames))


def whole(model: Ladder, path: Path) -> tuple[torch.Tensor, Latents]:
    """A file, and its latents made in one piece."""
    x = to_float(pixels(path))[None]
    return x, model.encode(x)


# latents on disk ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SIZES)
def test_stored_latents_are_those_of_the_whole_video(model, videos, latents, name):
    _, expected = whole(model, videos / name)
    stored = LatentStore(latents).read(name)
    assert stored.size == SIZES[name]
    for a, b in zip(stored.levels, expected.levels, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_rounding_to_the_stored_dtype(model, videos, tmp_path, dtype):
    options = EncodeOptions(dtype=(dtype,), precision="fp32")
    encode_folder(model, videos / "one.mp4", tmp_path / "out", "tiny", options)
    _, expected = whole(model, videos / "one.mp4")
    stored = LatentStore(tmp_path / "out").read("one.mp4")
    resolution = torch.finfo(getattr(torch, dtype)).eps
    for a, b in zip(stored.levels, expected.levels, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=resolution)


def test_files_are_plain_safetensors_time_first(model, latents):
    items = LatentStore(latents).items
    for level, info in enumerate(model.levels):
        tensors = load_file(latents / f"level_{level}" / "00000.safetensors")
        assert set(tensors) == set(SIZES)
        for name, tensor in tensors.items():
            t, *grid = items[name].grids[level]
            assert tensor.shape == (t, info.latent * info.groups, *grid)


def test_statistics_are_exact_over_units(model, videos, tmp_path):
    options = EXACT.model_copy(update={"unit_files": 1})
    encode_folder(model, videos, tmp_path / "out", "tiny", options)
    store = LatentStore(tmp_path / "out")
    assert store.manifest.units == len(SIZES)
    for level, statistics in enumerate(store.manifest.statistics):
        values = [store.read(name).levels[level].double().flatten(2)[0] for name in SIZES]
        values = torch.cat(values, 1)
        assert statistics.count == values.shape[1]
        np.testing.assert_allclose(statistics.mean, values.mean(1), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(statistics.std, values.std(1, correction=0), rtol=1e-12)


def test_stream_is_the_whole_in_pieces(latents):
    store = LatentStore(latents)
    first, second, *_ = store.stream("sub/deep/thirty.mp4", steps=1)  # of 1 and of 8 frames
    assert [z.shape[2] for z in first] == [1, 1, 1]
    assert [z.shape[2] for z in second] == [1, 2, 2]
    for steps in (1, 3, 100):
        pieces = zip(*store.stream("sub/deep/thirty.mp4", steps=steps), strict=True)
        for parts, expected in zip(pieces, store.read("sub/deep/thirty.mp4").levels, strict=True):
            assert torch.equal(torch.cat(parts, 2), expected)


def test_int8_is_within_half_a_step_of_each_channel(model, videos, latents, tmp_path):
    options = EncodeOptions(dtype=("float32", "float16", "int8"), std=True, precision="fp32")
    encode_folder(model, videos, tmp_path / "out", "tiny", options)
    store, exact = LatentStore(tmp_path / "out"), LatentStore(latents)
    for name in SIZES:
        found, given = store.read(name).levels, exact.read(name).levels
        step = given[2].abs().flatten(2).amax(2) / 127
        error = (found[2] - given[2]).abs().flatten(2).amax(2)
        assert (error <= 0.51 * step + 1e-4).all() and error.max() > 0
        torch.testing.assert_close(found[0], given[0], atol=1e-4, rtol=0)
    fine = load_file(tmp_path / "out" / "level_2" / "00000.safetensors")["one.mp4"]
    assert fine.dtype == torch.int8
    x, _ = whole(model, videos / "one.mp4")
    steps = model(x).latents.steps
    for level, std in enumerate(store.read_std("one.mp4")):
        expected = torch.cat([s.posterior.std for s in steps if s.site.level == level], 1)
        torch.testing.assert_close(std, expected, rtol=2e-3, atol=1e-4)
    with pytest.raises(ValueError, match="encode with --std"):
        exact.read_std("one.mp4")


def test_rates_are_those_of_the_model(model, videos, latents):
    for name in ("one.mp4", "sub/seventeen.mp4"):
        x, _ = whole(model, videos / name)
        expected = [kl.sum().item() * BITS_PER_NAT for kl in model(x).latents.kl]
        assert LatentStore(latents).items[name].bits == pytest.approx(expected, rel=1e-3)


def test_values_beyond_the_dtype_cost_one_file(model, videos, tmp_path, monkeypatch):
    real = TiledEncoder.push

    def push(self, frames):
        codes = real(self, frames)
        huge = 1e6 if self.size == SIZES["one.mp4"][1:] else 1
        return [code._replace(latents=code.latents * huge) for code in codes]

    monkeypatch.setattr(TiledEncoder, "push", push)
    result = encode_folder(model, videos, tmp_path / "out", "tiny")
    assert [(f.name, f.stage) for f in result.failed] == [("one.mp4", "encode")]
    assert "not finite in float16" in result.failed[0].reason
    assert len(LatentStore(tmp_path / "out").items) == 3


# a data set is there whole, or not at all -----------------------------------------------------


def test_replacing_keeps_the_former_until_the_end(model, videos, latents, tmp_path, monkeypatch):
    out = tmp_path / "out"
    shutil.copytree(latents, out)
    with pytest.raises(ValueError, match="latents of 4 sources.*--replace"):
        encode_folder(model, videos / "one.mp4", out, "tiny")
    with monkeypatch.context() as patch:
        patch.setattr(UnitWriter, "commit", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            encode_folder(model, videos / "one.mp4", out, "tiny", replace=True)
    assert len(LatentStore(out).items) == 4
    encode_folder(model, videos / "one.mp4", out, "tiny", replace=True)
    assert list(LatentStore(out).items) == ["one.mp4"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_only_data_sets_are_replaced(model, videos, latents, tmp_path):
    foreign, mixed = tmp_path / "foreign", tmp_path / "mixed"
    foreign.mkdir()
    shutil.copytree(latents, mixed)
    for folder in (foreign, mixed):
        (folder / "thesis.txt").write_text("years of work")
        with pytest.raises(ValueError, match=r"thesis\.txt"):
            encode_folder(model, videos, folder, "tiny", replace=True)
        assert (folder / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("change", [{"format": "zip"}, {"version": 99}, {"levels": []}])
def test_unknown_manifests_are_refused(latents, tmp_path, change):
    manifest = json.loads((latents / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | change))
    with pytest.raises(ValueError, match=r"manifest\.json"):
        LatentStore(tmp_path)


# what is encoded ------------------------------------------------------------------------------


def test_bad_files_are_left_out_and_named(model, videos, tmp_path, caplog):
    root = tmp_path / "mixed"
    shutil.copytree(videos, root)
    content = (videos / "sub/deep/thirty.mp4").read_bytes()
    (root / "cut.mp4").write_bytes(content[: len(content) // 2])
    (root / "empty.mkv").touch()
    (root / "text.mp4").write_text("no video")
    result = encode_folder(model, root, tmp_path / "out", "tiny")
    assert [failure.name for failure in result.failed] == ["cut.mp4", "empty.mkv", "text.mp4"]
    assert all(failure.reason and failure.name in caplog.text for failure in result.failed)
    log = (tmp_path / "out" / "failed.jsonl").read_text().splitlines()
    assert [json.loads(line)["name"] for line in log] == ["cut.mp4", "empty.mkv", "text.mp4"]
    assert set(LatentStore(tmp_path / "out").items) == set(SIZES)
    assert result.frames == sum(size[0] for size in SIZES.values())


def test_nothing_readable_is_an_error(model, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "text.mp4").write_text("no video")
    with pytest.raises(ValueError, match=r"nothing in .* can be read.*text\.mp4"):
        encode_folder(model, tmp_path / "in", tmp_path / "out", "tiny")
    assert not (tmp_path / "out").exists()


def test_numbers_per_input_value(model, videos, tmp_path):
    result = encode_folder(model, videos / "sub/seventeen.mp4", tmp_path / "out", "tiny")
    coarse, middle, fine = result.levels  # strides 8x16x16, 4x16x16, 4x8x8
    assert coarse.numbers == 4 * 3 * 3 * 2
    assert middle.numbers == 2 * 5 * 5 * 3 * 2
    assert fine.numbers == 6 * 5 * 6 * 4
    assert coarse.per_value == coarse.numbers / (3 * 17 * 48 * 31)
    size = 8 + int.from_bytes(
        (tmp_path / "out/level_0/00000.safetensors").read_bytes()[:8], "little"
    )
    assert coarse.bytes == 2 * coarse.numbers + size


def test_an_image_model_wants_pictures(videos, tmp_path):
    with pytest.raises(ValueError, match="domain is 'image'.*4 videos"):
        encode_folder(ladder("image"), videos, tmp_path / "out", "tiny")


# and decoded ----------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_decoding_is_that_of_the_model(model, videos, latents, tmp_path, monkeypatch, levels):
    monkeypatch.setattr("stlatent.model.device.CPU_CHUNK_PIXELS", 1)
    store = LatentStore(latents)
    made = decode_store(model, store, tmp_path, levels, "npy", precision="fp32")
    assert len(made) == len(SIZES)
    for name, size in SIZES.items():
        frames = np.load((tmp_path / name).with_suffix(".npy"), allow_pickle=False)
        _, z = whole(model, videos / name)
        expected = to_uint8(model.decode(z, levels)[0])
        assert frames.dtype == np.uint8 and frames.shape == (*size, 3)
        assert np.abs(frames.astype(int) - expected).max() <= 1


def test_a_prefix_needs_only_its_own_files(model, latents, tmp_path):
    coarse = tmp_path / "coarse"
    shutil.copytree(latents, coarse, ignore=shutil.ignore_patterns("level_[12]*"))
    made = decode_store(model, LatentStore(coarse), tmp_path / "out", 1, "npy")
    assert len(made) == len(SIZES)
    with pytest.raises(ValueError, match="level_1.*is missing"):
        decode_store(model, LatentStore(coarse), tmp_path / "all", 2, "npy")
    assert not any(path.is_file() for path in (tmp_path / "all").rglob("*"))


@pytest.mark.parametrize("levels", [0, 4, -1])
def test_levels_that_are_not_there(model, latents, tmp_path, levels):
    with pytest.raises(ValueError, match="from 1 to 3"):
        decode_store(model, LatentStore(latents), tmp_path, levels)


def test_mp4_has_the_frames_size_and_rate_of_the_source(model, latents, tmp_path):
    decode_store(model, LatentStore(latents), tmp_path)
    for name, (frames, *size) in SIZES.items():
        with VideoReader(tmp_path / name) as reader:
            assert (reader.frames, list(reader.size), reader.fps) == (frames, size, 25.0)


def test_pictures_and_folders_of_frames(model, tmp_path):
    root, out = tmp_path / "in", tmp_path / "out"
    (root / "shot.1").mkdir(parents=True)
    for i, frame in enumerate(moving_pattern(5, 20, 30)):
        Image.fromarray(frame).save(root / "shot.1" / f"{i:03d}.png")
    Image.fromarray(moving_pattern(1, 21, 33)[0]).save(root / "photo.png")
    encode_folder(model, root, tmp_path / "z", "tiny")
    store = LatentStore(tmp_path / "z")
    assert store.items["photo.png"].size == (1, 21, 33)
    decode_store(model, store, out, format="png")
    assert Image.open(out / "photo.png").size == (33, 21)
    assert pixels(out / "shot.1").shape == (5, 20, 30, 3)
    decode_store(model, store, out, format="mp4", replace=True)
    assert pixels(out / "shot.1.mp4").shape == (5, 20, 30, 3)
    with pytest.raises(ValueError, match=r"photo\.png exists.*--replace"):
        decode_store(model, store, out, format="mp4")


def test_image_models_encode_and_decode_pictures(tmp_path):
    model = ladder("image")
    frame = moving_pattern(1, 37, 50)[0]
    (tmp_path / "in").mkdir()
    Image.fromarray(frame).save(tmp_path / "in" / "a.png")
    encode_folder(model, tmp_path / "in", tmp_path / "z", "tiny", EXACT)
    decode_store(model, LatentStore(tmp_path / "z"), tmp_path / "out", 1, precision="fp32")
    x = to_float(frame[None])[None, :, 0]
    expected = to_uint8(model.decode(model.encode(x), 1)[0][:, None])[0]
    decoded = np.asarray(Image.open(tmp_path / "out" / "a.png")).astype(int)
    assert np.abs(decoded - expected).max() <= 1


def test_another_model_is_refused(latents, tmp_path):
    other = ladder("video", likelihood="mse")
    with pytest.raises(ValueError, match="model 'tiny' with fingerprint"):
        decode_store(other, LatentStore(latents), tmp_path)


@pytest.mark.parametrize(
    ("format", "expected"),
    [
        ("npy", ["a.mp4.npy", "a.mkv.npy", "a.mp4.mkv.npy", "b.npy", "b/c.npy"]),
        ("png", ["a.mp4", "a.mkv", "a.mp4.mkv", "b.mp4", "b/c"]),
    ],
)
def test_no_two_outputs_meet(model, tmp_path, format, expected):
    for name in ("a.mp4", "a.mkv", "a.mp4.mkv", "b.mp4", "b/c.mp4"):
        write_video(tmp_path / "in" / name, (1, 16, 16))
    encode_folder(model, tmp_path / "in", tmp_path / "z", "tiny")
    targets = outputs(
        LatentStore(tmp_path / "z"), tmp_path, lambda i: suffix(format, i.kind == "image")
    )
    assert {path.relative_to(tmp_path).as_posix() for _, path in targets} == {*expected}


@pytest.mark.parametrize(("format", "still"), [("mp4", 0), ("png", 0), ("npy", 0), ("png", 1)])
def test_an_interrupted_file_leaves_the_former_one(tmp_path, format, still):
    frames = moving_pattern(1 if still else 3, 16, 16)

    def write(fail: bool) -> None:
        with frame_writer(
            tmp_path / "out", format, bool(still), (len(frames), 16, 16), 8
        ) as writer:
            writer.write(frames)
            if fail:
                raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        write(fail=True)
    assert not list(tmp_path.iterdir())
    write(fail=False)
    with pytest.raises(RuntimeError):
        write(fail=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("fps", [1 / 3600, 1 / 2500, 24000 / 1001, 240])
def test_rates_survive_the_mp4(tmp_path, fps):
    frames = moving_pattern(5, 32, 32)
    with frame_writer(tmp_path / "a.mp4", "mp4", False, (5, 32, 32), fps) as writer:
        writer.write(frames)
    with VideoReader(tmp_path / "a.mp4") as reader:
        assert reader.frames == 5 and reader.fps == pytest.approx(fps)
    with pytest.raises(ValueError, match="too few for mp4"):
        frame_writer(tmp_path / "b.mp4", "mp4", False, (5, 32, 32), 1e-5)


def test_colours_survive_the_mp4(tmp_path):
    """BT.709 both ways: a wrong matrix moves saturated colours by 10 and more."""
    colours = np.array(
        [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0]], np.uint8
    )
    frame = np.repeat(np.repeat(colours[None], 32, 0), 32, 1)
    with Mp4Writer(tmp_path / "a.mp4", frame.shape[:2], 30000 / 1001) as writer:
        writer.write(np.stack([frame] * 4))
    centres = pixels(tmp_path / "a.mp4")[:, 16, 16::32].astype(int)
    assert np.abs(centres - colours).max() <= 4


# reading ahead --------------------------------------------------------------------------------


def test_prefetch_keeps_order_bound_and_errors():
    made = []

    def numbers():
        for i in range(6):
            made.append(i)
            yield i
        raise ZeroDivisionError

    seen = []
    with pytest.raises(ZeroDivisionError):
        for i in prefetch(numbers(), 2):
            seen.append(i)
            assert len(made) <= len(seen) + 2
    assert seen == list(range(6))
