"""The page of `stlatent demo`, in a browser: it shows what `decode` gives."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import numpy as np
import pytest
import torch
import trimesh
from chromium import Tab, tab
from documents import ROOT, browser, environment
from PIL import Image
from safetensors.torch import load_file

import stlatent
from stlatent.demo.app import AGE_S, new_place
from stlatent.demo.studio import Studio
from stlatent.media.options import Extent
from stlatent.media.video.pixels import to_uint8
from stlatent.media.video.readers import VideoReader

CLIP = ROOT / "assets" / "clips" / "wolf.mp4"
MESH = ROOT / "assets" / "meshes" / "power_drill.ply"
EXTENT = Extent(9, (96, 96))


@pytest.fixture(scope="module")
def studio() -> Studio:
    return Studio(["video", "voxel"])


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("picture") / "wolf.png"
    with VideoReader(CLIP) as clip:
        Image.fromarray(clip.read([0])[0]).save(path)
    return path


def test_what_was_made_goes_after_an_hour(tmp_path):
    first, second = new_place(tmp_path), new_place(tmp_path)
    (first / "decoded.mp4").touch()
    before = time.time() - AGE_S - 1
    os.utime(first, (before, before))
    third = new_place(tmp_path)
    assert {*tmp_path.iterdir()} == {second, third}


def test_what_the_studio_gives_is_what_the_model_gives(studio, tmp_path):
    opened = studio.open(CLIP, EXTENT)
    model = stlatent.load("video")
    for k, y in enumerate(opened.prefixes):
        assert torch.equal(y, model.decode(model.encode(opened.x), k + 1))
    held = studio.redraw(opened, [0, 1, 2], 1.0, 0)  # nothing is left to draw
    torch.testing.assert_close(held, opened.prefixes[-1], atol=1e-5, rtol=1e-5)
    assert torch.equal(studio.redraw(opened, [0], 0.3, 7), studio.redraw(opened, [0], 0.3, 7))
    other = studio.open(ROOT / "assets" / "clips" / "coffee_pour.mp4", EXTENT, like=opened)
    assert torch.equal(studio.mix(opened, other, [0, 1, 2]), other.prefixes[-1])
    assert torch.equal(studio.mix(opened, other, []), opened.prefixes[-1])
    saved = load_file(studio.save_latents(opened, tmp_path))
    assert all(torch.equal(saved[f"level_{k}"], z) for k, z in enumerate(opened.latents.levels))
    rows = studio.table(opened)
    numbers = [int(row[2].replace(",", "")) for row in rows]
    assert numbers == [z.numel() for z in opened.latents.levels]


def test_a_sparse_model_does_what_others_do(tmp_path):
    """Where one level says where the next one is, not all mixtures and draws are."""
    studio, meshes = Studio(["assets"]), MESH.parent
    opened = studio.open(MESH, Extent())
    other = studio.open(meshes / "featuretype.stl", Extent(), like=opened)
    whole = opened.prefixes[-1].dense()
    torch.testing.assert_close(studio.redraw(opened, [0, 1, 2], 1.0, 0).dense(), whole)
    assert not torch.equal(studio.redraw(opened, [], 0.5, 0).dense(), whole)
    mixed = studio.mix(opened, other, [1, 2])
    assert torch.equal(studio.mix(other, opened, [0]).dense(), mixed.dense())
    assert torch.equal(studio.mix(opened, other, []).dense(), whole)
    with pytest.raises(ValueError, match="all from a level on"):
        studio.mix(opened, other, [1])
    assert trimesh.load_mesh(studio.write(opened, mixed, tmp_path, "mixed")).faces.size > 3000
    assert Image.open(studio.panels(opened, tmp_path)).width > 400
    assert len(studio.table(opened)) == 3
    saved = load_file(studio.save_latents(opened, tmp_path))
    back = opened.model.from_grids([saved[f"level_{k}"] for k in range(3)])
    assert torch.equal(opened.model.decode(back).dense(), whole)


def test_what_cannot_be_read_is_said_in_one_line(studio, tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    (tmp_path / "a.txt").write_text("no")
    for name in ("a.mp4", "a.txt"):
        with pytest.raises(ValueError, match="cannot be read|no model here reads '.txt'") as error:
            studio.open(tmp_path / name, EXTENT)
        assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a page that the command serves."""
    pytest.importorskip("gradio")
    pytest.importorskip("websockets")
    if browser() is None:
        pytest.skip("there is no Chromium here")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("demo") / "log"
    with log.open("w") as file:
        command = [sys.executable, "-m", "stlatent", "demo", "--port", str(port)]
        running = subprocess.Popen(command, env=environment(), stdout=file, stderr=file)
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 600
        while not answers(url):
            assert running.poll() is None and time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.1)
        yield url
    finally:
        running.terminate()
        running.wait(120)


