"""The level report: its numbers against their definitions, its files, and its page in a browser."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from domains import ladder
from skimage import data

from stlatent import Draw, Ladder, Level, ModelConfig, Stage
from stlatent.evaluate import (
    band_shares,
    level_statistics,
    prefix_quality,
    redraw,
    write_report,
)
from stlatent.evaluate.report import jsonable
from stlatent.evaluate.spectrum import spatial_energy, temporal_energy
from stlatent.media import psnr
from stlatent.model.kinds import EmaCodebook

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NASTY = f'{"名" * 90}/a/<b>"clip" & $more.mp4'


def clip(frames: int = 9, height: int = 48, width: int = 61) -> torch.Tensor:
    """A pan over a photograph `[1, 3, T, H, W]` in [-1, 1]."""
    photo = torch.from_numpy(data.astronaut()).permute(2, 0, 1) / 127.5 - 1
    crops = [photo[:, 60 : 60 + height, 150 + 3 * t : 150 + 3 * t + width] for t in range(frames)]
    return torch.stack(crops, 1)[None]


@pytest.fixture(scope="module")
def model() -> Ladder:
    return ladder("video")


@pytest.fixture(scope="module")
def clips() -> list[torch.Tensor]:
    return [clip(), clip(frames=5, height=33)]


# numbers ------------------------------------------------------------------------------------------


def test_verdicts_name_the_level_and_what_to_change(tmp_path: Path) -> None:
    """A level whose posterior is its prior; a codebook of which one code is used."""
    level = {"stride": (8, 8), "width": 16, "latent": 4, "blocks": 0}
    book = EmaCodebook(size=64)
    config = ModelConfig(
        domain="image",
        stem=Stage(stride=(4, 4), width=16, blocks=0),
        levels=(Level(**level), Level(**level, codebook=book)),
        likelihood="gaussian",
    )
    torch.manual_seed(0)
    model = Ladder(config).eval().requires_grad_(False)
    for cells in model.cells:
        cells[0].posterior.evidence.out.weight.zero_()  # deaf to the input
    x = clip(1)[:, :, 0]
    report = write_report(model, [("a.png", x)], tmp_path / "report", draws=3)
    collapsed, empty, idle = report["verdicts"][0], report["verdicts"][-2], report["verdicts"][-1]
    assert "Level 0 has collapsed: 0 of its 4 channels" in collapsed
    assert "loss.prefix.share" in collapsed and re.match(r"Level 1 adds [+-]0.0\d dB", empty)
    assert "Level 1 uses 1 of the 64 codes" in idle
    assert report["codes"][0]["perplexity"] == pytest.approx(1)
    assert {"Codes", "Log-likelihood"} < set(report["definitions"])
    found = report["log_likelihood"]
    (nats,), (bits,) = found["nats"], found["bits_per_dimension"]
    assert bits == pytest.approx(-nats / math.log(2) / x.numel()) and found["draws"] == 3
    page = (tmp_path / "report" / "index.html").read_text()
    assert f"{nats:,.1f} nats, {bits:.3f} bits per dimension (3 draws)" in page
    assert "has collapsed" in (tmp_path / "report" / "index.html").read_text()


def test_a_level_that_works_gets_no_verdict(model: Ladder, tmp_path: Path) -> None:
    levels = tuple(lv.model_copy(update={"width": 64}) for lv in model.config.levels)
    torch.manual_seed(0)
    linear = Ladder(model.config.model_copy(update={"levels": levels})).eval()
    report = write_report(linear, [("a.mp4", clip())], tmp_path / "report")
    assert report["verdicts"] == []


def test_prefixes_add_up_numbers_and_bits(model: Ladder, clips: list[torch.Tensor]) -> None:
    prefixes = prefix_quality(model, clips)
    for index, x in enumerate(clips):
        latents, kl = model.encode(x), model(x).latents.kl
        for prefix in prefixes:
            measured = prefix.clips[index]
            bits = sum(nats.sum().item() for nats in kl[: prefix.levels]) / math.log(2)
            decoded = model.decode(latents, levels=prefix.levels)
            assert measured.numbers == sum(z.numel() for z in latents.levels[: prefix.levels])
            assert measured.values == x.numel()
            assert measured.bits == pytest.approx(bits, rel=1e-5)
            assert measured.figures["psnr_db"] == psnr(x, decoded).item()
    total = sum(x.numel() for x in clips) / sum(model.encode(x).numel for x in clips)
    assert prefixes[-1].values_per_number == pytest.approx(total)


def test_level_statistics_are_those_of_the_latents(
    model: Ladder, clips: list[torch.Tensor]
) -> None:
    levels = level_statistics(model, clips)
    latents = [model.encode(x) for x in clips]
    for k, level in enumerate(levels):
        flat = torch.cat([z.levels[k].transpose(0, 1).flatten(1) for z in latents], 1)
        torch.testing.assert_close(torch.tensor(level.mean), flat.mean(1))
        torch.testing.assert_close(torch.tensor(level.std), flat.std(1, correction=0))
    whole = prefix_quality(model, clips)[-1]
    assert sum(level.bits for level in levels) == pytest.approx(whole.bits, rel=1e-5)
    assert sum(level.bits_per_value for level in levels) == pytest.approx(whole.bits_per_value)


def test_a_level_that_repeats_its_prior_costs_nothing_and_is_not_active() -> None:
    model = ladder("video")
    for parameter in model.cells[1][0].posterior.evidence.out.parameters():
        parameter.zero_()  # q(z | x) = p(z) in the first group of the middle level
    level = level_statistics(model, [clip()])[1]
    half = len(level.channel_bits) // 2
    assert level.channel_bits[:half] == (0.0,) * half
    assert not any(level.active_by_rate[:half]) and all(level.active_by_rate[half:])


def test_redrawing_changes_the_levels_asked_for_and_is_reproducible(model: Ladder) -> None:
    x = clip()
    latents = model.encode(x)

    def drawn(levels, seed: int) -> torch.Tensor:
        return redraw(model, latents, levels, torch.Generator().manual_seed(seed))

    assert torch.equal(redraw(model, latents, []), model.decode(latents))
    assert torch.equal(drawn([1], 1), drawn([1], 1))
    assert not torch.equal(drawn([1], 1), drawn([1], 2))
    finest = model.decode(latents, 2, Draw(generator=torch.Generator().manual_seed(3)))
    assert torch.equal(drawn([2], 3), finest)
    everything = model.sample(latents.size, generator=torch.Generator().manual_seed(4))
    assert torch.equal(drawn(range(3), 4), everything)


@pytest.mark.parametrize("wavelength, band", [(100, 0), (48, 1), (24, 2), (12, 3), (6, 4), (3, 5)])
def test_waves_in_space_fall_into_their_octave(wavelength: int, band: int) -> None:
    wave = torch.sin(2 * math.pi * torch.arange(300) / wavelength)
    for frame in (wave.expand(1, 3, 2, 280, 300), wave[:, None].expand(1, 3, 2, 300, 280)):
        energy = spatial_energy(frame)
        assert energy[band] > 0.95 * energy.sum()


@pytest.mark.parametrize("wavelength, band", [(1000, 0), (12, 1), (6, 2), (3, 3)])
def test_waves_in_time_fall_into_their_octave(wavelength: int, band: int) -> None:
    wave = torch.cos(2 * math.pi * torch.arange(65) / wavelength)
    energy = temporal_energy(wave.view(1, 1, -1, 1, 1).expand(1, 3, -1, 8, 8))
    assert energy[band] > 0.95 * energy.sum()


def test_shares_sum_to_one(model: Ladder, clips: list[torch.Tensor]) -> None:
    shares = band_shares(model, clips, torch.Generator().manual_seed(0))
    assert set(shares) == {"spatial", "temporal"}
    for share in shares.values():
        assert np.array(share.of_band).sum(0) == pytest.approx(1)
        assert np.array(share.of_level).sum(1) == pytest.approx(1)
    assert set(band_shares(model, [clip(frames=1)])) == {"spatial"}


# files --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def named(clips: list[torch.Tensor]) -> list[tuple[str, torch.Tensor]]:
    return list(zip(["pan.mp4", NASTY, "unshown.mp4"], [*clips, clip(frames=5)], strict=True))


@pytest.fixture(scope="module")
def video_report(
    tmp_path_factory: pytest.TempPathFactory, model: Ladder, named: list[tuple[str, torch.Tensor]]
) -> Path:
    out = tmp_path_factory.mktemp("video") / "report"
    write_report(model, named, out, shown=2)
    return out


@pytest.fixture(scope="module")
def image_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("image") / "report"
    write_report(ladder("image"), [("photo.png", clip(1)[:, :, 0])], out)
    return out


def test_what_is_no_number_is_called_so_and_no_perfect_copy(tmp_path: Path) -> None:
    """Of weights as a training that went astray leaves them."""
    broken, x = ladder("image"), clip(1)[:, :, 0]
    with torch.no_grad():
        broken.head.conv.bias.fill_(math.nan)
    report = write_report(broken, [("a.png", x), ("b.png", x)], tmp_path / "report")
    assert "decode to values that are not numbers (NaN)" in report["summary"]
    assert "perfect" not in report["summary"] and "nan" not in report["summary"]
    assert report["verdicts"][0].startswith("Of 2 pictures 2, such as a.png, decode to values")
    assert report["prefixes"][0]["psnr_db"] is None  # JSON has no NaN
    page = (tmp_path / "report" / "index.html").read_text()
    assert "∞" not in page and "<td>–</td>" in page and "– (a.png)" in page


def test_a_perfect_copy_is_told_from_what_cannot_be_computed(tmp_path: Path) -> None:
    """Of a model that makes all grey, and a grey picture."""
    grey = ladder("image")
    with torch.no_grad():
        grey.head.conv.weight.zero_()
        grey.head.conv.bias.zero_()
    report = write_report(grey, [("a.png", torch.zeros(1, 3, 32, 32))], tmp_path / "report")
    text = (tmp_path / "report" / "report.json").read_text(encoding="utf-8")

    def refused(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    assert json.loads(text, parse_constant=refused) == report
    assert {float(prefix["psnr_db"]) for prefix in report["prefixes"]} == {math.inf}
    assert jsonable({"down": [-math.inf, 1.5, math.nan]}) == {"down": ["-Infinity", 1.5, None]}


def test_numbers_on_disk_are_those_measured(
    video_report: Path, model: Ladder, named: list[tuple[str, torch.Tensor]]
) -> None:
    report = json.loads((video_report / "report.json").read_text())
    assert [c["name"] for c in report["clips"]] == ["pan.mp4", NASTY, "unshown.mp4"]
    expected = prefix_quality(model, [x for _, x in named])
    assert [p["psnr_db"] for p in report["prefixes"]] == [p.psnr_db for p in expected]
    assert [p["bits"] for p in report["prefixes"]] == [p.bits for p in expected]
    assert f"{expected[-1].psnr_db:.2f} dB" in report["summary"]
    assert [len(level["mean"]) for level in report["levels"]] == [4, 10, 6]
    assert not {"Codes", "Log-likelihood"} & set(report["definitions"])  # of nothing that is there
    names = {path.name for path in video_report.rglob("*.*")}
    assert {"00_pan.png", "00_pan.mp4", "rate_quality.png", "bands_temporal.png"} <= names


def test_a_former_report_is_replaced_only_when_asked(
    tmp_path: Path, video_report: Path, model: Ladder, named: list[tuple[str, torch.Tensor]]
) -> None:
    out = shutil.copytree(video_report, tmp_path / "out")
    with pytest.raises(ValueError, match="former report"):
        write_report(model, named, out)
    second = write_report(model, named, out, title="second", shown=0, replace=True)
    assert json.loads((out / "report.json").read_text()) == second
    first = json.loads((video_report / "report.json").read_text())
    assert first | {"title": "second"} == second  # the same seed gives the same numbers
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_anything_else_is_never_replaced(tmp_path: Path, model: Ladder) -> None:
    (tmp_path / "report.json").write_text('{"format": "something else"}')
    for place in (tmp_path, tmp_path / "report.json"):
        with pytest.raises(ValueError, match="no level report"):
            write_report(model, [("pan", clip(2))], place, replace=True)
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_a_report_that_fails_leaves_nothing_and_spoils_nothing(
    tmp_path: Path, video_report: Path, model: Ladder
) -> None:
    def broken() -> Iterator[tuple[str, torch.Tensor]]:
        yield "pan", clip(2)
        raise RuntimeError("the disk is gone")

    shutil.copytree(video_report, tmp_path / "old")
    for out in ("old", "new"):
        with pytest.raises(RuntimeError, match="the disk is gone"):
            write_report(model, broken(), tmp_path / out, replace=True)
    with pytest.raises(ValueError, match="no clips"):
        write_report(model, [], tmp_path / "new")
    with pytest.raises(ValueError, match=r"'two'.*\[2, 3, 2, 48, 61\]"):
        write_report(model, [("two", torch.cat([clip(2)] * 2))], tmp_path / "new")
    with pytest.raises(ValueError, match="voxel"):
        write_report(ladder("voxel"), [], tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old" / "report.json").read_bytes() == (
        video_report / "report.json"
    ).read_bytes()


# page ---------------------------------------------------------------------------------------------


def browse(
    page: Path, profile: Path, graphics: Sequence[str] = ("--disable-gpu",)
) -> tuple[str, str]:
    """The page's document after loading in a headless browser, and the browser's log."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"no browser to test the page in; install one of {', '.join(BROWSERS)}")
        pytest.skip(f"no browser found; install one of {', '.join(BROWSERS)}")
    flags = "--headless=new --no-sandbox --enable-logging=stderr --dump-dom"
    offline = ["--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}"]
    command = [browser, *flags.split(), *offline, *graphics, "--timeout=20000", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    return done.stdout, done.stderr


@pytest.mark.parametrize("kind, pictures, videos", [("video", 4 + 2 * 9, 2), ("image", 3 + 9, 0)])
def test_page_shows_everything_in_a_browser(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, pictures: int, videos: int
) -> None:
    page = request.getfixturevalue(f"{kind}_report") / "index.html"
    document, log = browse(page, tmp_path)
    root = re.search(r"<html[^>]*>", document).group()
    total = pictures + videos
    assert len(re.findall("<img ", document)) == pictures
    assert len(re.findall("<video ", document)) == videos
    assert f'data-loaded="{total}/{total}"' in root and 'data-failed=""' in root
    assert [line for line in log.splitlines() if "CONSOLE" in line] == []


def test_page_needs_no_other_file_and_escapes_names(video_report: Path) -> None:
    html = (video_report / "index.html").read_text()
    assert re.findall(r'\b(?:src|srcset|href)\s*=\s*"(?!data:)[^"]*', html) == []
    assert not re.search(r"@import|url\(|\bfetch\(|https?://(?!www\.w3\.org)", html)
    assert "<b>&#34;" not in html and "a/&lt;b&gt;&#34;clip&#34; &amp; $more.mp4" in html
    assert "1 more is in the numbers" in html
