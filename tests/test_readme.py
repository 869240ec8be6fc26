"""The README is short, its code runs and prints what it says; its commands run on ordinary folders,
word for word; its figures are those that were measured."""

import itertools
import json
import math
import re
from pathlib import Path

import pytest
import torch
import trimesh
from documents import ROOT, blocks, commands, pictures, run_code, run_line, videos
from PIL import Image
from test_codec import write_video

import stlatent
from stlatent.checkpoint import about
from stlatent.cli.verbs import parser
from stlatent.evaluate import prefix_quality
from stlatent.evaluate.latents import ABOUT
from stlatent.geometry import FieldSettings, field_from_surface, read_surface, volume_iou
from stlatent.geometry.values import Values
from stlatent.media.video.clips import centre_clip
from stlatent.shipped import shipped_models, shipped_pipelines
from stlatent.triplane.autoencoder import as_volume

README = (ROOT / "README.md").read_text()
BENCHMARKS = (ROOT / "docs" / "benchmarks.md").read_text()
WORDS, PICTURE_BYTES = 1100, 3 * 2**20


def test_it_is_short_and_shows_what_moves():
    assert len(README.split()) <= WORDS
    path = ROOT / re.search(r"!\[.*\]\((.*)\)", README)[1]
    assert path.stat().st_size <= PICTURE_BYTES
    with Image.open(path) as picture:
        assert picture.n_frames > 16


def test_what_it_links_to_is_there():
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (ROOT / link).exists(), f"{page.name}: {link}"


def test_code_runs_and_prints_what_stands_below_it(tmp_path, monkeypatch):
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks(README, "python"):
        run_code(block.text, names)


def test_commands_exist():
    words = commands(README)
    assert {line[1] for line in words} >= {
        "train", "encode", "decode", "inspect", "sample", "generate", "export", "mix"
    }  # fmt: skip
    for line in words:
        parser().parse_args(line[1:])


def run_block(heading: str) -> None:
    """Run the first commands below a heading."""
    block = blocks(README.partition(f"{heading}\n")[2], "bash")[0]
    for line in block.text.splitlines():
        run_line(line)


def test_commands_run_on_an_ordinary_folder_of_videos(tmp_path, monkeypatch):
    videos(tmp_path / "VIDEOS")
    write_video(tmp_path / "clip.mp4", (40, 144, 160))
    pictures(tmp_path / "PICTURES")
    monkeypatch.chdir(tmp_path)
    run_block("### Compress a data set")
    names = [{p.stem for p in Path(folder).iterdir()} for folder in ("previews", "VIDEOS")]
    assert names[0] == names[1]
    assert len(list(Path("samples").iterdir())) == 8 and Path("report/index.html").is_file()
    assert ABOUT in about("runs/mine")  # exported without data
    run_block("### Latent diffusion")
    assert {p.name for p in Path("videos").iterdir()} >= {"0000.mp4", "0001.mp4", "sheet.png"}


