"""Which sources a job is of, whether they are still the same, and how they are cut into units."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from domains import ladder
from test_codec import EXACT, write_video
from test_jobs import content, killed

from stlatent import Ladder
from stlatent.jobs.encode import encode_folder
from stlatent.jobs.inputs import UNIT_BYTES, UNITS, Input, cut
from stlatent.jobs.marks import END_BYTES, local_mark, remote_marks
from stlatent.jobs.status import job_status
from stlatent.store.place import Place
from stlatent.store.reader import LatentStore


@pytest.fixture(scope="module")
def model() -> Ladder:
    return ladder("video")


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        write_video(tmp_path / "in" / name, (3, 16, 32))
    return tmp_path / "in"


def other(path: Path, place: int) -> None:
    """One byte is another, size and time are as they were."""
    when, values = path.stat().st_mtime_ns, bytearray(path.read_bytes())
    values[place] ^= 1
    path.write_bytes(values)
    os.utime(path, ns=(when, when))


# still the same -------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 700, -1])
def test_a_source_of_equal_size_and_time_is_seen_to_be_another(model, videos, tmp_path, place):
    encode_folder(model, videos, tmp_path / "out", "tiny", EXACT)
    encode_folder(model, videos, tmp_path / "out", "tiny", EXACT)
    other(videos / "b.mp4", place)
    with pytest.raises(ValueError, match=r"other sources \(b.mp4 is changed\)"):
        encode_folder(model, videos, tmp_path / "out", "tiny", EXACT)


def test_of_long_sources_the_time_tells_what_lies_between(model, videos, tmp_path):
    """And a copy that keeps its time, or is short, is the same source."""
    with open(videos / "b.mp4", "ab") as file:
        file.write(bytes(3 * END_BYTES))
    out = tmp_path / "out"
    encode_folder(model, videos, out, "tiny", EXACT)
    before = content(out)
    shutil.copytree(videos, tmp_path / "copy")  # times are kept
    later = time.time() + 100
    os.utime(tmp_path / "copy" / "a.mp4", (later, later))
    encode_folder(model, tmp_path / "copy", out, "tiny", EXACT)
    assert content(out) == before
    os.utime(tmp_path / "copy" / "b.mp4", (later, later))
    with pytest.raises(ValueError, match=r"b.mp4 is newer than the job"):
        encode_folder(model, tmp_path / "copy", out, "tiny", EXACT)


def test_folders_of_frames_are_marked_as_a_whole(tmp_path):
    for i in range(4):
        (tmp_path / f"{i}.png").write_bytes(bytes([i]) * 10)
    size, ends, _ = local_mark(tmp_path)
    assert (size, ends) == local_mark(tmp_path)[:2] and size == 40
    for change in (lambda: (tmp_path / "1.png").rename(tmp_path / "9.png"),
                   lambda: (tmp_path / "9.png").write_bytes(b"x" * 10)):  # fmt: skip
        change()
        assert local_mark(tmp_path)[1] != ends
        ends = local_mark(tmp_path)[1]


@pytest.mark.parametrize("size", [0, 1, END_BYTES, END_BYTES + 1, 2 * END_BYTES, 5 * END_BYTES])
def test_marks_are_the_same_everywhere(tmp_path, size):
    path = tmp_path / "a.bin"
    path.write_bytes(np.random.default_rng(0).bytes(size))
    place = Place(tmp_path)
    found = list(place.fs.find(place.root, detail=True).items())
    assert [mark[:2] for mark in remote_marks(place.fs, found)] == [local_mark(path)[:2]]


# older jobs -----------------------------------------------------------------------------------


def age(out: Path) -> None:
    """As jobs were written down before sources had marks: all in one unit."""
    lines = [json.loads(line) for line in (out / "inputs.jsonl").read_text().splitlines()]
    for line in lines:
        del line["ends"]
        line["unit"] = 0
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (out / "inputs.jsonl").write_text(text)
    job = json.loads((out / "job.json").read_text())
    job |= {"inputs": hashlib.sha256(text.encode()).hexdigest(), "units": 1}
    (out / "job.json").write_text(json.dumps(job))


def test_jobs_without_marks_go_on_in_the_units_they_have(model, videos, tmp_path, monkeypatch):
    out = tmp_path / "out"
    monkeypatch.setattr("stlatent.jobs.inputs.UNIT_SECONDS", 0)
    assert killed(lambda: encode_folder(model, videos, out, "tiny", EXACT), 3)
    assert job_status(out).units == 3
    age(out)
    encode_folder(model, videos, out, "tiny", EXACT)
    assert len(LatentStore(out).items) == 3 and len(list((out / "units").iterdir())) == 1
    other(videos / "b.mp4", 700)
    with pytest.raises(ValueError, match=r"b.mp4 is changed"):
        encode_folder(model, videos, out, "tiny", EXACT)


@pytest.mark.parametrize("line", ["", "[]", '{"name": 1}', '{"name": "a"', "[" * 100_000])
def test_lists_of_sources_that_cannot_be_read(model, videos, tmp_path, line):
    encode_folder(model, videos, tmp_path / "out", "tiny", EXACT)
    (tmp_path / "out" / "inputs.jsonl").write_text(line + "\n")
    write_video(videos / "d.mp4", (1, 16, 16))
    with pytest.raises(ValueError, match=r"inputs\.jsonl"):
        encode_folder(model, videos, tmp_path / "out", "tiny", EXACT)


# units ----------------------------------------------------------------------------------------


def sources(kind: str, sizes: list[int]) -> list[Input]:
    return [Input(f"{i:06d}", kind, size, "", "", 0.0) for i, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("kind", "bytes", "count", "expected"),
    [
        ("video", 60_000, 4, [4]),  # a few seconds in all
        ("video", 60_000, 64, [15, 15, 15, 15, 4]),
        ("video", 5_000_000, 20, [1] * 20),
        ("image", 80_000, 300, [64, 64, 64, 64, 44]),
        ("mesh", 500_000, 15, [7, 7, 1]),
    ],
)
def test_units_are_some_seconds_of_work(kind, bytes, count, expected):
    assert [len(unit) for unit in cut(sources(kind, [bytes] * count), 64)] == expected


def test_large_jobs_have_no_more_units_than_are_useful():
    sizes = [int(size) for size in np.random.default_rng(0).integers(10**5, 3 * 10**6, 20_000)]
    inputs = sources("video", sizes)
    units = cut(inputs, 64)
    assert [one for unit in units for one in unit] == inputs
    assert len(units) <= UNITS and max(map(len, units)) <= 64
    huge = cut(sources("video", [10**7] * 5000), 64)
    assert max(sum(one.bytes for one in unit) for unit in huge) < UNIT_BYTES + 10**7


def test_a_small_job_that_is_killed_goes_on_where_it_was(model, videos, tmp_path, monkeypatch):
    monkeypatch.setattr("stlatent.jobs.inputs.UNIT_SECONDS", 0)

    def work() -> None:
        encode_folder(model, videos, tmp_path / "out", "tiny", EXACT)

    assert killed(work, 3)
    status = job_status(tmp_path / "out")
    assert status.units_done == 0 and "no unit is done yet; begun" in str(status)
    assert "last unit" not in str(status)
    assert killed(work, 7)
    status = job_status(tmp_path / "out")
    assert status.units_done == 1 and "last unit done" in str(status)
    encode_folder(model, videos, tmp_path / "alone", "tiny", EXACT)
    work()
    assert content(tmp_path / "out") == content(tmp_path / "alone")
