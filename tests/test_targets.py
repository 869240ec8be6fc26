"""Targets in place of settings: what is asked for is reached, and what was chosen is recorded."""

from __future__ import annotations

import io
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from domains import SIZES, batch, config, ladder
from test_codec import pixels
from test_jobs import content, killed

import stlatent
from stlatent import Ladder
from stlatent.bits.bitstream import make_coding
from stlatent.bits.coding import WIDEST, Target
from stlatent.bits.decoder import read_clip
from stlatent.bits.encoder import StreamEncoder
from stlatent.bits.quantise import PRICE, STEP, Writing, bin_mass, cheapest
from stlatent.bits.search import CANDIDATES, search
from stlatent.jobs.decode import decode_store
from stlatent.jobs.encode import encode_folder, resolved
from stlatent.jobs.options import EncodeOptions
from stlatent.jobs.status import job_status
from stlatent.jobs.verify import verify_store
from stlatent.media.codes import Code
from stlatent.media.metrics import psnr
from stlatent.media.registry import medium_of
from stlatent.media.video.clips import centre_clip
from stlatent.media.video.pixels import to_float, to_uint8
from stlatent.media.video.write import Mp4Writer
from stlatent.model.past import Past
from stlatent.model.rates import RateRange
from stlatent.store.reader import LatentStore

pytest.importorskip("constriction")
CLIP = Path(__file__).parents[1] / "assets" / "clips" / "wolf.mp4"


def told(
    model: Ladder,
    x: torch.Tensor,
    target: Target,
    tile: int | None = None,
    key_every: int | None = None,
) -> tuple[list[Code], list[torch.Tensor]]:
    """The levels of `x` `[1, C, *axes]` such that they reach a target, and as they are read."""
    size, coding = x.shape[2:], make_coding(model, [STEP], target, key_every)
    encoder = StreamEncoder(model, model.domain.of_space(size), coding, tile)
    pieces = [piece for piece in (encoder.push(x), encoder.end()) if piece]
    levels = [encoder._together(parts) for parts in zip(*pieces, strict=True)]
    files = [io.BytesIO(code.stream) for code in levels]
    chunks = list(read_clip(model, coding, size, files, tile))
    assert not any(file.read() for file in files)
    return levels, [model.domain.joined(level) for level in zip(*chunks, strict=True)]


def bits_of(levels: Sequence[Code]) -> list[int]:
    """Of each chunk."""
    return [sum(one.bits for one in chunk) for chunk in zip(*(code.told for code in levels))]


@pytest.fixture(scope="module")
def model() -> Ladder:
    return stlatent.load("video")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A moving clip, and its first frame for as long."""
    root = tmp_path_factory.mktemp("clips")
    x, fps = centre_clip(CLIP, (25, 64, 64))
    frames = to_uint8(x)[0]
    for name, shown in (("moving", frames), ("still", np.repeat(frames[:1], 25, 0))):
        with Mp4Writer(root / f"{name}.mp4", (64, 64), fps) as writer:
            writer.write(shown)
    return root


@pytest.fixture(scope="module", autouse=True)
def short_chunks() -> None:
    """Of one unit, so that short clips have several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stlatent.bits.bitstream.AIMED_PIXELS", 1)
        yield


PSNR_DB = 24.0


