"""Bitstreams: what is read is what was chosen, at the size that the priors promise, anywhere."""

from __future__ import annotations

import math
import os
import struct
import subprocess
import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from domains import SIZES, batch, ladder

import stlatent
from stlatent import Ladder, Latents, Level
from stlatent.codec.bitstream import read_bitstream, read_latents, write_bitstream
from stlatent.codec.bitstream_file import BitstreamFile
from stlatent.codec.bitstream_writer import BitstreamWriter, default_chunk_frames
from stlatent.codec.entropy import MismatchError, StreamReader, StreamWriter
from stlatent.codec.quantise import STEP, Writing, bin_mass
from stlatent.config import CodebookConfig
from stlatent.data import centre_clip

pytest.importorskip("constriction")
CLIPS = Path(__file__).parents[1] / "assets" / "clips"


def chosen(model: Ladder, x: torch.Tensor, steps: Sequence[float] = (STEP,) * 3) -> Latents:
    """The rounded latents themselves, by the encoder's own pass."""
    with torch.no_grad():
        return model.encode(x, Writing(steps))


def coded_ladder() -> Ladder:
    """Codes at levels 0 and 2, of sizes that are no power of two, and two codes a position."""
    books = CodebookConfig(kind="fsq", steps=(4, 5, 3)), None, CodebookConfig(size=37, depth=2)
    levels = tuple(
        Level(stride=(s, s), width=16, latent=4, groups=1 + (s == 8), blocks=1, codebook=book)
        for s, book in zip((16, 8, 4), books)
    )
    return ladder("image", levels=levels)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Ladder, Latents, Path]:
    """A short video in one chunk."""
    path, model, x = tmp_path_factory.mktemp("bits") / "a.stl", ladder("video"), batch("video")[:1]
    write_bitstream(model, x, path, fps=12.5)
    return model, chosen(model, x), path


@pytest.mark.parametrize("variant", [*SIZES, "codes"])
def test_latents_come_back_exactly(variant, tmp_path):
    model = coded_ladder() if variant == "codes" else ladder(variant)
    x = batch("image" if variant == "codes" else variant)[:1]
    summary = write_bitstream(model, x, tmp_path / "a.stl")
    latents = chosen(model, x)
    (read,) = read_latents(model, tmp_path / "a.stl")
    assert read.size == latents.size == tuple(x.shape[2:])
    assert all(map(torch.equal, read.levels, latents.levels))
    (decoded,) = read_bitstream(model, tmp_path / "a.stl")
    assert torch.equal(decoded, model.decode(latents))
    assert summary.bytes == (tmp_path / "a.stl").stat().st_size
    assert [level.numbers for level in summary.levels if level.kl_bits != level.rate_bits] == [
        z.numel() for z, lv in zip(latents.levels, model.levels) if not lv.codebook
    ]


def test_a_file_cut_behind_a_level_is_a_coarser_file(written, tmp_path):
    model, latents, path = written
    data, file = path.read_bytes(), BitstreamFile(path)
    assert file.header.fps == 12.5
    end = len(data) - sum(level.bytes for level in file.header.levels)
    for kept, level in enumerate(file.header.levels, 1):
        end += level.bytes
        (tmp_path / "cut.stl").write_bytes(data[:end])
        (frames,) = read_bitstream(model, tmp_path / "cut.stl")
        assert torch.equal(frames, model.decode(latents, levels=kept))
        assert torch.equal(frames, next(read_bitstream(model, path, levels=kept)))
        (tmp_path / "cut.stl").write_bytes(data[: end - 1])
        with pytest.raises(ValueError, match=f"holds {kept - 1} of its 3 levels in whole"):
            read_bitstream(model, tmp_path / "cut.stl", levels=kept)
        if kept > 1:
            with pytest.raises(ValueError, match=f"give levels={kept - 1} to read what is whole"):
                read_bitstream(model, tmp_path / "cut.stl")
    assert end == len(data)


