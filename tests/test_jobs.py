"""Encoding that is interrupted, shared out, fed bad files, or sent elsewhere."""

from __future__ import annotations

import copy
import json
import logging
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import benchmark_jobs
import numpy as np
import pytest
import torch
from domains import ladder
from PIL import Image
from test_codec import EXACT, SIZES, moving_pattern, pixels, whole, write_video
from torch.utils.data import DataLoader

from stlatent import Ladder
from stlatent.cli.jobs import add_encode
from stlatent.cli.options import Verb
from stlatent.geometry.field import FieldSettings
from stlatent.jobs import preview, reader
from stlatent.jobs.decode import decode_store
from stlatent.jobs.encode import encode_folder
from stlatent.jobs.inputs import fetch
from stlatent.jobs.options import EncodeOptions, typed
from stlatent.jobs.status import job_status
from stlatent.media.coder import TiledDecoder, TiledEncoder
from stlatent.media.tiles import Tiling
from stlatent.media.video.medium import Clips
from stlatent.media.video.pixels import to_float, to_uint8
from stlatent.media.video.readers import VideoReader
from stlatent.media.video.write import Mp4Writer
from stlatent.model.fingerprint import fingerprint
from stlatent.store.dataset import LatentDataset
from stlatent.store.reader import LatentStore
from stlatent.store.windows import collate

SMALL = EXACT.model_copy(update={"unit_files": 1})


@pytest.fixture(scope="module")
def model() -> Ladder:
    return ladder("video")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    for name, size in SIZES.items():
        write_video(root / name, size)
    (root / "text.mp4").write_text("no video")
    return root


