"""Entropy-coded latents: what is read is what was chosen, at the size that the priors promise."""

from __future__ import annotations

import io
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from domains import SIZES, batch, ladder
from test_codec import SIZES as VIDEOS
from test_codec import pixels, write_video
from test_jobs import content, killed

import stlatent
from stlatent import Ladder, Level
from stlatent.bits.bitstream import chunk_frames, make_coding
from stlatent.bits.coding import Coding
from stlatent.bits.decoder import read_clip
from stlatent.bits.encoder import StreamEncoder
from stlatent.bits.entropy import MismatchError, StreamReader, StreamWriter
from stlatent.bits.quantise import STEP, Reading, Writing, bin_mass
from stlatent.jobs.decode import decode_store
from stlatent.jobs.encode import encode_folder
from stlatent.jobs.options import EncodeOptions
from stlatent.jobs.verify import verify_store
from stlatent.media.codes import Code
from stlatent.media.video.clips import centre_clip
from stlatent.media.video.pixels import to_float, to_uint8
from stlatent.media.video.write import Mp4Writer
from stlatent.model.kinds import EmaCodebook, FsqCodebook
from stlatent.model.past import Past
from stlatent.store.reader import LatentStore

pytest.importorskip("constriction")
CLIPS = Path(__file__).parents[1] / "assets" / "clips"
BITS = EncodeOptions(entropy_code=True, unit_files=1)


def chosen(model: Ladder, x: torch.Tensor, step: float = STEP) -> tuple[torch.Tensor, ...]:
    """The rounded latents themselves, by the encoder's own pass."""
    with torch.no_grad():
        return model.encode(x, Writing([step] * len(model.levels))).levels


def written(
    model: Ladder,
    x: torch.Tensor,
    step: Sequence[float] = (STEP,),
    cuts: Sequence[int] = (),
    tile: int | None = None,
) -> list[Code]:
    """All of `x` `[1, 3, T, H, W]` (or without T) per level, given in pieces of `cuts` frames."""
    frames = (127.5 * (x.clamp(-1, 1) + 1)).round().byte()
    encoder = StreamEncoder(model, x.shape[-2:], make_coding(model, step), tile)
    pieces = [
        encoder.push(part) for part in frames.tensor_split(np.cumsum(cuts, dtype=int).tolist(), 2)
    ]
    levels = list(zip(*[piece for piece in [*pieces, encoder.end()] if piece]))
    return [
        Code(
            torch.cat([code.latents for code in level], 2),
            sum(code.bits for code in level),
            stream=b"".join(code.stream for code in level),
        )
        for level in levels
    ]


def read(model: Ladder, codes: Sequence[Code], size: Sequence[int], tile: int | None = None):
    files, coding = [io.BytesIO(code.stream) for code in codes], make_coding(model, [STEP])
    chunks = list(read_clip(model, coding, size, files, tile))
    assert not any(file.read() for file in files)
    return [torch.cat(level, 2) for level in zip(*chunks)]


def coded_ladder(domain: str = "image", groups: int = 2) -> Ladder:
    """Codes at levels 0 and 2, of sizes that are no power of two, and two codes a position."""
    pytest.importorskip("vector_quantize_pytorch")
    books = FsqCodebook(steps=(4, 5, 3)), None, EmaCodebook(size=300, depth=2)
    time = () if domain == "image" else (4,)
    levels = tuple(
        Level(
            stride=(*time, s, s),
            width=16,
            latent=4,
            groups=groups if s != 16 else 1,
            blocks=1,
            codebook=book,
        )
        for s, book in zip((16, 8, 4), books)
    )
    return ladder(domain, levels=levels)


@pytest.fixture(scope="module")
def model() -> Ladder:
    return ladder("video")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    for name in ("one.mp4", "two.mp4", "sub/seventeen.mp4"):
        write_video(root / name, VIDEOS[name])
    (root / "text.mp4").write_text("no video")
    return root


