from __future__ import annotations

import os
import shutil
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from stlatent.files import UnreadableError
from stlatent.media.source import Source
from stlatent.media.video.cache import FrameCache
from stlatent.media.video.check import check_sources
from stlatent.media.video.clips import ClipDataset, collate
from stlatent.media.video.display import tone_mapped
from stlatent.media.video.files import IMAGE_SUFFIXES, find_sources
from stlatent.media.video.pixels import to_float, to_uint8
from stlatent.media.video.readers import AvDecoder, VideoReader
from stlatent.media.video.timeline import read_timeline
from stlatent.train.order import Mixture, Order, loader

BITS = 8


def drawn(index: int, height: int, width: int) -> np.ndarray:
    """A picture that carries its index: one bright or dark column per bit, over a dark ground."""
    picture = np.full((height, width, 3), 40, np.uint8)
    for bit in range(BITS):
        left, right = bit * width // BITS, (bit + 1) * width // BITS
        picture[: height // 2, left:right] = 230 * (index >> bit & 1)
    return picture


def index_of(frame: np.ndarray) -> int:
    height, width = frame.shape[:2]
    columns = [int((bit + 0.5) * width / BITS) for bit in range(BITS)]
    return sum(int(frame[height // 4, x].mean() > 115) << bit for bit, x in enumerate(columns))


def indices_of(frames: np.ndarray) -> list[int]:
    return [index_of(frame) for frame in frames]


def make_video(
    path: Path, codec="libx264", frames=40, size=(48, 64), pix_fmt="yuv420p", steps=(1,), **options
) -> Path:
    """`steps`: ticks (1/30 s) between frames, repeated; more than one kind is a variable rate."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30, options=options)
        stream.height, stream.width, stream.pix_fmt = *size, pix_fmt
        stream.time_base = stream.codec_context.time_base = Fraction(1, 30)
        tick = 0
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(drawn(i, *size), format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, 30)
            tick += steps[i % len(steps)]
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


# Three B-frames and a keyframe every 12 frames, so that seeking has something to get wrong.
GROUPS = {"g": "12", "bf": "3"}
FILES = {
    "h264.mp4": {**GROUPS},
    "h264.mkv": {**GROUPS},
    "h264.mov": {**GROUPS},
    "variable.mp4": {**GROUPS, "steps": (1, 4, 2)},
    "open_gop.mp4": {**GROUPS, "x264-params": "open-gop=1:b-adapt=0:b-pyramid=none"},
    "open_gop_hevc.mkv": {"codec": "libx265", "x265-params": "keyint=12:open-gop=1:log-level=0"},
    "refreshed.mkv": {"g": "12", "x264-params": "intra-refresh=1:bframes=0:ref=1"},
    "h264.avi": {**GROUPS},
    "mpeg2.mkv": {"codec": "mpeg2video", **GROUPS},
    "mpeg2.mp4": {"codec": "mpeg2video", **GROUPS},
    "mpeg1.mov": {"codec": "mpeg1video", **GROUPS},
    "mpeg1.avi": {"codec": "mpeg1video", **GROUPS},
    "ffv1.mkv": {"codec": "ffv1", "g": "12", "context": "1"},
    "marks_lie.mov": {"codec": "rpza", "g": "12", "pix_fmt": "rgb555le"},
    "prores.mov": {"codec": "prores_ks", "pix_fmt": "yuv422p10le"},
    "raw.264": {**GROUPS},
    "packed.mkv": {"codec": "mpeg4", **GROUPS},
    "vp9.webm": {"codec": "libvpx-vp9", "g": "12", "deadline": "realtime", "cpu-used": "8"},
    "vp8.webm": {"codec": "libvpx", "g": "12", "auto-alt-ref": "1", "lag-in-frames": "8"},
    "av1.mp4": {"codec": "libsvtav1", "preset": "12", "frames": 20, "size": (64, 64)},
    "wmv2.wmv": {"codec": "wmv2", "g": "12"},
    "h264.ts": {**GROUPS},
    "flash.flv": {"codec": "flv", "g": "12"},
    "mpeg2.mpg": {"codec": "mpeg2video", **GROUPS},
    "raw.hevc": {"codec": "libx265", "x265-params": "keyint=12:log-level=0"},
    "plain.y4m": {"codec": "wrapped_avframe"},
    "odd.mp4": {**GROUPS, "size": (37, 61), "pix_fmt": "yuv444p"},
    "loop.gif": {"codec": "gif", "pix_fmt": "rgb8"},
}


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    with ThreadPoolExecutor(1) as pool:  # run as root, SVT-AV1 leaves its caller a real-time thread
        for name, how in FILES.items():
            pool.submit(make_video, folder / name, **how).result()
    return folder


@pytest.mark.parametrize("name", FILES)
def test_every_frame_is_found_by_its_index(videos, name):
    count, size = FILES[name].get("frames", 40), FILES[name].get("size", (48, 64))
    with VideoReader(videos / name) as reader:
        assert (reader.frames, reader.size) == (count, size)
        chunks = list(reader.chunks(7))
        assert [len(chunk) for chunk in chunks[:-1]] == [7] * (count // 7)
        whole = np.concatenate(chunks)
        assert whole.dtype == np.uint8 and whole.shape == (count, *size, 3)
        assert indices_of(whole) == list(range(count))
        order = np.random.default_rng(0).integers(count, size=12)
        for i in order:
            np.testing.assert_array_equal(reader.read([i])[0], whole[i])
        np.testing.assert_array_equal(reader.read(order), whole[order])
        assert reader.read([]).shape == (0, *size, 3)
        with pytest.raises(IndexError, match="it has 0 to"):
            reader.read([0, count])


@pytest.mark.parametrize(
    "name", sorted(FILES.keys() - {"variable.mp4", "loop.gif"})
)  # the even ones
def test_rates_count_the_frames_that_are_shown(videos, name):
    with VideoReader(videos / name) as reader:
        shown = indices_of(reader.read(reader.at_rate(reader.fps / 4)))
        assert shown == list(range(0, reader.frames, 4))


@pytest.mark.parametrize(
    "name", [name for name in FILES if name.endswith((".mp4", ".mov", ".webm", "h264.mkv"))]
)
def test_both_decoders_give_the_same_frames(videos, name):
    with VideoReader(videos / name) as reader:
        other = AvDecoder(videos / name, read_timeline(videos / name), threads=1)
        assert (other.frames, other.size, other.fps) == (reader.frames, reader.size, reader.fps)
        for i in (reader.frames - 1, 0, 13, 12, 11):
            np.testing.assert_array_equal(other.read([i]), reader.read([i]))


def test_rates(videos, tmp_path):
    assert VideoReader(videos / "h264.mp4").fps == pytest.approx(30)
    assert VideoReader(videos / "loop.gif").fps == pytest.approx(30, rel=0.01)
    assert VideoReader(videos / "variable.mp4").fps == pytest.approx(30 / (7 / 3), rel=0.05)


TURNS = {  # (a, b, c, d) of the matrix in ISO 14496-12, and what is shown of a frame [H, W, 3]
    (1, 0, 0, 1): lambda x: x,
    (-1, 0, 0, 1): lambda x: x[:, ::-1],
    (1, 0, 0, -1): lambda x: x[::-1],
    (-1, 0, 0, -1): lambda x: np.rot90(x, 2),
    (0, 1, -1, 0): lambda x: np.rot90(x, -1),  # clockwise
    (0, -1, 1, 0): lambda x: np.rot90(x, 1),
    (0, 1, 1, 0): lambda x: x.swapaxes(0, 1),
    (0, -1, -1, 0): lambda x: np.rot90(x, 2).swapaxes(0, 1),
}


@pytest.mark.parametrize("turn", TURNS)
def test_both_decoders_turn_and_mirror(videos, tmp_path, turn):
    path = tmp_path / "turned.mp4"
    turn_track(videos / "h264.mp4", path, turn)
    with VideoReader(path) as reader, VideoReader(videos / "h264.mp4") as upright:
        want = TURNS[turn](upright.read([5])[0])
        assert reader.size == want.shape[:2]
        np.testing.assert_array_equal(reader.read([5])[0], want)
        other = AvDecoder(path, read_timeline(path), threads=1)
        np.testing.assert_array_equal(other.read([5])[0], want)


@pytest.mark.parametrize("hidden", [5, 12, 14])
def test_frames_that_an_edit_list_hides_are_not_there(videos, tmp_path, hidden):
    """As phones trim videos: only the edit list changes (ISO 14496-12, 8.6.6)."""
    data = bytearray((videos / "h264.mp4").read_bytes())
    start = data.index(b"elst") + 16  # behind version, count and duration
    moved = int.from_bytes(data[start : start + 4], "big") + hidden * 512
    data[start : start + 4] = moved.to_bytes(4, "big")
    (tmp_path / "trimmed.mp4").write_bytes(data)
    times = read_timeline(tmp_path / "trimmed.mp4")
    for reader in (
        VideoReader(tmp_path / "trimmed.mp4"),
        AvDecoder(tmp_path / "trimmed.mp4", times, 1),
    ):
        assert reader.frames == 40 - hidden
        for i in (20, 3, 0, reader.frames - 1):
            assert indices_of(reader.read([i])) == [i + hidden]


def turn_track(given: Path, path: Path, turn: tuple[int, int, int, int]) -> None:
    """Copies an mp4 with another matrix in its track header (ISO 14496-12)."""
    data = bytearray(given.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 4 + 20 + 16  # version 0
    a, b, c, d = (n << 16 for n in turn)
    values = (a, b, 0, c, d, 0, 0, 0, 1 << 30)
    data[matrix : matrix + 36] = b"".join(v.to_bytes(4, "big", signed=True) for v in values)
    path.write_bytes(data)


def test_pixels_are_square(tmp_path):
    path = tmp_path / "wide.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(16, 11)
        for i in range(3):
            frame = av.VideoFrame.from_ndarray(drawn(i + 70, 48, 64), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with VideoReader(path) as reader:
        assert reader.size == (48, round(64 * 16 / 11))
        assert indices_of(reader.read([2, 0])) == [72, 70]


YUV = {"bt601": (6, 0.299, 0.114), "bt709": (1, 0.2126, 0.0722), "bt2020": (9, 0.2627, 0.0593)}
COLOUR = np.array([200, 40, 60])


def colour_video(path, matrix, named=True, full=False, bits=8, size=(64, 96), transfer=None):
    """A still of `COLOUR`, its matrix and range written down or not; or of a code of light."""
    number, red, blue = YUV[matrix]
    r, g, b = COLOUR / 255 if transfer is None else [0.5806] * 3  # 203 cd/m² in PQ
    y = red * r + (1 - red - blue) * g + blue * b
    u, v = (b - y) / (2 - 2 * blue), (r - y) / (2 - 2 * red)
    scale = 2 ** (bits - 8)
    low, span = (
        (0, np.full(3, 2**bits - 1)) if full else (16 * scale, scale * np.array([219, 224, 224]))
    )
    codes = np.array([y, u, v]) * span + np.array([low, 128 * scale, 128 * scale])
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=30, options={"crf": "1", "preset": "ultrafast"}
        )
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p" if bits == 8 else "yuv420p10le"
        context = stream.codec_context
        context.colorspace, context.color_range = number if named else 2, 2 if full else 1
        if transfer:
            context.color_primaries, context.color_trc = 9, transfer
        frame = av.VideoFrame(size[1], size[0], stream.pix_fmt)
        frame.colorspace, frame.color_range = context.colorspace, context.color_range
        for plane, code in zip(frame.planes, codes.round(), strict=True):
            kind = np.uint8 if bits == 8 else np.uint16
            plane.update(np.full(plane.buffer_size // kind().itemsize, code, kind).tobytes())
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    "how",
    [
        {"matrix": "bt601"},
        {"matrix": "bt709"},
        {"matrix": "bt709", "full": True},
        {"matrix": "bt601", "full": True},
        {"matrix": "bt709", "bits": 10},
        {"matrix": "bt2020", "bits": 10},
        {"matrix": "bt601", "named": False},
        {"matrix": "bt709", "named": False, "size": (720, 960)},
    ],
    ids=str,
)
def test_matrix_and_range_are_the_files_own(tmp_path, how):
    path = colour_video(tmp_path / "colour.mp4", **how)
    with VideoReader(path) as reader:
        assert np.abs(reader.read([0])[0].astype(int) - COLOUR).max() <= 3
        other = AvDecoder(path, read_timeline(path), threads=1)
        assert np.abs(other.read([0])[0].astype(int) - COLOUR).max() <= 3


def test_hdr_becomes_sdr(tmp_path):
    path = colour_video(tmp_path / "pq.mp4", "bt2020", bits=10, transfer=16)
    with VideoReader(path) as reader:
        white = reader.read([0])
    assert white.min() >= 236 and white.max() <= 246  # reference white, with room above it
    steps = np.linspace(0, 65535, 64).round().astype(np.uint16)[None, :, None].repeat(3, -1)
    for transfer in (16, 18):
        shown = tone_mapped(steps, transfer)[0].astype(int)
        assert shown[0].max() == 0 and shown[-1].min() >= 250
        assert (np.diff(shown, axis=0) >= 0).all() and np.ptp(shown, axis=1).max() <= 1


def test_transparent_pixels_lie_over_a_background(tmp_path):
    """One rule for pictures and videos, whatever colour they hide."""
    rgba = np.zeros((32, 48, 4), np.uint8)
    rgba[:, :16] = 255, 0, 0, 255
    rgba[:, 16:32] = 255, 0, 0, 0
    rgba[:, 32:] = 0, 0, 255, 128
    picture = Image.fromarray(rgba)
    picture.save(tmp_path / "a.png")
    picture.save(tmp_path / "a.webp", lossless=True, exact=True)
    picture.save(tmp_path / "a.tif")
    Image.fromarray(rgba[..., [0, 3]]).save(tmp_path / "grey.png")
    opaque = picture.convert("RGB").quantize(4)
    opaque.save(tmp_path / "a.gif", transparency=opaque.getpixel((20, 0)))
    with av.open(str(tmp_path / "a.mov"), "w") as container:
        stream = container.add_stream("qtrle", rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "argb"
        for _ in range(10):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgba, format="rgba")))
        container.mux(stream.encode(None))
    for background in ((255, 255, 255), (0, 64, 128)):
        mixed = (np.array([0, 0, 255]) * 128 + np.array(background) * 127) / 255
        for name in ("a.png", "a.webp", "a.tif", "a.mov"):
            with VideoReader(tmp_path / name, background=background) as reader:
                shown = reader.read([reader.frames - 1])[0].astype(int)
            assert (shown[:, :16] == (255, 0, 0)).all() and (shown[:, 16:32] == background).all()
            assert np.abs(shown[:, 32:] - mixed).max() <= 1, name
        with VideoReader(tmp_path / "grey.png", background=background) as reader:
            assert (reader.read([0])[0, 0, 20] == background).all()
    with VideoReader(tmp_path / "a.gif") as reader:
        assert (reader.read([0])[0, 0, 20] == 255).all()


def test_pictures(tmp_path):
    picture = drawn(77, 40, 64)
    Image.fromarray(picture).save(tmp_path / "a.png")
    Image.fromarray(picture).convert("RGBA").save(tmp_path / "alpha.png")
    Image.fromarray(picture).convert("P").save(tmp_path / "palette.png")
    Image.fromarray(np.full((8, 8), 0x80FF, np.uint16)).save(tmp_path / "deep.png")
    turned = Image.Exif()
    turned[0x0112] = 6  # turn by 90 degrees clockwise to show
    Image.fromarray(np.rot90(picture)).save(tmp_path / "turned.jpg", exif=turned, quality=95)
    for name in ("a.png", "alpha.png", "palette.png", "turned.jpg"):
        with VideoReader(tmp_path / name) as reader:
            assert (reader.frames, reader.size, reader.fps) == (1, (40, 64), None)
            assert indices_of(reader.read([0, 0])) == [77, 77]
    assert (VideoReader(tmp_path / "deep.png").read([0]) == 0x80).all()


@pytest.mark.parametrize("suffix", sorted({*IMAGE_SUFFIXES} - {".pbm", ".pgm"}))
def test_kinds_of_pictures(tmp_path, suffix):
    Image.fromarray(drawn(77, 40, 64)).save(tmp_path / f"a{suffix}")
    (source,) = find_sources(tmp_path)
    with VideoReader(source.path) as reader:
        assert source.kind == "image" and reader.size == (40, 64)
        assert indices_of(reader.read([0])) == [77]


def test_names_that_look_like_something_else(videos, tmp_path, monkeypatch):
    """A path is a path: nothing is taken for a URL, and no byte of a name is lost."""
    names = ["2024-01-01T12:30:00.mp4", "http:/host/a.mp4", "a.b/clip.mp4", "a.b/clip.mkv"]
    names += ["日本/ｶ ü.mp4", f"{'n' * 200}.mp4", os.fsdecode(b"caf\xe9.mp4"), "%d.mp4", "-.mp4"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        shutil.copy(videos / f"h264.{name[-3:]}", tmp_path / name)
    monkeypatch.chdir(tmp_path)
    found = find_sources(".")
    assert [source.name for source in found] == sorted(names)
    for source in found:
        with VideoReader(source.path) as reader:
            assert indices_of(reader.read([17, 3])) == [17, 3]
            other = AvDecoder(source.path, read_timeline(source.path), threads=1)
            assert indices_of(other.read([17])) == [17]


def test_a_playlist_fetches_nothing(videos, tmp_path):
    shutil.copy(videos / "h264.ts", tmp_path / "part.ts")
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/part.ts\n")
    with pytest.raises(UnreadableError):
        VideoReader(tmp_path / "list.mp4")


def test_numbers_that_are_no_bytes(tmp_path):
    ramp = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (8, 1))
    Image.fromarray(ramp).save(tmp_path / "float.tif")
    with VideoReader(tmp_path / "float.tif") as reader:
        assert np.abs(reader.read([0])[0] - 255 * ramp[..., None]).max() <= 0.51
    for name, values in {
        "bright.tif": 255 * ramp,
        "nan.tif": np.where(ramp > 0.5, np.nan, ramp).astype(np.float32),
        "whole.tif": (255 * ramp).astype(np.int32),
    }.items():
        Image.fromarray(values).save(tmp_path / name)
        with pytest.raises(UnreadableError, match="white|give 0, black, to 1"):
            VideoReader(tmp_path / name)


def test_pages_and_animations(tmp_path):
    pictures = [Image.fromarray(drawn(i, 32, 48)) for i in range(5)]
    more = {"save_all": True, "append_images": pictures[1:]}
    pictures[0].save(tmp_path / "pages.tif", **more)
    pictures[0].save(tmp_path / "a.png", **more, duration=100)
    pictures[0].save(tmp_path / "a.webp", **more, duration=[100, 100, 300, 100, 100], lossless=True)
    pictures[0].save(tmp_path / "a.avif", **more, duration=100, quality=90)
    rates = {"pages.tif": None, "a.png": 10, "a.webp": 5 / 0.7, "a.avif": 10}
    for name, fps in rates.items():
        with VideoReader(tmp_path / name) as reader:
            assert reader.frames == 5 and reader.fps == (fps and pytest.approx(fps))
            assert indices_of(reader.read([4, 0, 2])) == [4, 0, 2]
            shown = indices_of(reader.read(reader.at_rate(10)))
            assert shown[:7] == ([0, 1, 2, 2, 2, 3, 4] if name == "a.webp" else [*range(5)])
    odd = Image.fromarray(drawn(1, 16, 16))
    pictures[0].save(tmp_path / "odd.tif", save_all=True, append_images=[odd])
    with pytest.raises(UnreadableError, match="pages differ in size"):
        VideoReader(tmp_path / "odd.tif")


def test_bombs_and_other_sizes_among_numbered_pictures(tmp_path):
    """They are photos then, each for itself; alone, the bomb is named."""
    for i in range(33):
        Image.fromarray(drawn(i, 16, 16)).save(tmp_path / f"{i:03}.png")
    assert [source.kind for source in find_sources(tmp_path)] == ["frames"]
    Image.fromarray(drawn(9, 16, 24)).save(tmp_path / "013.png")
    assert {source.kind for source in find_sources(tmp_path)} == {"image"}
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    data = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    (tmp_path / "013.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    good, bad = check_sources(find_sources(tmp_path))
    assert len(good) == 32 and [error.path.name for error in bad] == ["013.png"]
    assert "pixels" in bad[0].reason


def test_a_folder_of_frames_is_a_video(tmp_path):
    folder = tmp_path / "shot"
    folder.mkdir()
    for i in range(12):  # 9, 10: the order of numbers is not that of letters
        Image.fromarray(drawn(i, 32, 48)).save(folder / f"frame_{i}.png")
    (source,) = find_sources(tmp_path)
    assert source == Source(folder, "shot", "frames")
    with VideoReader(folder) as reader:
        assert (reader.frames, reader.size) == (12, (32, 48))
        assert indices_of(reader.read([10, 2, 2])) == [10, 2, 2]
    assert len(find_sources(tmp_path, frame_folders=False)) == 12
    Image.fromarray(drawn(0, 32, 64)).save(folder / "frame_7.png")
    assert {s.kind for s in find_sources(tmp_path)} == {"image"}  # sizes differ: photos
    with pytest.raises(UnreadableError, match="frame_7.png is "):
        VideoReader(folder).read(range(12))
    (folder / "other.png").touch()
    with pytest.raises(UnreadableError, match="numbered pictures"):
        VideoReader(folder)


def test_find_sources(tmp_path):
    for name in ("b.MP4", "a/c.webm", "a/photo.jpg", "a/IMG_1.jpg", ".hidden.mp4", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    names = ["a/IMG_1.jpg", "a/c.webm", "a/photo.jpg", "b.MP4"]
    assert [s.name for s in find_sources(tmp_path)] == names
    assert [s.kind for s in find_sources(tmp_path)] == ["image", "video", "image", "video"]
    kept = find_sources(tmp_path, exclude=["c.webm", "a/photo.jpg"])
    assert [s.name for s in kept] == ["a/IMG_1.jpg", "b.MP4"]
    assert find_sources(tmp_path / "b.MP4") == [Source(tmp_path / "b.MP4", "b.MP4", "video")]
    with pytest.raises(ValueError, match=r"cannot exclude wolf\.mp4"):
        find_sources(tmp_path, exclude=["wolf.mp4"])
    with pytest.raises(ValueError, match="does not exist"):
        find_sources(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"no video \(\.mp4"):
        find_sources(tmp_path / "notes.txt")


def test_what_is_left_out_is_named(videos, tmp_path, caplog, monkeypatch):
    (tmp_path / "good.mp4").symlink_to(videos / "h264.mp4")
    (tmp_path / "closed").mkdir()
    for name in ("photo.heic", "notes.txt", "red \x1b[31m.xyz"):
        (tmp_path / name).write_bytes(b"x")
    real = os.listdir

    def listdir(folder):
        if Path(folder).name == "closed":
            raise PermissionError(13, "Permission denied")
        return real(folder)

    monkeypatch.setattr("os.listdir", listdir)  # root may read everything
    assert [source.name for source in find_sources(tmp_path)] == ["good.mp4"]
    assert f"left out {tmp_path}/closed: permission denied" in caplog.text
    assert "notes.txt, photo.heic, red \\x1b[31m.xyz" in caplog.text


def make_broken(videos: Path, folder: Path) -> dict[str, str]:
    """Damaged files by name, with a part of the reason that is to be given."""
    h264, mkv = (videos / "h264.mp4").read_bytes(), (videos / "h264.mkv").read_bytes()
    (folder / "moov_lost.mp4").write_bytes(h264[: len(h264) // 2])
    (folder / "cut.mkv").write_bytes(mkv[: len(mkv) * 2 // 3])
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("this is no video\n" * 50)
    (folder / "text.png").write_text("this is no picture\n" * 50)
    (folder / "video.jpg").write_bytes(h264)
    Image.fromarray(drawn(3, 64, 64)).save(folder / "cut.png")
    data = (folder / "cut.png").read_bytes()
    (folder / "cut.png").write_bytes(data[: len(data) // 2])
    with av.open(str(folder / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.sample_rate = 16000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    whole = folder / "front.mp4"
    with av.open(str(whole), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=30)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for i in range(40):
            frame = av.VideoFrame.from_ndarray(drawn(i, 48, 64), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    data = whole.read_bytes()
    whole.write_bytes(data[: len(data) * 4 // 5])  # the index is there, frames are not
    gif = (videos / "loop.gif").read_bytes()
    (folder / "cut.gif").write_bytes(gif[: len(gif) // 2])
    text = PngInfo()
    text.add_text("long", "x" * 2**23, zip=True)
    Image.fromarray(drawn(3, 64, 64)).save(folder / "text_bomb.png", pnginfo=text)
    return {
        "moov_lost.mp4": "invalid data",
        "cut.mkv": "cut off",
        "empty.mp4": "empty",
        "text.mp4": "invalid data",
        "text.png": "not a picture",
        "video.jpg": "not a picture",
        "cut.png": "truncated",
        "sound.mp4": "no video stream",
        "front.mp4": "cut off",
        "cut.gif": "cut off",
        "text_bomb.png": "too large",
        "missing.mp4": "no such file",
    }


def test_broken_files_say_why(videos, tmp_path, capfd):
    for name, reason in make_broken(videos, tmp_path).items():
        with pytest.raises(UnreadableError, match=reason) as error:
            VideoReader(tmp_path / name)
        assert error.value.path == tmp_path / name
        assert error.value.reason and "\n" not in str(error.value)
    assert capfd.readouterr().err == ""  # decoders do not chatter


def test_frames_lost_on_the_way_are_an_error(videos, tmp_path):
    """A stretch in the middle is overwritten: it may decode to something, but is never short."""
    for name in ("h264.mp4", "vp9.webm"):
        data = bytearray((videos / name).read_bytes())
        middle = len(data) // 3
        data[middle : middle + 400] = bytes(400)
        (tmp_path / name).write_bytes(data)
        try:
            with VideoReader(tmp_path / name) as reader:
                assert sum(map(len, reader.chunks(8))) == reader.frames == 40
        except UnreadableError:
            pass


@pytest.fixture
def mixed(videos, tmp_path) -> list[Source]:
    """Three good videos and a bad one."""
    (tmp_path / "bad.mp4").write_text("no video" * 100)
    for name in ("h264.mp4", "vp9.webm", "raw.264"):
        (tmp_path / name).symlink_to(videos / name)
    return find_sources(tmp_path)


def test_check_sources(mixed):
    good, bad = check_sources(mixed)
    assert [s.name for s in good] == ["h264.mp4", "raw.264", "vp9.webm"]
    assert [error.path.name for error in bad] == ["bad.mp4"]
    with pytest.raises(ValueError, match=r"none of 1 files can be read: .*bad\.mp4: invalid data"):
        check_sources([s for s in mixed if s.name == "bad.mp4"])


def test_clips_depend_on_seed_and_index_alone(mixed):
    good, _ = check_sources(mixed)
    how = {"frames": 5, "crop": 16, "crops_per_read": 2}
    one, two = ClipDataset(good, **how), ClipDataset(good, **how)
    reads = [one[i].clips for i in range(8)]
    assert reads[0].shape == (2, 5, 16, 16, 3) and reads[0].dtype == torch.uint8
    for i in (7, 0, 5, 3):  # any order: nothing is carried from one read to the next
        assert torch.equal(two[i].clips, reads[i])
    assert not torch.equal(ClipDataset(good, seed=1, **how)[0].clips, reads[0])
    assert not torch.equal(reads[0][0], reads[0][1])
    one[2**39]  # the data never end


def test_workers_give_the_same_batches_and_survive_a_bad_file(mixed):
    data = ClipDataset(mixed, frames=4, crop=16, crops_per_read=2)
    mixture, order = Mixture({"clips": data}), Order({"clips": 2}, 0.0, accumulate=1, seed=0)
    many, plain, later = (
        loader(mixture, order, 0, workers=2, collate=collate),
        loader(mixture, order, 0, workers=0, collate=collate),
        loader(mixture, order, 2, workers=0, collate=collate),
    )
    second = [batch for _, batch in zip(range(6), many, strict=False)]
    first = [batch for _, batch in zip(range(6), plain, strict=False)]
    assert first[0].clips.shape == (4, 4, 16, 16, 3)
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.clips, b.clips)
    assert torch.equal(next(iter(later)).clips, first[2].clips)  # resumed after two batches
    for batches in (first, second):
        failed = {name: why for batch in batches for name, why in batch.failed.items()}
        assert list(failed) == ["bad.mp4"] and "invalid data" in failed["bad.mp4"]


def test_what_is_read_are_numbers_of_frames():
    clip = Path(__file__).parents[1] / "assets" / "clips" / "wolf.mp4"
    with VideoReader(clip) as reader, pytest.raises(ValueError, match="frames are 3; give numbers"):
        reader.read(3)


def test_nothing_readable_is_an_error(mixed):
    with pytest.raises(ValueError, match="none of 1 sources can be read; the last, bad.mp4: "):
        ClipDataset([s for s in mixed if s.name == "bad.mp4"])[0]
    with pytest.raises(ValueError, match="no sources"):
        ClipDataset([])


def test_each_source_is_seen_once_a_pass(videos):
    sources = [Source(videos / name, name, "video") for name in ("h264.mp4", "h264.mkv", "odd.mp4")]
    data = ClipDataset(sources)
    passes = [tuple(data.rounds.order(n)) for n in range(20)]
    assert {tuple(sorted(p)) for p in passes} == {(0, 1, 2)} and len(set(passes)) > 1


def test_frames_of_a_clip(videos):
    """Frames are in order, a drawn step apart, inside the file; the whole width is shown."""
    data = ClipDataset(
        [Source(videos / "square.mp4", "square", "video")],
        frames=6, crop=32, frame_step=(2, 3), scale=(0.5, 0.5), flip=False,
    )  # fmt: skip
    make_video(videos / "square.mp4", size=(64, 64), frames=20, **GROUPS)
    seen = set()
    for i in range(30):
        shown = indices_of(data[i].clips[0].numpy())
        (step,) = set(np.diff(shown))
        assert shown[-1] < 20
        seen.add(int(step))
    assert seen == {2, 3}
    short = ClipDataset(data.sources, 30, 32, (2, 3), (0.5, 0.5), flip=False)
    assert indices_of(short[0].clips[0].numpy()) == [*range(20), *[19] * 10]
    fits = ClipDataset(data.sources, 18, 32, (2, 3), (0.5, 0.5), flip=False)
    assert set(np.diff(indices_of(fits[0].clips[0].numpy()))) == {1}
    assert ClipDataset(data.sources, 2, crop=96)[0].clips.shape == (1, 2, 96, 96, 3)  # enlarged


def test_photos_are_clips_of_one_frame(tmp_path):
    Image.fromarray(drawn(9, 64, 64)).save(tmp_path / "photo.png")
    data = ClipDataset(find_sources(tmp_path), 1, 64, scale=(1, 1), flip=False)
    np.testing.assert_array_equal(data[3].clips[0, 0].numpy(), drawn(9, 64, 64))


def test_the_cache_changes_nothing_but_the_time(mixed, tmp_path, monkeypatch):
    good, _ = check_sources(mixed)
    cache = FrameCache(tmp_path / "cache")
    plain, cached = ClipDataset(good, 5, 16), ClipDataset(good, 5, 16, cache=cache)
    for i in range(6):
        assert torch.equal(plain[i].clips, cached[i].clips)
    files = list((tmp_path / "cache").iterdir())
    assert len(files) == 3 and all(file.suffix == ".npy" for file in files)
    monkeypatch.setattr("stlatent.media.video.cache.VideoReader", None)  # no decoding any more
    again = ClipDataset(good, 5, 16, cache=FrameCache(tmp_path / "cache"))
    assert torch.equal(again[4].clips, plain[4].clips)


def test_windows_of_a_long_file(videos, tmp_path):
    kept = FrameCache(tmp_path, frames=21).open(videos / "h264.mp4", window=10)
    assert kept.shape == (2, 10, 48, 64, 3)
    assert [indices_of(window) for window in kept] == [[*range(10)], [*range(30, 40)]]
    whole = FrameCache(tmp_path, frames=40).open(videos / "h264.mp4", window=10)
    assert whole.shape == (1, 40, 48, 64, 3)


def test_the_cache_takes_every_name(videos, tmp_path):
    for name in ("ü" * 120 + ".mp4", os.fsdecode(b"caf\xe9.mp4")):
        shutil.copy(videos / "h264.mp4", tmp_path / name)
        assert FrameCache(tmp_path / "cache").open(tmp_path / name).shape[1] == 40


def test_pixels_round_trip():
    frames = torch.arange(256, dtype=torch.uint8).repeat(3).reshape(2, 4, 4, 8, 3)
    video = to_float(frames)
    assert video.shape == (2, 3, 4, 4, 8) and (video.min(), video.max()) == (-1, 1)
    np.testing.assert_array_equal(to_uint8(video), frames.numpy())
    assert torch.equal(to_float(frames.numpy()), video)
    with pytest.raises(ValueError, match="expected uint8"):
        to_float(frames.float())
    with pytest.raises(ValueError, match=r"\[\.\.\., 3, T, H, W\]"):
        to_uint8(frames)