@pytest.fixture(scope="module")
def undisturbed(model: Ladder, videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "latents"
    encode_folder(model, videos, out, "tiny", SMALL)
    return out


def content(folder: Path) -> dict[str, bytes]:
    """Every file and folder below `folder`."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize("count", [1, 3])
def test_a_preview_shows_each_of_a_few_sources_once(
    model: Ladder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """With nothing read or decoded in vain for the columns that stay empty."""
    shown = []
    monkeypatch.setattr(preview, "fetch", lambda some, to: shown.extend(some) or fetch(some, to))
    for k in range(count):
        write_video(tmp_path / "few" / f"{k}.mp4", (5, 32, 32))
    encode_folder(model, tmp_path / "few", tmp_path / "out", "tiny", EXACT)
    assert sorted(one.name for one in shown) == [f"{k}.mp4" for k in range(count)]
    width = Image.open(tmp_path / "out" / "preview.png").width
    assert width == count * preview.HEIGHT + (count - 1) * preview.GAP


def killed(work: Callable[[], object], at: int) -> bool:
    """Does `work` in a process that dies by `kill -9` as it writes its file number `at`; whether
    it came so far."""

    def run() -> None:
        real, count = os.replace, 0

        def replace(*paths: object) -> None:
            nonlocal count
            count += 1
            if count == at:
                os.kill(os.getpid(), signal.SIGKILL)
            real(*paths)

        os.replace = replace
        work()
        os._exit(0)

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(60)
    return process.exitcode == -signal.SIGKILL


# jobs -----------------------------------------------------------------------------------------


def test_what_is_killed_goes_on_to_the_same_bytes(model, videos, undisturbed, tmp_path):
    """Killed as it writes each of its files in turn, the job being as far as it came."""

    def work() -> None:
        encode_folder(model, videos, tmp_path / "out", "tiny", SMALL)

    for at in (1, 2, 3, 5, 6, 3):
        assert killed(work, at)
        assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert 0 < job_status(tmp_path / "out").units_done < 5
    at = 3
    while killed(work, at):
        at += 1
    assert content(tmp_path / "out") == content(undisturbed)
    work()  # once more does nothing
    assert content(tmp_path / "out") == content(undisturbed)


def test_shards_in_any_order_make_the_same_data_set(model, videos, undisturbed, tmp_path):
    for i in (2, 0):
        result = encode_folder(model, videos, tmp_path / "out", "tiny", SMALL, shard=(i, 3))
        assert result.left > 0
        with pytest.raises(ValueError, match="not complete yet"):
            LatentStore(tmp_path / "out")
    assert encode_folder(model, videos, tmp_path / "out", "tiny", SMALL, shard=(1, 3)).left == 0
    assert content(tmp_path / "out") == content(undisturbed)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"fps": 5.0}, r"other --fps \(left out there, 5 here\);"),
        ({"dtype": ("int8",)}, r"--dtype \(float32 there, int8 here\)"),
        ({"unit_files": 2}, r"--unit-files \(1 there, 2 here\)"),
        ({"scenes": True}, r"--scenes \(left out there, given here\)"),
        ({"size": (16, 32)}, r"--size \(left out there, 16x32 here\)"),
        ({"background": (0, 0, 255)}, r"--background \(#ffffff there, #0000ff here\)"),
        (
            {"entropy_code": True, "step": (2.0, 2.0, 1.5), "dtype": ("float16",)},
            r"--step \(left out there, 2,2,1.5 here\)",
        ),
    ],
)
def test_jobs_do_not_mix(model, videos, undisturbed, options, said):
    with pytest.raises(ValueError, match=f"latents of 5 sources, by model 'tiny'.*{said}"):
        encode_folder(model, videos, undisturbed, "tiny", SMALL.model_copy(update=options))


def test_differences_are_told_in_the_words_of_the_command_line():
    verb = Verb()
    add_encode(verb)
    words = [word.split()[0] for word in typed(EncodeOptions()) if word.startswith("--")]
    assert {*words} <= {*verb._option_string_actions}
    fields = FieldSettings(resolution=64, axes=("x", "z", "-y"))
    said = typed(EncodeOptions(fields=fields, step=(2.5, 2.5), entropy_code=True))
    assert said["--resolution"] == "64" and said["--axes of meshes"] == "x,z,-y"
    assert said["--step"] == "2.5" and said["--refine"] == "0" and said["--std"] == "left out"


def test_jobs_with_other_models_or_sources_do_not_mix(model, videos, undisturbed, tmp_path):
    with pytest.raises(ValueError, match="fingerprint"):
        encode_folder(ladder("video", likelihood="mse"), videos, undisturbed, "tiny", SMALL)
    shutil.copytree(videos, tmp_path / "in")
    write_video(tmp_path / "in" / "zoo.mp4", (1, 16, 16))
    with pytest.raises(ValueError, match=r"sources \(zoo.mp4 is new\)"):
        encode_folder(model, tmp_path / "in", undisturbed, "tiny", SMALL)
    (tmp_path / "in" / "zoo.mp4").unlink()
    write_video(tmp_path / "in" / "two.mp4", (3, 16, 16))
    with pytest.raises(ValueError, match=r"sources \(two.mp4 is changed\)"):
        encode_folder(model, tmp_path / "in", undisturbed, "tiny", SMALL)


def test_without_a_terminal_progress_is_told_in_lines(model, videos, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("stlatent.jobs.worker.PAUSE", 0.0)
    encode_folder(model, videos, tmp_path / "out", "tiny", SMALL)
    lines = capsys.readouterr().err.splitlines()
    count, frames = len(SIZES) + 1, sum(size[0] for size in SIZES.values())
    assert any(line.startswith(f"{count} of {count} files, {frames} frames: ") for line in lines)


def test_only_one_process_works_at_a_shard(model, videos, tmp_path):
    def again(*_: object) -> None:
        encode_folder(model, videos, tmp_path / "out", "tiny", SMALL)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stlatent.jobs.encode.merged", again)
        with pytest.raises(ValueError, match="another process works at"):
            encode_folder(model, videos, tmp_path / "out", "tiny", SMALL)


# bad input ------------------------------------------------------------------------------------

HOSTILE = """
import stlatent.media.video.readers as readers, time, os
class Reader(readers.VideoReader):
    def read(self, indices):
        if "crash" in self.path.name: os.abort()
        if "hang" in self.path.name: time.sleep(1000)
        return super().read(indices)
readers.VideoReader = Reader
"""


def test_decoders_that_crash_or_hang_cost_one_file_each(model, tmp_path, monkeypatch):
    for name in ("a.mp4", "b_crash.mp4", "c.mp4", "d_hang.mp4", "e_crash.mp4", "f.mp4"):
        write_video(tmp_path / "in" / name, (3, 16, 32))
    start = reader.START.replace("from stlatent.jobs", HOSTILE + "from stlatent.jobs", 1)
    monkeypatch.setattr(reader, "START", start)
    result = encode_folder(model, tmp_path / "in", tmp_path / "out", "tiny", limit_seconds=2)
    assert [(f.name, f.stage) for f in result.failed] == [
        ("b_crash.mp4", "open"),
        ("d_hang.mp4", "open"),
        ("e_crash.mp4", "open"),
    ]
    assert "SIGABRT" in result.failed[0].reason and "did not answer" in result.failed[1].reason
    assert list(LatentStore(tmp_path / "out").items) == ["a.mp4", "c.mp4", "f.mp4"]


def test_a_decoder_that_cannot_start_is_no_fault_of_the_files(model, videos, tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "START", "import no_such_module")
    with pytest.raises(RuntimeError, match="no_such_module"):
        encode_folder(model, videos, tmp_path / "out", "tiny")


@pytest.mark.skipif(sys.platform != "linux", reason="no limit elsewhere")
def test_a_reading_process_cannot_take_all_memory():
    greedy = """
import resource
from stlatent.jobs.child import bound_memory
bound_memory()
limit = resource.getrlimit(resource.RLIMIT_AS)[0]
small = bytearray(2**20)
try:
    bytearray(limit)
except MemoryError:
    print("refused")
"""
    ran = subprocess.run([sys.executable, "-c", greedy], capture_output=True, text=True)
    assert ran.stdout == "refused\n"


NARROW = """
import mmap, stlatent.jobs.child as child
class Narrow:
    @staticmethod
    def mmap(memory, size):
        if size > 2**20:
            raise OSError(12, "Cannot allocate memory")
        return mmap.mmap(memory, size)
child.mmap = Narrow
"""


def test_a_file_beyond_the_memory_costs_itself_alone(model, tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    for name, side in (("a", 32), ("b_large", 800), ("c", 32), ("d_large", 900), ("e", 48)):
        Image.new("RGB", (side, side)).save(tmp_path / "in" / f"{name}.png")
    start = reader.START.replace("from stlatent.jobs", NARROW + "from stlatent.jobs", 1)
    monkeypatch.setattr(reader, "START", start)
    result = encode_folder(model, tmp_path / "in", tmp_path / "out", "tiny", limit_seconds=20)
    assert [f.name for f in result.failed] == ["b_large.png", "d_large.png"]
    assert all("Cannot allocate memory" in f.reason for f in result.failed)
    assert list(LatentStore(tmp_path / "out").items) == ["a.png", "c.png", "e.png"]


def test_a_picture_that_is_huge_once_it_is_resized(model, tmp_path):
    (tmp_path / "in").mkdir()
    Image.new("1", (1, 100_000)).save(tmp_path / "in" / "thin.png")
    Image.new("RGB", (40, 30)).save(tmp_path / "in" / "good.png")
    options = SMALL.model_copy(update={"short_side": 96})
    result = encode_folder(model, tmp_path / "in", tmp_path / "out", "tiny", options)
    assert [f.name for f in result.failed] == ["thin.png"]
    assert "9600000x96" in result.failed[0].reason


def test_transparent_pixels_over_a_background(model, tmp_path):
    (tmp_path / "in").mkdir()
    Image.new("RGBA", (32, 32), (9, 9, 9, 0)).save(tmp_path / "in" / "clear.png")
    for name, colour in (("white", (255, 255, 255)), ("blue", (0, 0, 255))):
        options = SMALL.model_copy(update={"background": colour})
        encode_folder(model, tmp_path / "in", tmp_path / name, "tiny", options)
        Image.new("RGB", (32, 32), colour).save(tmp_path / "plain.png")
        encode_folder(model, tmp_path / "plain.png", tmp_path / "plain" / name, "tiny", options)
        levels = [LatentStore(tmp_path / part / name) for part in ("", "plain")]
        for a, b in zip(
            *(store.read(next(iter(store.items))).levels for store in levels), strict=True
        ):
            assert torch.equal(a, b)
    with pytest.raises(ValueError, match="other --background"):
        encode_folder(model, tmp_path / "in", tmp_path / "white", "tiny", options)


def test_absurd_sizes_are_refused_by_their_header(model, tmp_path):
    (tmp_path / "in").mkdir()
    Image.new("1", (12000, 12000)).save(tmp_path / "in" / "bomb.png")
    Image.new("RGB", (40, 30)).save(tmp_path / "in" / "good.png")
    result = encode_folder(model, tmp_path / "in", tmp_path / "out", "tiny")
    assert [(f.name, f.stage) for f in result.failed] == [("bomb.png", "open")]
    assert "12000x12000" in result.failed[0].reason


def test_what_failed_is_tried_again(model, videos, undisturbed, tmp_path):
    """As if the file had been good from the start, and nothing else is encoded again."""
    root, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(videos, root)
    options = SMALL.model_copy(update={"unit_files": 64, "dtype": ("int8",)})
    assert len(encode_folder(model, root, out, "tiny", options).failed) == 1
    write_video(root / "text.mp4", (5, 32, 32))
    with pytest.raises(ValueError, match="text.mp4 is changed"):
        encode_folder(model, root, out, "tiny", options)
    result = encode_folder(model, root, out, "tiny", options, retry_failed=True)
    assert (result.sources, result.failed, result.left) == (1, (), 0)
    encode_folder(model, root, tmp_path / "fresh", "tiny", options)
    assert content(out) == content(tmp_path / "fresh")
    encode_folder(model, root, out, "tiny", options, retry_failed=True)  # nothing is left to try
    assert content(out) == content(tmp_path / "fresh")


def test_damaged_files_of_every_kind(model, videos, tmp_path):
    """As `benchmark_jobs.py` damages them: every good one is encoded, every bad one named."""
    kinds = benchmark_jobs.DAMAGE
    shutil.copytree(videos / "sub", tmp_path / "in")
    chance = np.random.default_rng(0)
    good = (videos / "two.mp4").read_bytes()
    for i, (kind, damaged) in enumerate([*kinds.items()] * 3):
        suffix, values = damaged(good, chance)
        (tmp_path / "in" / f"{kind}{i}{suffix}").write_bytes(values)
    result = encode_folder(model, tmp_path / "in", tmp_path / "out", "tiny", limit_seconds=20)
    encoded, named = {*LatentStore(tmp_path / "out").items}, {f.name for f in result.failed}
    assert not encoded & named
    assert len(encoded | named) == 2 + 3 * len(kinds)
    assert {name for name in encoded if name[0] != "f"} == {"seventeen.mp4", "deep/thirty.mp4"}


# any input ------------------------------------------------------------------------------------


def test_rates_clips_and_sizes(model, videos, tmp_path):
    update = {"short_side": 24, "fps": 12.5, "clip_frames": 6, "unit_files": 64}
    encode_folder(model, videos, tmp_path / "out", "tiny", SMALL.model_copy(update=update))
    store = LatentStore(tmp_path / "out")
    thirty = [item for item in store.items.values() if item.source == "sub/deep/thirty.mp4"]
    assert [(i.name[-8:], i.start, i.size) for i in thirty] == [
        ("/0000000", 0, (6, 24, 34)),
        ("/0000006", 6, (6, 24, 34)),
        ("/0000012", 12, (3, 24, 34)),
    ]
    assert {item.fps for item in store.items.values()} == {12.5}
    x = torch.from_numpy(pixels(videos / "sub/deep/thirty.mp4")[::2][6:12]).movedim(-1, 1)
    x = torch.nn.functional.interpolate(x, (24, 34), mode="bicubic", antialias=True)
    expected = model.encode(to_float(x.movedim(1, -1))[None])
    for a, b in zip(store.read(thirty[1].name).levels, expected.levels, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    made = decode_store(model, store, tmp_path / "videos")
    assert tmp_path / "videos" / "sub/deep/thirty.mp4/0000012.mp4" in made
    assert pixels(made[-2]).shape[1:3] == store.items[list(store.items)[-2]].size[1:]


def test_decoding_goes_on_after_an_interruption(model, videos, tmp_path, monkeypatch):
    encode_folder(model, videos, tmp_path / "z", "video", SMALL)
    store, out, write = LatentStore(tmp_path / "z"), tmp_path / "out", Clips.write
    whole = decode_store(model, store, tmp_path / "whole")
    begun = []

    def interrupted(medium, path, *rest):
        begun.append(path)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return write(medium, path, *rest)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match="goes on"):
        patch.setattr(Clips, "write", interrupted)
        decode_store(model, store, out)
    first = begun[0].stat().st_mtime_ns
    tuned = copy.deepcopy(model)  # reads the same latents
    tuned.config = model.config.model_copy(update={"latents_of": fingerprint(model)})
    with torch.no_grad():
        next(tuned.head.parameters()).add_(0.1)
    for another in ({"model": model, "levels": 1}, {"model": tuned}):
        with pytest.raises(ValueError, match="exists"):
            decode_store(**{"store": store, "out": out} | another)
    made = decode_store(model, store, out)
    assert begun[0].stat().st_mtime_ns == first
    assert [path.read_bytes() for path in made] == [path.read_bytes() for path in whole]
    assert {path for path in out.rglob("*") if path.is_file()} == {*made}
    with pytest.raises(ValueError, match="exists"):  # it is complete
        decode_store(model, store, out)


def test_scenes_are_apart(model, tmp_path):
    dark = moving_pattern(12, 32, 32) // 4
    light = 255 - moving_pattern(9, 32, 32)[:, ::-1] // 4
    with Mp4Writer(tmp_path / "in" / "a.mp4", (32, 32), 25) as writer:
        writer.write(np.concatenate([dark, light]))
    for clip_frames, expected in (
        (None, [(0, 12), (12, 9)]),
        (8, [(0, 8), (8, 4), (12, 8), (20, 1)]),
    ):
        options = SMALL.model_copy(update={"scenes": True, "clip_frames": clip_frames})
        encode_folder(model, tmp_path / "in", tmp_path / f"{clip_frames}", "tiny", options)
        items = LatentStore(tmp_path / f"{clip_frames}").items.values()
        assert [(item.start, item.size[0]) for item in items] == expected


def test_variable_rates_become_even_ones(tmp_path):
    """A frame is shown until the next one comes: 0, 0.1, 0.5, 0.6 and 1.0 seconds."""
    rate, times = 10, [0, 1, 5, 6, 10]
    with av.open(str(tmp_path / "a.mp4"), "w") as file:
        stream = file.add_stream("libx264", rate=rate, width=32, height=32, pix_fmt="yuv420p")
        stream.codec_context.time_base = Fraction(1, rate)
        for time, pixels in zip(times, moving_pattern(5, 32, 32), strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = time
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    with VideoReader(tmp_path / "a.mp4") as reader:
        assert reader.at_rate(10).tolist()[:11] == [0, 1, 1, 1, 1, 2, 3, 3, 3, 3, 4]
        assert reader.at_rate(2).tolist() == [0, 2, 4]


def test_frames_are_those_shown_at_each_instant(model, tmp_path, monkeypatch):
    """More frames than there are: each is repeated, none decoded twice."""
    write_video(tmp_path / "in" / "a.mp4", (5, 32, 48), fps=10)
    monkeypatch.setattr("stlatent.model.device.CPU_CHUNK_PIXELS", 1)
    seen = []
    real = TiledEncoder.push
    monkeypatch.setattr(
        TiledEncoder, "push", lambda self, x: (seen.append(x.clone()), real(self, x))[1]
    )
    options = SMALL.model_copy(update={"fps": 25.0})
    encode_folder(model, tmp_path / "in", tmp_path / "out", "tiny", options)
    shown = np.floor(np.arange(13) / 25 * 10 + 0.1).astype(int)
    frames = torch.cat(seen, 2)[0].movedim(0, -1).numpy()
    np.testing.assert_array_equal(frames, pixels(tmp_path / "in/a.mp4")[shown])


def test_equal_shapes_go_through_together(model, tmp_path, monkeypatch):
    """And give what each gives by itself."""
    for i, size in enumerate([(3, 16, 32), (3, 32, 16), (3, 16, 32), (3, 16, 32), (40, 16, 32)]):
        write_video(tmp_path / "in" / f"{i}.mp4", size, fps=10 + i)
    monkeypatch.setattr("stlatent.model.device.CPU_CHUNK_PIXELS", 2 * 3 * 16 * 32)
    batches = []
    real = TiledEncoder.push
    monkeypatch.setattr(
        TiledEncoder,
        "push",
        lambda self, x: (batches.append((len(x), x.shape[2])), real(self, x))[1],
    )
    options = SMALL.model_copy(update={"unit_files": 64})
    encode_folder(model, tmp_path / "in", tmp_path / "out", "tiny", options)
    assert batches[0] == (2, 3) and batches[-2:] == [(1, 3), (1, 3)] and (1, 8) in batches
    store = LatentStore(tmp_path / "out")
    assert [item.fps for item in store.items.values()] == [10, 11, 12, 13, 14]
    for name in store.items:
        _, expected = whole(model, tmp_path / "in" / name)
        for a, b in zip(store.read(name).levels, expected.levels, strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


# tiles ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(96, 70), (33, 531), (20, 20), (48, 49)])
def test_tiles_cover_the_frame_and_join_without_a_seam(size):
    tiling = Tiling(size, (16, 16), 48)
    assert all(min(t.size) >= 16 and max(t.size) <= 48 for t in tiling.tiles)
    ramp = torch.arange(size[0]).float()[:, None] * 3 + torch.arange(size[1]).float()
    parts = [ramp[t.slices] for t in tiling.tiles]
    torch.testing.assert_close(tiling.join(parts), ramp)
    grid = [-(-n // 16) * 2 for n in size]
    latents = torch.rand(3, *grid)
    torch.testing.assert_close(tiling.join(tiling.split(latents, (8, 8)), (8, 8)), latents)


def test_tiled_coding_is_that_of_the_whole_far_from_seams(model):
    x = moving_pattern(10, 48, 160)[None]
    code = {}
    for tile in (None, 64):
        encoder = TiledEncoder(model, (48, 160), tile=tile)
        frames = torch.from_numpy(x).movedim(-1, 1)
        pieces = [encoder.push(part) for part in frames.split([7, 3], 2)] + [encoder.end()]
        levels = zip(*[p for p in pieces if p], strict=True)
        code[tile] = [torch.cat([part.latents for part in parts], 2) for parts in levels]
    for a, b in zip(code[None], code[64], strict=True):
        assert a.shape == b.shape
    latents = model.encode(to_float(x)).levels
    for a, z in zip(code[None], latents, strict=True):
        torch.testing.assert_close(a, z)
    for tile in (None, 64):
        decoder = TiledDecoder(model, (48, 160), tile=tile)
        code[tile] = to_uint8(decoder.push(latents)[0])[:10]
    assert (
        np.abs(code[None].astype(int) - to_uint8(model.decode(model.encode(to_float(x)))[0])).max()
        <= 1
    )
    assert code[64].shape == code[None].shape


# elsewhere ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bucket() -> str:
    """A bucket on an S3 server of this process."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        import fsspec

        fsspec.filesystem("s3").call_s3("create_bucket", Bucket="data")
        yield "s3://data"
    server.stop()


def test_buckets_hold_what_folders_do(model, videos, undisturbed, bucket, tmp_path):
    import fsspec

    fs = fsspec.filesystem("s3")
    fs.put(f"{videos}/", f"{bucket}/in/", recursive=True)
    encode_folder(model, f"{bucket}/in", f"{bucket}/out", "tiny", SMALL)
    fs.get(f"{bucket}/out/", f"{tmp_path}/copy/", recursive=True)
    assert content(tmp_path / "copy") == content(undisturbed)
    store, local = LatentStore(f"{bucket}/out"), LatentStore(undisturbed)
    for a, b in zip(store.read("two.mp4").levels, local.read("two.mp4").levels, strict=True):
        assert torch.equal(a, b)
    forked = DataLoader(LatentDataset(f"{bucket}/out"), num_workers=1, collate_fn=collate)
    for a, b in zip(forked, LatentDataset(undisturbed), strict=True):
        assert all(torch.equal(y[0], z) for y, z in zip(a.latents, b.latents, strict=True))
    assert job_status(f"{bucket}/out").complete
    with pytest.raises(ValueError, match="--replace works on this machine"):
        encode_folder(model, videos, f"{bucket}/out", "tiny", replace=True)


def test_a_commit_that_fails_leaves_no_object(model, videos, bucket, monkeypatch):
    from stlatent.store.place import Place

    def blocks():
        yield b"half"
        raise ZeroDivisionError

    place = Place(f"{bucket}/broken")
    with pytest.raises(ZeroDivisionError):
        place.put("a.bin", blocks())
    assert not place.exists("a.bin") and place.names() == []


def test_failed_is_a_line_each(undisturbed):
    lines = (undisturbed / "failed.jsonl").read_text().splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["text.mp4"]
    assert set(json.loads(lines[0])) == {"name", "stage", "reason"}