def answers(url: str) -> bool:
    try:
        return bool(urllib.request.urlopen(url, timeout=10).read())
    except OSError:
        return False


@pytest.fixture(scope="module")
def page(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with tab(address, tmp_path_factory.mktemp("chromium")) as found:
        found.wait("document.querySelector('#file input[type=file]') !== null")
        yield found


def encode(page: Tab, path: Path) -> None:
    """Encode a file on the page."""
    table = "(document.querySelector('#numbers table')?.innerText ?? '')"
    before = json.dumps(page.run(table))
    if page.run("document.querySelector('#file button[aria-label=\"Clear\"]') !== null"):
        page.run("document.querySelector('#file button[aria-label=\"Clear\"]').click()")
    page.wait("document.querySelector('#file input[type=file]') !== null")
    page.choose("#file input[type=file]", path)
    page.wait(f"document.querySelector('#file').innerText.includes('{path.stem}')")
    page.run("document.querySelector('#encode').click()")
    page.wait(
        f"(document.querySelector('#numbers table')?.innerText ?? '') !== {json.dumps(before)}"
    )


def source(page: Tab, selector: str) -> str:
    """The address of what an element shows."""
    return page.wait(f"document.querySelector('{selector}')?.getAttribute('src')")


def fetched(address: str, url: str, path: Path) -> Path:
    with urllib.request.urlopen(urljoin(address, url)) as answer, path.open("wb") as file:
        shutil.copyfileobj(answer, file)
    return path


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


def test_a_clip_shows_what_decode_gives(page, address, studio, tmp_path):
    encode(page, CLIP)
    url = source(page, "#decoded video")
    opened = studio.open(CLIP, Extent(17, (256, 256)))
    with VideoReader(fetched(address, url, tmp_path / "decoded.mp4")) as video:
        frames = video.read(range(video.frames))
    whole = to_uint8(opened.prefixes[-1][0])
    assert frames.shape == whole.shape and psnr(frames, whole) > 30  # H.264 lies between
    panels = source(page, "#prefixes video")
    with VideoReader(fetched(address, panels, tmp_path / "panels.mp4")) as video:
        assert video.read([0]).shape[2] >= 4 * 256  # original and three prefixes
    table = page.run("document.querySelector('#numbers').innerText")
    assert all(f"{z.numel():,}" in table for z in opened.latents.levels)
    page.run("[...document.querySelectorAll('button[role=tab]')][1].click()")
    page.run("document.querySelector('#draw').click()")
    drawn = source(page, "#drawn video")
    with VideoReader(fetched(address, drawn, tmp_path / "drawn.mp4")) as video:
        made = to_uint8(studio.redraw(opened, [0], 0.3, 0)[0])
        assert psnr(video.read(range(video.frames)), made) > 25
    page.run("[...document.querySelectorAll('button[role=tab]')][0].click()")


def test_a_picture_shows_what_decode_gives(page, address, studio, picture, tmp_path):
    encode(page, picture)
    url = source(page, "#decoded img")
    opened = studio.open(picture, Extent(17, (256, 256)))
    with Image.open(fetched(address, url, tmp_path / "decoded.png")) as shown:
        pixels = np.asarray(shown.convert("RGB")).astype(int)
    # Another process has another number of threads, and so other last digits.
    assert np.abs(pixels - to_uint8(opened.prefixes[-1][0])[0]).max() <= 1


def test_a_mesh_shows_what_decode_gives(page, address, studio, tmp_path):
    pytest.importorskip("igl")
    encode(page, MESH)
    page.wait("document.querySelector('#decoded canvas') !== null")  # the viewer
    links = "[...document.querySelectorAll('#files a')].map(link => link.href)"
    url = page.wait(f"{links}.find(link => link.endsWith('.glb'))")
    opened = studio.open(MESH, Extent())
    expected = studio.write(opened, opened.prefixes[-1], tmp_path, "expected")
    found, mesh = (
        trimesh.load(path, force="mesh")
        for path in (fetched(address, url, tmp_path / "decoded.glb"), expected)
    )
    assert len(found.faces) == len(mesh.faces) > 1000
    assert np.allclose(found.bounds, mesh.bounds, atol=1e-5)


def test_errors_are_messages(page, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    page.run("document.querySelector('#file button[aria-label=\"Clear\"]')?.click()")
    page.wait("document.querySelector('#file input[type=file]') !== null")
    page.choose("#file input[type=file]", tmp_path / "broken.mp4")
    page.wait("document.querySelector('#file').innerText.includes('broken')")
    page.run("document.querySelector('#encode').click()")
    page.wait("document.body.innerText.includes('broken.mp4 cannot be read')")
