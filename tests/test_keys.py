"""Keys in entropy-coded streams: reading begins there, and touches nothing of what was before."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from domains import batch, ladder
from test_codec import write_video
from test_targets import told

import stlatent
from stlatent import Ladder
from stlatent.bits.bitstream import make_coding
from stlatent.bits.coding import Target
from stlatent.bits.encoder import StreamEncoder
from stlatent.bits.quantise import STEP
from stlatent.jobs.encode import encode_folder
from stlatent.jobs.options import EncodeOptions
from stlatent.jobs.verify import verify_store
from stlatent.media.metrics import psnr
from stlatent.media.video.clips import centre_clip
from stlatent.store.place import Place
from stlatent.store.reader import LatentStore

pytest.importorskip("constriction")
CLIP = Path(__file__).parents[1] / "assets" / "clips" / "wolf.mp4"
LENGTH, KEY_EVERY = 50, 2  # frames, units of 8: 1 + 7 steps, the last of two frames


@pytest.fixture(scope="module")
def model() -> Ladder:
    return ladder("video-recall")


@pytest.fixture(scope="module", params=[None, 1e-3], ids=["steps", "target"])
def keyed(request, model, tmp_path_factory) -> LatentStore:
    root = tmp_path_factory.mktemp("keyed")
    write_video(root / "in" / "a.mp4", (LENGTH, 32, 48))
    write_video(root / "in" / "b.mp4", (3, 32, 48))
    options = EncodeOptions(entropy_code=True, key_every=KEY_EVERY, psnr_db=request.param)
    encode_folder(model, root / "in", root / "z", "tiny", options)
    assert not verify_store(root / "z")[2]
    return LatentStore(root / "z", model)


def test_reading_from_keys_gives_what_reading_all_gives(keyed):
    whole = keyed.read("a.mp4").levels
    assert [z.shape[2] for z in whole] == list(step[0] for step in keyed.items["a.mp4"].grids)
    for level, z in enumerate(whole):
        for start in range(z.shape[2]):
            for stop in {start, start + 1, z.shape[2]}:
                window = keyed.read_level("a.mp4", level, start, stop)
                assert torch.equal(window, z[:, :, start:stop])
    assert torch.equal(keyed.read_level("b.mp4", 2), keyed.read("b.mp4").levels[2])
    pieces = zip(*keyed.stream("a.mp4", 3, 2), strict=True)
    assert all(torch.equal(torch.cat(p, 2), z) for p, z in zip(pieces, whole, strict=True))


def test_no_byte_before_a_key_is_read_nor_of_other_levels(keyed, monkeypatch):
    touched: dict[str, int] = {}
    real = Place.read

    def read(self: Place, name: str, start: int = 0, stop: int | None = None) -> bytes:
        content = real(self, name, start, stop)
        touched[name] = touched.get(name, 0) + len(content)
        return content

    item, step = keyed.items["a.mp4"], 5  # in the third segment: units 4 and 5
    keyed.read_level("a.mp4", 0)  # the headers of files are known now
    keyed.read_level("a.mp4", 1)
    monkeypatch.setattr(Place, "read", read)
    keyed.read_level("a.mp4", 0, step, step + 1)
    units_per_chunk = math.ceil(6 / (len(item.chunks) - 1)) if len(item.chunks) > 3 else 2
    chunks = item.chunks[4 // units_per_chunk : 4 // units_per_chunk + 1]
    head = 2 * keyed.header.levels[0].channels
    assert touched == {"level_0/00000.safetensors": head + sum(c.bits[0] // 8 for c in chunks)}
    touched.clear()
    keyed.read_level("a.mp4", 1, 9, 10)  # under the same unit
    assert sorted(touched) == ["level_0/00000.safetensors", "level_1/00000.safetensors"]
    total = sum(keyed._files.span(item, 0, level).bytes for level in (0, 1))
    assert sum(touched.values()) < total / 2


def test_decoders_notice_no_key():
    """Latents follow from all that came before; what they cost does not."""
    model, found = stlatent.load("video"), []
    x, _ = centre_clip(CLIP, (17, 64, 64))
    for key_every in (None, 1):
        coding = make_coding(model, [STEP], None, key_every)
        encoder = StreamEncoder(model, (64, 64), coding.model_copy(update={"chunk_pixels": 1}))
        parts = [part for part in (encoder.push(x), encoder.end()) if part]
        levels = tuple(torch.cat([c.latents for c in level], 2) for level in zip(*parts))
        y = model.decode(stlatent.Latents(levels, tuple(x.shape[2:])))
        found.append((psnr(x, y).item(), sum(len(c.stream) for part in parts for c in part)))
    (without, few), (with_keys, more) = found
    assert with_keys == pytest.approx(without, abs=0.1) and few < more < 2 * few


def test_keys_go_with_tiles_and_targets(model):
    x = batch("video", (18, 32, 80), count=1)
    codes, found = told(model, x, Target(psnr_db=1e-3), tile=32, key_every=1)
    assert all(torch.equal(code.latents, z) for code, z in zip(codes, found, strict=True))


def test_where_there_are_no_keys():
    with pytest.raises(ValueError, match="add --entropy-code"):
        EncodeOptions(key_every=4)
    with pytest.raises(ValueError, match="no time"):
        make_coding(ladder("image"), [STEP], None, 4)
    with pytest.raises(ValueError, match="leave out --key-every"):
        make_coding(ladder("video", exact=True), [STEP], None, 4)