def test_a_long_video_goes_chunk_by_chunk(tmp_path):
    model, x = ladder("video"), batch("video", (30, 37, 50), count=1)
    one, many = tmp_path / "one.stl", tmp_path / "many.stl"
    write_bitstream(model, x, one, chunk_frames=8)
    write_bitstream(model, x.split([1, 7, 2, 16, 4], 2), many, chunk_frames=8)
    assert one.read_bytes() == many.read_bytes()  # however the pieces come
    frames = list(read_bitstream(model, one))
    assert [part.shape[2] for part in frames] == [9, 8, 8, 5]
    latents = zip(*(part.levels for part in read_latents(model, one)))
    together = Latents(tuple(torch.cat(level, 2) for level in latents), (30, 37, 50))
    torch.testing.assert_close(torch.cat(frames, 2), model.decode(together), atol=1e-4, rtol=0)
    assert default_chunk_frames(8, (256, 256)) == 32 and default_chunk_frames(8, (4000, 4000)) == 8


def test_size_is_the_rate_that_the_priors_promise(tmp_path):
    model, x = stlatent.load("video"), centre_clip(CLIPS / "wolf.mp4", (17, 256, 256))[0]
    summary = write_bitstream(model, x, tmp_path / "a.stl")
    assert 1 < 8 * summary.bytes / summary.rate_bits < 1.02
    # flat noise of a Gaussian's variance costs more than it does, by the difference in entropy
    more = 0.5 * math.log2(2 * math.pi * math.e / 12) * sum(lv.numbers for lv in summary.levels)
    kl_bits = sum(level.kl_bits for level in summary.levels)
    assert 0.95 * kl_bits < summary.rate_bits < kl_bits + 1.02 * more


def test_so_it_is_with_coarser_steps(tmp_path):
    model, x = stlatent.load("video"), centre_clip(CLIPS / "coffee_pour.mp4", (17, 128, 128))[0]
    summary = write_bitstream(model, x, tmp_path / "a.stl", step=(16, 32, 64))
    streams = 8 * (summary.bytes - summary.header_bytes)
    assert 1 < streams / summary.rate_bits < 1.02
    (frames,) = read_bitstream(model, tmp_path / "a.stl")
    assert torch.equal(frames, model.decode(chosen(model, x, (16, 32, 64))))


def test_bin_masses_are_those_of_the_normal_distribution():
    symbols, log_scale = torch.arange(-60, 61), torch.tensor([-2.0, 0.0, 2.0])[:, None]
    mass = bin_mass(symbols, log_scale)
    normal = torch.distributions.Normal(torch.zeros(3, 1).double(), log_scale.double().exp())
    expected = normal.cdf(symbols + 0.5) - normal.cdf(symbols - 0.5)
    assert torch.allclose(mass, expected.clamp(min=2.0**-24), atol=1e-12, rtol=0)


READ = """
import sys, numpy, torch, stlatent
from stlatent.codec.bitstream import read_latents
torch.set_num_threads(3)
(latents,) = read_latents(stlatent.load(sys.argv[1]), sys.argv[2])
numpy.savez(sys.argv[3], *(z.numpy() for z in latents.levels))
"""


def test_another_process_with_other_arithmetic_reads_the_same(tmp_path):
    model, x = stlatent.load("video"), centre_clip(CLIPS / "wolf.mp4", (9, 64, 96))[0]
    path, out = tmp_path / "a.stl", tmp_path / "read.npz"
    write_bitstream(model, x, path)
    plain = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}
    command = [sys.executable, "-c", READ, "video", str(path), str(out)]
    subprocess.run(command, check=True, env=os.environ | plain, timeout=120)
    with np.load(out) as read:
        for z, name in zip(chosen(model, x).levels, read.files, strict=True):
            torch.testing.assert_close(torch.from_numpy(read[name]), z, atol=1e-5, rtol=1e-5)