def test_commands_run_on_a_folder_of_meshes(tmp_path, monkeypatch):
    pytest.importorskip("igl")
    (tmp_path / "MESHES").symlink_to(ROOT / "assets" / "meshes")
    drill = trimesh.load(ROOT / "assets" / "meshes" / "power_drill.ply")
    for name in ("mesh.glb", "A.glb", "B.glb"):
        drill.export(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    run_block("### Shapes")
    assert {p.name for p in Path("meshes").iterdir()} == {"featuretype.glb", "power_drill.glb"}


def test_figures_are_those_that_were_measured():
    """Of the shipped models: `figures.json` beside them."""
    prefixes = json.loads((shipped_models()["video"].parent / "figures.json").read_text())
    prefixes = prefixes["prefixes"]
    for prefix in prefixes:
        row = rf"\| {prefix['psnr_db']:.2f} \| [\d.]+ \| {prefix['ssim']:.3f} \| "
        assert re.search(row + f"{prefix['borders']:.2f}", BENCHMARKS), prefix
        assert f"1/{prefix['values_per_number']:.0f}" in README
    said = ", ".join(f"{prefix['psnr_db']:.2f}" for prefix in prefixes)
    assert said in README and f"| {prefixes[-1]['psnr_db']:.2f} dB" in README
    index = (ROOT / "docs" / "index.md").read_text()
    concept = (ROOT / "docs" / "concepts" / "prefixes.md").read_text()
    for prefix in prefixes:
        assert f"1/{prefix['values_per_number']:.0f}" in index
        assert f"| {prefix['psnr_db']:.2f} | {prefix['ssim']:.3f} |" in concept
    shapes = json.loads((shipped_models()["voxel"].parent / "figures.json").read_text())
    for prefix in shapes["prefixes"]:
        assert (
            f"| {prefix['volume_iou']:.3f} " in README
            and f"| {prefix['volume_iou']:.3f} " in BENCHMARKS
        )
    rates = json.loads((shipped_models()["codec"].parent / "kodak.json").read_text())["bd_rate"]
    jpeg, webp, avif = (round(100 * rates[name]) for name in ("JPEG", "WEBP", "AVIF"))
    compared = f"take {-jpeg} and {-webp} % fewer bits than JPEG and WebP, {avif} % more than AVIF"
    assert compared in README
    drawn = json.loads((shipped_models()["assets"].parent / "drawn.json").read_text())
    whole, once = (
        sum(round(half["valid"] * half["assets"]) for half in draws["halves"])
        for draws in (drawn, drawn["one_try"])
    )
    count = sum(half["assets"] for half in drawn["halves"])
    assert f"{whole} of {count} are whole; {once} with `--tries 1`" in README


def test_the_page_of_models_says_what_was_measured():
    """docs/models.md: a row for everything that ships, with the numbers and the main figure of
    each prefix where the row has them from `figures.json`."""
    page = (ROOT / "docs" / "models.md").read_text()
    rows = dict(re.findall(r"^\| \[`([\w-]+)`\]\S+ \|(.*)$", page, re.MULTILINE))
    assert set(rows) == {*shipped_models(), *shipped_pipelines()}
    for name, file in shipped_models().items():
        assert file.stat().st_size <= 12 * 2**20, name
        prefixes = json.loads((file.parent / "figures.json").read_text())["prefixes"]
        fewer = [prefix["values_per_number"] for prefix in prefixes]
        (row,) = re.findall(rf"^\| \[`{name}`\].*1/.*$", page, re.MULTILINE)
        assert ", ".join(f"1/{n:.0f}" if n > 10 else f"1/{n:.1f}" for n in fewer) in row, row
    for name, key, digits in (("video", "psnr_db", 2), ("voxel", "volume_iou", 3)):
        for model in (name, {"video": "video-motion", "voxel": "triplane"}[name]):
            file = shipped_models()[model].parent / "figures.json"
            prefixes = json.loads(file.read_text())["prefixes"]
            assert ", ".join(f"{prefix[key]:.{digits}f}" for prefix in prefixes) in page


def test_the_map_of_the_house_is_true():
    """CONTRIBUTING.md: every folder has its paragraph, and what it names is there."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    folders = {f"stlatent/{f.parent.name}/" for f in (ROOT / "stlatent").glob("*/__init__.py")}
    assert folders == {name for name in re.findall(r"^\*\*`(stlatent/\w+/)`", text, re.MULTILINE)}
    for path in re.findall(r"`((?:stlatent|tools|configs)/[\w/.]*)`", text):
        assert (ROOT / path).exists() or "NAME" in path, path
    for paragraph in re.findall(r"^\*\*`(stlatent/\w+/)`(.*)$", text, re.MULTILINE):
        for name in re.findall(r"`(\w+\.(?:py|html))`", paragraph[1]):
            assert (ROOT / paragraph[0] / name).is_file(), name


@torch.inference_mode()
def test_shipped_video_model_is_as_described():
    file = shipped_models()["video"]
    assert file.stat().st_size <= 12 * 2**20
    figures = json.loads((file.parent / "figures.json").read_text())
    model = stlatent.load("video")
    assert figures["parameters"] == sum(p.numel() for p in model.parameters())
    recorded = figures["prefixes"]
    assert recorded[0]["values_per_number"] >= 1500 and recorded[-1]["values_per_number"] >= 48
    x, _ = centre_clip(ROOT / "assets" / "clips" / "wolf.mp4", (17, 256, 256))
    found = prefix_quality(model, [x])
    quality = [prefix.psnr_db for prefix in found]
    assert all(fine > coarse + 1.5 for coarse, fine in itertools.pairwise(quality))
    assert quality[0] > 18 and quality[-1] > 26
    assert found[-1].values_per_number >= 48


@torch.inference_mode()
@pytest.mark.parametrize(
    ("name", "most", "worst"), [("voxel", 4096, 0.9), ("triplane", 5496, 0.87)]
)
def test_shipped_models_of_shapes_are_as_described(name, most, worst):
    file = shipped_models()[name]
    assert file.stat().st_size <= 12 * 2**20
    figures, model = json.loads((file.parent / "figures.json").read_text()), stlatent.load(name)
    assert figures["parameters"] == sum(p.numel() for p in model.parameters())
    numbers = [math.prod(shape) for shape in model.latent_shape((64, 64, 64))]
    assert numbers[0] <= 128 and sum(numbers) <= most
    field = field_from_surface(
        read_surface(ROOT / "assets" / "meshes" / "power_drill.ply"), FieldSettings(resolution=64)
    )
    values = Values.of(model.config)
    latents = model.encode(values.from_field(field)[None])
    decoded = [as_volume(model, model.decode(latents, k + 1))[0] for k in range(3)]
    shapes = [values.to_field(one, field.band_voxels) for one in decoded]
    found = [volume_iou(field.distance, shape.distance) for shape in shapes]
    assert found[0] > 0.6 and found[0] < found[1] < found[2] and found[2] > worst