@pytest.fixture(scope="module")
def aimed(model, clips, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("data") / "aimed"
    result = encode_folder(model, clips, out, "video", EncodeOptions(psnr_db=PSNR_DB, unit_files=1))
    assert not result.failed and not result.missed
    return out


@pytest.mark.parametrize("variant", ["image", "video-recall", "volumes"])
def test_targets_are_reached_over_any_domain(variant):
    """What is chosen lies between the ends that are measured here. A new ladder is a linear code,
    so it knows what waves are."""
    torch.manual_seed(0)
    model = Ladder(config(variant)).eval().requires_grad_(False)
    axes = torch.meshgrid(*map(torch.arange, SIZES[model.domain.name]), indexing="ij")
    x = (torch.stack([torch.sin(sum(axes) / wave) for wave in (5, 7, 9)])[None]).float()
    most, _ = told(model, x, Target(bits_per_pixel=1000.0))
    least, _ = told(model, x, Target(bits_per_pixel=1e-9))
    worst, best = (min(one.psnr_db for one in ends[0].told) for ends in (least, most))
    aim = Target(psnr_db=(worst + best) / 2)
    codes, found = told(model, x, aim)
    assert all(torch.equal(code.latents, z) for code, z in zip(codes, found, strict=True))
    assert all(one.psnr_db >= aim.psnr_db for one in codes[0].told)
    decoded = model.decode(stlatent.Latents(tuple(found), tuple(x.shape[2:])))
    assert psnr(x, decoded).item() >= aim.psnr_db - 1e-3
    assert sum(bits_of(least)) < sum(bits_of(codes)) <= sum(bits_of(most))
    allowed = sum(bits_of(codes)) / math.prod(x.shape[2:])
    codes, _ = told(model, x, Target(bits_per_pixel=allowed))
    assert sum(bits_of(codes)) <= allowed * math.prod(x.shape[2:])


def test_tiles_are_told_alike():
    model, x = ladder("video"), batch("video", (5, 48, 160), count=1)
    codes, found = told(model, x, Target(psnr_db=3.0), tile=64)
    assert all(torch.equal(code.latents, z) for code, z in zip(codes, found, strict=True))


@pytest.mark.parametrize("aim", range(0, 100, 7))
def test_the_search_finds_the_fewest_bits_with_few_candidates(aim):
    """Where more levels and narrower steps are better and larger, as among these."""
    tried = []

    class Candidate:
        def __init__(self, _: float | None, levels: int, width: int) -> None:
            self.psnr_db = 10 * levels + 20 * levels * (WIDEST - width) / WIDEST
            self.size_bits = round(100 * levels**2 + (levels + 1) * (WIDEST - width) ** 1.5)
            self.size_bits *= levels > 0
            tried.append((levels, width))

    every = [Candidate(None, levels, width) for levels in range(4) for width in range(WIDEST + 1)]
    tried.clear()
    found = search(Target(psnr_db=aim + 0.5), 0.0, 3, Candidate)
    reaching = [one.size_bits for one in every if one.psnr_db >= aim + 0.5]
    assert found.size_bits == (min(reaching) if reaching else max(o.size_bits for o in every))
    budget = 20 * aim
    best = search(Target(bits_per_pixel=1.0), budget, 3, Candidate)
    assert best.psnr_db == max(one.psnr_db for one in every if one.size_bits <= budget)
    assert len(tried) < 50 < len(every)


@pytest.mark.parametrize("aim", range(0, 60, 7))
def test_the_search_finds_the_highest_price_that_reaches_the_target(aim):
    """At which as few bits are told as any finer steps and fewer levels would take, at others."""
    tried, rates = [], RateRange(range=(0.01, 1.0)).spaced(CANDIDATES)

    class Candidate:
        def __init__(self, rate: float, levels: int, width: int) -> None:
            self.psnr_db = 15 * levels - 10 * math.log10(rate) - width / 2
            self.size_bits = round(1000 * levels / rate**0.7) - 10 * width
            tried.append(rate)

    reaching = [rate for rate in rates if Candidate(rate, 2, 0).psnr_db >= aim + 0.5]
    fitting = [rate for rate in rates if Candidate(rate, 2, 0).size_bits <= 300 * aim]
    tried.clear()
    found = search(Target(psnr_db=aim + 0.5), 0.0, 2, Candidate, rates)
    assert tried[-1] == max(reaching, default=rates[0])
    assert found.psnr_db >= aim + 0.5 or not reaching
    assert len({*tried}) <= 6
    tried.clear()
    search(Target(bits_per_pixel=1.0), 300 * aim, 2, Candidate, rates)
    assert tried[-1] == min(fitting, default=rates[-1]) and len({*tried}) <= 6


def test_rounding_weighs_error_against_bits():
    values, log_scale = torch.randn(2000) * 3, torch.empty(2000).uniform_(-3, 3)
    (chosen, mass), nearest = cheapest(values, log_scale, PRICE), values.round()
    assert torch.equal(mass, bin_mass(chosen, log_scale))

    def cost(k: torch.Tensor) -> torch.Tensor:
        return (values - k).square() - PRICE * bin_mass(k, log_scale).log2()

    lower = nearest - nearest.sign()
    assert torch.equal(cost(chosen), torch.minimum(cost(nearest), cost(lower)))
    assert ((chosen == nearest) | (chosen == lower)).all() and (chosen != nearest).any()
    narrow = log_scale > 2  # steps that are small beside the deviation
    assert torch.equal(chosen[narrow], nearest[narrow])
    assert torch.equal(cheapest(values, log_scale, 0.0)[0], nearest)
    far, _ = cheapest(torch.tensor([500.0]), torch.tensor([-6.0]), PRICE)
    assert far.item() == 500  # no price keeps from telling this


@pytest.mark.parametrize(
    "name, told, width",
    [("video", 1, 16.0), ("video", 3, 16.0), ("video-codec", 3, 1.0), ("video-codec", 4, 1.0)],
)
@torch.no_grad()
def test_bits_are_spared_on_all_levels_and_of_codecs_on_the_finest_told(name, told, width):
    model, chosen = stlatent.load(name), {}
    x, _ = centre_clip(CLIP, (9, 128, 128))

    def choose(site, posterior, prior):
        z = write(site, posterior, prior)
        if site.level < told:
            step = width * write.steps[site].view(1, -1, 1, 1, 1)
            chosen[site] = (z - prior.mean) / step, (posterior.mean - prior.mean) / step
        return z

    count = len(model.levels)
    write = Writing([STEP] * count, scales=[width] * told + [None] * (count - told))
    past = Past()
    model.tell(past, len(x))
    features, grid = model.rise(x, past)
    model.descend(choose, grid, past, features, levels=count)
    for site, (k, value) in chosen.items():
        spared = not ((k - value).abs() < 0.501).all()
        assert spared == (name == "video" or site.level == told - 1)


def test_a_data_set_reaches_its_target_and_says_how(model, clips, aimed, tmp_path):
    store = LatentStore(aimed, model)
    made = decode_store(model, store, tmp_path / "out", format="npy", precision="fp32")
    for name, path in zip(store.items, made, strict=True):
        item, x = store.items[name], to_float(pixels(clips / name))[None]
        assert psnr(x, to_float(np.load(path))[None]).item() >= PSNR_DB - 0.01
        assert min(chunk.psnr_db for chunk in item.chunks) >= PSNR_DB and len(item.chunks) == 3
        for level in range(3):
            span = store._files.span(item, store.unit(name), level)
            assert sum(chunk.bits[level] for chunk in item.chunks) == 8 * math.prod(span.shape)
    assert store.manifest.coding.target.psnr_db == PSNR_DB and store.manifest.missed == 0
    assert not verify_store(aimed)[2]


def test_what_stands_still_costs_a_fraction(aimed):
    moving, still = (LatentStore(aimed).items[f"{name}.mp4"] for name in ("moving", "still"))
    later = [sum(sum(chunk.bits) for chunk in item.chunks[1:]) for item in (moving, still)]
    assert later[1] < 0.4 * later[0]
    assert sum(map(len, (moving.chunks, still.chunks))) == 6


def test_what_is_killed_and_shared_comes_to_the_same_bytes(model, clips, aimed, tmp_path):
    options = EncodeOptions(psnr_db=PSNR_DB, unit_files=1)

    def work(shard: tuple[int, int] = (0, 1)) -> None:
        encode_folder(model, clips, tmp_path / "out", "video", options, shard=shard)

    assert killed(lambda: work((1, 2)), 4)
    work((1, 2))
    work((0, 2))
    assert content(tmp_path / "out") == content(aimed)
    with pytest.raises(ValueError, match=r"other --psnr \(24 there, 25 here\)"):
        encode_folder(model, clips, tmp_path / "out", "video", EncodeOptions(psnr_db=25.0))


def test_a_target_out_of_reach_is_said(model, clips, tmp_path):
    shutil.copy(clips / "moving.mp4", tmp_path / "a.mp4")
    options = EncodeOptions(psnr_db=90.0)
    result = encode_folder(model, tmp_path, tmp_path / "z", "video", options)
    assert result.missed == ("a.mp4",)
    assert "out of reach in 1 of 1 items, such as a.mp4" in str(result)
    chunks = LatentStore(tmp_path / "z").items["a.mp4"].chunks
    assert result.psnr_db == min(chunk.psnr_db for chunk in chunks)
    assert f"PSNR: {result.psnr_db:.2f} dB where it is lowest" in str(result)
    assert LatentStore(tmp_path / "z").manifest.missed == 1
    assert "the target is out of reach in 1 items" in str(job_status(tmp_path / "z"))


def test_no_bit_of_what_is_told_is_without_a_check():
    model, x = ladder("video"), batch("video", (5, 16, 16), count=1)
    target = Target(psnr_db=3.0)
    codes, _ = told(model, x, target)
    coding = make_coding(model, [STEP], target)
    for k, code in enumerate(codes):
        place = 2 * model.levels[k].latent * model.levels[k].groups  # behind the steps
        for bit in range(8):
            damaged = bytearray(code.stream)
            damaged[place] ^= 1 << bit
            streams = [bytes(damaged) if c is code else c.stream for c in codes]
            with pytest.raises(ValueError, match=f"priors of level {k}|a level ends"):
                list(read_clip(model, coding, x.shape[2:], [*map(io.BytesIO, streams[: k + 1])]))


def test_what_has_no_psnr_or_no_bits_is_refused():
    for values, said in (
        ({"psnr_db": 30.0, "bits_per_pixel": 1.0}, "--psnr and --bits-per-pixel all say"),
        ({"psnr_db": 30.0, "step": (5.0,)}, "--psnr and --step all say"),
        ({"psnr_db": 30.0, "dtype": ("int8",)}, "leave out --dtype"),
        ({"psnr_db": 30.0, "precision": "bf16"}, "priors in fp32"),
        ({"bits_per_pixel": 0.0}, "greater than 0"),
    ):
        with pytest.raises(ValueError, match=said):
            EncodeOptions(**values)
    for variant, said in (("audio", "--psnr: not for sound"), ("voxel", "--psnr: not for")):
        medium = medium_of(ladder(variant, channels=1))
        with pytest.raises(ValueError, match=said):
            resolved(medium, EncodeOptions(psnr_db=30.0))
