"""A limit for a whole data set: kept, used, and shared out whoever does which part."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
from test_jobs import content, killed

import stlatent
from stlatent.cli.options import byte_count
from stlatent.jobs.encode import EncodeResult, encode_folder
from stlatent.jobs.options import EncodeOptions
from stlatent.jobs.record import read_job
from stlatent.jobs.verify import verify_store
from stlatent.media.video.clips import centre_clip
from stlatent.media.video.pixels import to_uint8
from stlatent.media.video.write import Mp4Writer
from stlatent.store.reader import LatentStore

pytest.importorskip("constriction")
CLIPS = Path(__file__).parents[1] / "assets" / "clips"
LIMIT = 6000


@pytest.fixture(scope="module")
def model() -> stlatent.Ladder:
    return stlatent.load("video")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A moving clip, a part of it, and its first frame for as long."""
    root = tmp_path_factory.mktemp("clips")
    x, fps = centre_clip(CLIPS / "wolf.mp4", (17, 64, 64))
    frames = to_uint8(x)[0]
    shown = {"moving": frames, "part": frames[:9, :32], "still": np.repeat(frames[:1], 17, 0)}
    for name, frames in shown.items():
        with Mp4Writer(root / f"{name}.mp4", frames.shape[1:3], fps) as writer:
            writer.write(np.ascontiguousarray(frames))
    return root


def encode(model, clips: Path, out: Path, limit: int, **how) -> EncodeResult:
    options = EncodeOptions(size_limit=limit, unit_files=1)
    return encode_folder(model, clips, out, "video", options, **how)


def level_bytes(folder: Path) -> dict[str, int]:
    """Of each file of latents."""
    return {str(p.relative_to(folder)): p.stat().st_size for p in folder.glob("level_*/*")}


@pytest.fixture(scope="module")
def limited(model, clips, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("data") / "limited"
    result = encode(model, clips, out, LIMIT)
    assert not result.failed and "out of reach" not in str(result)
    return out


def test_the_limit_is_kept_and_used_by_shares_of_the_bytes(clips, limited):
    sizes, store = level_bytes(limited), LatentStore(limited)
    assert 0.7 * LIMIT < sum(sizes.values()) <= LIMIT
    source_bytes = {path.name: path.stat().st_size for path in clips.iterdir()}
    assert read_job(store.place).source_bytes == sum(source_bytes.values())
    for name, own in source_bytes.items():
        unit = store.unit(name)
        taken = sum(
            size for file, size in sizes.items() if file.endswith(f"{unit:05d}.safetensors")
        )
        assert taken <= LIMIT * own / sum(source_bytes.values())
    assert not verify_store(limited)[2] and store.manifest.coding.target.size_bytes == LIMIT
    assert store.manifest.missed is None  # the limit is of all items together


def test_more_bytes_are_more_decibels(model, clips, limited, tmp_path):
    encode(model, clips, tmp_path / "more", 2 * LIMIT)
    sizes = [sum(level_bytes(folder).values()) for folder in (limited, tmp_path / "more")]
    assert sizes[0] < sizes[1] <= 2 * LIMIT
    worst = [
        min(chunk.psnr_db for item in LatentStore(folder).items.values() for chunk in item.chunks)
        for folder in (limited, tmp_path / "more")
    ]
    assert worst[0] < worst[1]


def test_what_is_killed_and_shared_comes_to_the_same_bytes(model, clips, limited, tmp_path):
    def work(shard: tuple[int, int]) -> None:
        encode(model, clips, tmp_path / "out", LIMIT, shard=shard)

    assert killed(lambda: work((1, 2)), 4)
    work((1, 2))
    work((0, 2))
    assert content(tmp_path / "out") == content(limited)
    with pytest.raises(ValueError, match=r"other --size-limit \(6000 there, 6001 here\)"):
        encode(model, clips, tmp_path / "out", LIMIT + 1)


def test_items_of_a_unit_share_what_is_left(model, clips, tmp_path):
    options = EncodeOptions(size_limit=LIMIT, clip_frames=9)
    result = encode_folder(model, clips, tmp_path / "z", "video", options)
    assert result.items == 5 and sum(level_bytes(tmp_path / "z").values()) <= LIMIT


def test_a_limit_below_what_is_least_is_said_in_a_line(model, clips, tmp_path):
    result = encode(model, clips, tmp_path / "z", 100)
    assert sum(level_bytes(tmp_path / "z").values()) > 100
    (line,) = [line for line in str(result).splitlines() if "out of reach" in line]
    assert line.startswith("the limit of 100 bytes is out of reach")


def test_sizes_are_read_as_people_write_them():
    sizes = {"2GiB": 2**31, "1.5 GB": 1500000000, "64M": 2**26, "1000": 1000, "3kB": 3000}
    assert {text: byte_count(text) for text in sizes} == sizes
    for text in ("", "0", "-1GB", "2 GiBs", "nan", "0.1B"):
        with pytest.raises(argparse.ArgumentTypeError, match="no size"):
            byte_count(text)
    with pytest.raises(ValueError, match="--bits-per-pixel and --size-limit all say"):
        EncodeOptions(size_limit=10, bits_per_pixel=1.0)