def test_float64_and_larger_batches_compute_the_same_symbols(written):
    model, latents, path = written
    (read,) = read_latents(ladder("video").double(), path)
    for a, b in zip(read.levels, latents.levels, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    both = chosen(model, batch("video")[:1].repeat(2, 1, 1, 1, 1))
    for a, b in zip(both.levels, latents.levels, strict=True):
        torch.testing.assert_close(a[:1], b, atol=1e-4, rtol=1e-4)


def test_streams_absorb_differences_up_to_the_tolerance_and_notice_larger_ones():
    random = np.random.default_rng(0)
    scale, odds = random.normal(1, 2, 5000), random.normal(0, 3, 3000)
    symbols = np.rint(np.exp(scale) * random.normal(size=5000)).astype(np.int32)
    symbols[7:9] = -4096, 123456  # far out
    bits = (random.random(3000) < 1 / (1 + np.exp(-odds))).astype(np.int32)
    writer = StreamWriter()
    writer.numbers(scale, symbols)
    writer.bits(odds, bits)
    assert writer.tolerance > 1e-4

    def read(factor: float) -> tuple[np.ndarray, np.ndarray]:
        noise = factor * writer.tolerance * random.choice([-1, 1], 8000)
        reader = StreamReader(BytesIO(writer.to_bytes()))
        result = reader.numbers(scale + noise[:5000]), reader.bits(odds + noise[5000:])
        reader.verify()
        return result

    for factor in (0, 0.999):
        assert all(map(np.array_equal, read(factor), (symbols, bits)))
    with pytest.raises(MismatchError):
        read(20)


def test_another_model_is_refused_and_other_priors_are_found_out(written, tmp_path):
    _, latents, path = written
    other = ladder("video")
    other.cells[1][1].head.out.weight += 0.01 * torch.randn_like(other.cells[1][1].head.out.weight)
    with pytest.raises(ValueError, match="give the model that wrote it"):
        read_bitstream(other, path)
    claimed = claiming(path, tmp_path / "claimed.stl", stlatent.fingerprint(other))
    with pytest.raises(ValueError, match=r"priors of level 1 at chunk 0 .* coarser: levels=1"):
        next(read_bitstream(other, claimed))
    (coarse,) = read_latents(other, claimed, levels=1)
    assert torch.equal(coarse.levels[0], latents.levels[0])


def claiming(path: Path, out: Path, fingerprint: str) -> Path:
    """The same file, said to be by another model."""
    header, data = BitstreamFile(path).header, path.read_bytes()
    length = len(data) - sum(level.bytes for level in header.levels)
    renamed = type(header)(**{**vars(header), "fingerprint": fingerprint})
    out.write_bytes(renamed.to_bytes() + data[length:])
    return out


def test_no_damage_goes_unnoticed(written, tmp_path):
    model, _, path = written
    data = path.read_bytes()
    for place in np.linspace(0, len(data) - 1, 60).astype(int):
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        (tmp_path / "a.stl").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"a\.stl"):
            list(read_bitstream(model, tmp_path / "a.stl"))
    for junk in (b"", b"RIFF", data[:40], data[:90]):
        (tmp_path / "a.stl").write_bytes(junk)
        with pytest.raises(ValueError, match=r"a\.stl"):
            read_bitstream(model, tmp_path / "a.stl")
    later = bytearray(data)
    struct.pack_into("<H", later, 8, 2)
    (tmp_path / "a.stl").write_bytes(later)
    with pytest.raises(ValueError, match="version 2"):
        read_bitstream(model, tmp_path / "a.stl")


def test_what_cannot_be_written_leaves_nothing_behind(written, tmp_path):
    model, _, path = written
    x, out = batch("video")[:1], tmp_path / "a.stl"

    def broken():
        yield x
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="gone"):
        write_bitstream(model, broken(), out, chunk_frames=8)
    with pytest.raises(ValueError, match="steps from their prior's mean"):
        write_bitstream(model, x, out, step=1e-9)
    for frames, words in (([], "nothing was given"), (batch("video"), "a batch of 2")):
        with pytest.raises(ValueError, match=words):
            write_bitstream(model, frames, out)
    with pytest.raises(ValueError, match="follow frames of"):
        write_bitstream(model, [x, x[..., :-1]], out)
    for arguments, words in (
        ({"chunk_frames": 12}, "a multiple of 8"),
        ({"step": (1.0, 2.0)}, "one per level"),
        ({"step": -1}, "one positive number"),
    ):
        with pytest.raises(ValueError, match=words):
            write_bitstream(model, x, out, **arguments)
    with pytest.raises(ValueError, match="training mode"):
        BitstreamWriter(ladder("video").train(), out)
    with pytest.raises(ValueError, match="exists"):
        write_bitstream(model, x, path)
    assert list(tmp_path.iterdir()) == []