@pytest.fixture(scope="module")
def bits(model: Ladder, videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The videos, in chunks of one unit, so that the longest has two."""
    out = tmp_path_factory.mktemp("data") / "bits"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stlatent.bits.bitstream.CHUNK_PIXELS", 1)
        result = encode_folder(model, videos, out, "tiny", BITS)
    assert [failure.name for failure in result.failed] == ["text.mp4"]
    return out


# clips ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["image", "video", "codes"])
def test_latents_come_back_exactly(variant):
    model = coded_ladder() if variant == "codes" else ladder(variant)
    x = batch("image" if variant == "codes" else variant)[:1]
    x = to_float(to_uint8(x if x.ndim == 5 else x[:, :, None]))
    x = x if variant == "video" else x[:, :, 0]
    codes, expected = written(model, x), chosen(model, x)
    for k in range(1, 4):  # every prefix by itself
        found = read(model, codes[:k], x.shape[2:])
        assert all(map(torch.equal, found, expected[:k])) and len(found) == k
    assert all(map(torch.equal, (code.latents for code in codes), expected))


@pytest.mark.parametrize("variant", ["voxel", "triplane"])
def test_symbols_are_those_of_any_domain(variant):
    """Jobs are of videos and pictures; the streams are not."""
    model, x = ladder(variant), batch(variant)[:1]
    writing = Writing([STEP] * 3)
    expected = model.encode(x, writing).levels
    reading = Reading(writing.steps, [level.groups - 1 for level in model.levels])
    reading.start([StreamReader(io.BytesIO(s.content)) for s in writing.end_chunk()])
    grid = model.domain.shape(SIZES[variant], model.levels[0].stride)
    steps, _ = model.descend(reading, grid, Past(), levels=3)
    for k, z in enumerate(expected):
        assert torch.equal(torch.cat([s.z for s in steps if s.site.level == k], 1), z)


def test_a_long_video_goes_chunk_by_chunk_however_it_comes(model, monkeypatch):
    monkeypatch.setattr("stlatent.bits.bitstream.CHUNK_PIXELS", 8 * 37 * 50)
    x = batch("video", (30, 37, 50), count=1)
    one, many = written(model, x), written(model, x, cuts=(1, 7, 2, 16))
    assert [a.stream for a in one] == [b.stream for b in many]
    found = read(model, one, (30, 37, 50))
    assert all(torch.equal(a.latents, z) for a, z in zip(one, found, strict=True))
    monkeypatch.undo()
    coding = make_coding(model, [STEP])
    assert chunk_frames(model, coding, (256, 256)) == 32
    assert chunk_frames(model, coding, (4000, 4000)) == 8


@pytest.mark.parametrize("kind", ["gaussian", "codes"])
def test_tiles_have_streams_of_their_own(kind):
    model = ladder("video") if kind == "gaussian" else coded_ladder("video", groups=1)
    x = batch("video", (5, 48, 160), count=1)
    codes = written(model, x, tile=64)
    found = read(model, codes, (5, 48, 160), tile=64)
    assert all(torch.equal(a.latents, z) for a, z in zip(codes, found, strict=True))
    assert [z.shape for z in found] == [code.latents.shape for code in written(model, x)]
    if kind == "codes":  # no mean of two codes
        table = torch.stack([cell.posterior.codebook.table()[0] for cell in model.cells[0]])[0]
        nearest = torch.cdist(found[0].movedim(1, -1).flatten(0, -2), table).amin(1)
        assert nearest.max() < 1e-6


def test_size_is_the_rate_that_the_priors_promise(tmp_path):
    """Of the shipped model, on disk, with all that files hold beside the streams."""
    model, clip = stlatent.load("video"), tmp_path / "wolf.mp4"
    x, fps = centre_clip(CLIPS / "wolf.mp4", (17, 256, 256))
    with Mp4Writer(clip, (256, 256), fps) as writer:
        writer.write(to_uint8(x)[0])
    result = encode_folder(model, clip, tmp_path / "z", "video", BITS)
    files = sum(f.stat().st_size for f in (tmp_path / "z").glob("level_*/*"))
    assert files == sum(level.bytes for level in result.levels)
    (item,) = LatentStore(tmp_path / "z").items.values()
    rate_bits = sum(item.bits)
    assert 1 < 8 * files / rate_bits < 1.02
    # flat noise of a Gaussian's variance costs more than it does, by the difference in entropy
    kl = model(to_float(pixels(clip))[None]).latents.kl
    kl_bits = sum(nats.sum().item() for nats in kl) / math.log(2)
    numbers = sum(level.numbers for level in result.levels)
    more = 0.5 * math.log2(2 * math.pi * math.e / 12) * numbers
    assert 0.95 * kl_bits < rate_bits < kl_bits + 1.02 * more


def test_bin_masses_are_those_of_the_normal_distribution():
    symbols, log_scale = torch.arange(-60, 61), torch.tensor([-2.0, 0.0, 2.0])[:, None]
    mass = bin_mass(symbols, log_scale)
    normal = torch.distributions.Normal(torch.zeros(3, 1).double(), log_scale.double().exp())
    expected = normal.cdf(symbols + 0.5) - normal.cdf(symbols - 0.5)
    assert torch.allclose(mass, expected.clamp(min=2.0**-24), atol=1e-12, rtol=0)


# data sets ------------------------------------------------------------------------------------


def test_a_data_set_reads_as_any_other(model, videos, bits, tmp_path, monkeypatch):
    store, plain = LatentStore(bits, model), tmp_path / "plain"
    exact = EncodeOptions(dtype=("float32",), precision="fp32")
    encode_folder(model, videos, plain, "tiny", exact)
    monkeypatch.setattr("stlatent.bits.bitstream.CHUNK_PIXELS", 1)
    for name, item in LatentStore(plain).items.items():
        x = to_float(pixels(videos / name))[None]
        found, codes = store.read(name).levels, written(model, x)
        assert all(torch.equal(z, code.latents) for z, code in zip(found, codes, strict=True))
        assert store.items[name].grids == item.grids and store.items[name].size == item.size
        assert store.items[name].bits == tuple(round(code.bits.item(), 1) for code in codes)
        for steps in (1, 2, 100):
            pieces = zip(*store.stream(name, 2, steps), strict=True)
            assert all(torch.equal(torch.cat(p, 2), z) for p, z in zip(pieces, found))
        for start, stop in ((0, 1), (item.grids[2][0] - 1, item.grids[2][0]), (0, 0)):
            window = store.read_level(name, 2, start, stop)
            assert torch.equal(window, found[2][:, :, start:stop])
    for k, statistics in enumerate(store.manifest.statistics):
        values = torch.cat([store.read(n).levels[k].flatten(2)[0] for n in store.items], 1)
        np.testing.assert_allclose(statistics.mean, values.double().mean(1), rtol=1e-9)
        np.testing.assert_allclose(statistics.std, values.double().std(1, correction=0), rtol=1e-9)
    assert min(store.manifest.tolerance) > 0 and not verify_store(bits)[2]


@pytest.mark.parametrize("levels", [1, 3])
def test_levels_cut_off_leave_a_coarser_data_set(model, bits, tmp_path, levels):
    kept = tmp_path / "kept"
    cut = [f"level_{k}" for k in range(levels, 3)]
    shutil.copytree(bits, kept, ignore=shutil.ignore_patterns(*cut))
    store = LatentStore(kept)
    made = decode_store(model, store, tmp_path / "out", levels, "npy", precision="fp32")
    for name, path in zip(store.items, made, strict=True):
        expected = to_uint8(model.decode(store.read(name, levels)))[0]
        assert np.abs(np.load(path).astype(int) - expected).max() <= 1
    if levels < 3:
        with pytest.raises(ValueError, match=r"level_1/00000.safetensors is missing"):
            store.read("one.mp4", 2)


def test_what_is_killed_goes_on_to_the_same_bytes(model, videos, bits, tmp_path, monkeypatch):
    monkeypatch.setattr("stlatent.bits.bitstream.CHUNK_PIXELS", 1)

    def work() -> None:
        encode_folder(model, videos, tmp_path / "out", "tiny", BITS)

    for at in (4, 3, 6):
        assert killed(work, at)
    work()
    assert content(tmp_path / "out") == content(bits)
    again = {"entropy_code": True, "unit_files": 1, "step": (5.0,)}
    with pytest.raises(ValueError, match=r"other --step"):
        encode_folder(model, videos, tmp_path / "out", "tiny", EncodeOptions(**again))
    with pytest.raises(ValueError, match="entropy-code"):
        encode_folder(model, videos, tmp_path / "out", "tiny", EncodeOptions(unit_files=1))


def test_what_failed_is_tried_again(model, videos, tmp_path):
    root, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(videos, root, ignore=shutil.ignore_patterns("sub"))
    options = BITS.model_copy(update={"unit_files": 64})
    assert len(encode_folder(model, root, out, "tiny", options).failed) == 1
    write_video(root / "text.mp4", (2, 32, 32))
    assert not encode_folder(model, root, out, "tiny", options, retry_failed=True).failed
    encode_folder(model, root, tmp_path / "fresh", "tiny", options)
    assert content(out) == content(tmp_path / "fresh")


@pytest.mark.parametrize("entropy_code", [False, True])
def test_codes_are_stored_as_indices_or_bits(tmp_path, entropy_code):
    model = coded_ladder("video")
    write_video(tmp_path / "in" / "a.mp4", (6, 37, 50))
    dtypes = () if entropy_code else ("uint8", "float32", "uint16")
    dtype = "float16" if entropy_code else "float32"
    options = EncodeOptions(dtype=(dtype,), precision="fp32", entropy_code=entropy_code)
    result = encode_folder(model, tmp_path / "in", tmp_path / "z", "tiny", options)
    x = to_float(pixels(tmp_path / "in" / "a.mp4"))[None]
    expected = chosen(model, x) if entropy_code else model.encode(x).levels
    store = LatentStore(tmp_path / "z", model if entropy_code else None)
    for k, (z, a) in enumerate(zip(store.read("a.mp4").levels, expected, strict=True)):
        torch.testing.assert_close(z, a, atol=1e-5, rtol=1e-5)
        assert store.manifest.levels[k].dtype == (dtypes[k] if dtypes else "bits")
        mean = store.manifest.statistics[k].mean
        np.testing.assert_allclose(mean, z.double().flatten(2)[0].mean(1), atol=1e-9)
    assert result.levels[0].numbers == math.prod(store.items["a.mp4"].grids[0])
    assert result.levels[2].numbers == 2 * 2 * math.prod(store.items["a.mp4"].grids[2])
    bits = [kl.sum().item() / math.log(2) for kl in model(x).latents.kl]
    assert store.items["a.mp4"].bits[0] == pytest.approx(bits[0], rel=1e-3)
    assert not verify_store(tmp_path / "z")[2]
    (path,) = decode_store(model, store, tmp_path / "out", format="npy", precision="fp32")
    whole = to_uint8(model.decode(stlatent.Latents(tuple(expected), (6, 37, 50))))[0]
    assert np.abs(np.load(path).astype(int) - whole).max() <= 1
    if not entropy_code:
        for book in (tmp_path / "z").glob("level_*/codebook.safetensors"):
            book.write_bytes(book.read_bytes()[:-1] + b"\0")
        assert len(verify_store(tmp_path / "z")[2]) == 2


# elsewhere ------------------------------------------------------------------------------------

READ = """
import sys, numpy, torch
from stlatent.store import LatentStore
torch.set_num_threads(3)
levels = LatentStore(sys.argv[1]).read("a.mp4").levels
numpy.savez(sys.argv[2], *(z.numpy() for z in levels))
"""


def test_another_process_with_other_arithmetic_reads_the_same(tmp_path):
    write_video(tmp_path / "in" / "a.mp4", (9, 64, 96))
    z, out = tmp_path / "z", tmp_path / "read.npz"
    encode_folder(stlatent.load("video"), tmp_path / "in", z, "video", BITS)
    plain = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}
    command = [sys.executable, "-c", READ, str(z), str(out)]
    subprocess.run(command, check=True, env=os.environ | plain, timeout=600)
    with np.load(out) as found:
        for level, name in zip(LatentStore(z).read("a.mp4").levels, found.files, strict=True):
            torch.testing.assert_close(torch.from_numpy(found[name]), level, atol=1e-5, rtol=1e-5)


def test_float64_computes_the_same_symbols(model):
    x = batch("video")[:1]
    codes = written(model, x)
    for a, b in zip(read(ladder("video").double(), codes, SIZES["video"]), codes, strict=True):
        torch.testing.assert_close(a, b.latents, atol=1e-4, rtol=1e-4)


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
    stream = writer.to_bytes()

    def read(factor: float, stream: bytes = stream) -> tuple[np.ndarray, np.ndarray]:
        noise = factor * writer.tolerance * random.choice([-1, 1], 8000)
        reader = StreamReader(io.BytesIO(stream))
        result = reader.numbers(scale + noise[:5000]), reader.bits(odds + noise[5000:])
        reader.verify()
        return result

    for factor in (0, 0.999):
        assert all(map(np.array_equal, read(factor), (symbols, bits)))
    with pytest.raises(MismatchError):
        read(20)
    for place in np.linspace(0, len(stream) - 1, 60).astype(int):  # no damage goes unnoticed
        damaged = bytearray(stream)
        damaged[place] ^= 1 << place % 8
        with pytest.raises(MismatchError):
            read(0, bytes(damaged))
        with pytest.raises(MismatchError):
            read(0, stream[:place])


def test_no_bit_of_a_file_is_without_a_check(model):
    """The steps before the first stream too."""
    x = to_float(to_uint8(batch("video", (1, 16, 16))[:1]))
    codes = written(model, x)
    read(model, codes, x.shape[2:])
    for k, code in enumerate(codes):
        head = 2 * model.levels[k].latent * model.levels[k].groups
        places = [*range(8 * head), *range(8 * head, 8 * len(code.stream), 41)]
        for place in places:
            damaged = bytearray(code.stream)
            damaged[place // 8] ^= 1 << place % 8
            others = [code._replace(stream=bytes(damaged)) if c is code else c for c in codes]
            with pytest.raises(ValueError, match=f"priors of level {k}|a level ends"):
                read(model, others[: k + 1], x.shape[2:])


def test_steps_without_a_check_are_read_and_jobs_with_such_go_on(
    model, videos, tmp_path, monkeypatch
):
    """As older data sets have them."""

    def old(*given: object) -> Coding:
        return make_coding(*given).model_copy(update={"steps_checked": False})

    def work() -> None:
        encode_folder(model, videos, tmp_path / "out", "tiny", BITS)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stlatent.jobs.encode.make_coding", old)
        encode_folder(model, videos, tmp_path / "old", "tiny", BITS)
        assert killed(work, 8)
    work()
    assert content(tmp_path / "out") == content(tmp_path / "old")
    encode_folder(model, videos, tmp_path / "new", "tiny", BITS)
    new, one = (LatentStore(tmp_path / name, model) for name in ("new", "old"))
    assert new.header.coding.steps_checked and not one.header.coding.steps_checked
    for name in new.items:
        assert all(map(torch.equal, new.read(name).levels, one.read(name).levels))


def test_another_model_is_refused_and_other_priors_are_found_out(model, bits, monkeypatch):
    other = ladder("video")
    other.cells[1][1].head.out.weight += 0.01 * torch.randn_like(other.cells[1][1].head.out.weight)
    with pytest.raises(ValueError, match="give the one that encoded them"):
        LatentStore(bits, other)
    store, expected = LatentStore(bits), LatentStore(bits, model).read("one.mp4", 1)
    with pytest.raises(ValueError, match="no model at 'tiny'.*give it yourself"):
        store.read("one.mp4")
    store.model = other  # claimed to be the same
    with pytest.raises(ValueError, match=r"one.mp4: chunk 0: the priors of level 1 .*: levels=1"):
        store.read("one.mp4")
    assert torch.equal(store.read("one.mp4", 1).levels[0], expected.levels[0])
    monkeypatch.setattr("stlatent.bits.decoder.numerics", lambda: 7)
    with pytest.raises(ValueError, match="another entropy coder"):
        store.read("one.mp4", 1)


def test_what_cannot_be_coded(model, videos, tmp_path):
    options = BITS.model_copy(update={"step": (1e-9,), "unit_files": 64})
    with pytest.raises(ValueError, match="steps from their prior's mean"):
        encode_folder(model, videos, tmp_path / "z", "tiny", options)
    for update, said in (
        ({"step": (1.0, 2.0)}, "2 steps are given, but the model has 3 levels"),
        ({"std": True}, "leave out --std"),
    ):
        with pytest.raises(ValueError, match=said):
            encode_folder(model, videos, tmp_path / "z", "t", BITS.model_copy(update=update))
    for values, said in (
        ({"entropy_code": True, "precision": "bf16"}, "priors in fp32"),
        ({"entropy_code": True, "dtype": ("int8",)}, "leave out --dtype"),
        ({"step": (2.0,)}, "add --entropy-code"),
        ({"entropy_code": True, "step": (0.0,)}, "greater than 0"),
    ):
        with pytest.raises(ValueError, match=said):
            EncodeOptions(**values)
    with pytest.raises(ValueError, match="training mode"):
        StreamEncoder(ladder("video").train(), (32, 32), make_coding(model, [STEP]))
    assert list(tmp_path.iterdir()) == []
