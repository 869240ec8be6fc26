"""Latents that were computed before as sources: what trainers cache, and data sets of ours."""

import json
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from test_codec import write_video
from test_foundation import CLASSES, config

from stlatent import ModelConfig, checkpoint
from stlatent.cli import main
from stlatent.export.folder import wrap
from stlatent.foundation.autoencoder import FoundationAutoencoder
from stlatent.foundation.frozen import FrozenAutoencoder
from stlatent.jobs.preview import HEIGHT
from stlatent.media.video.clips import centre_clip
from stlatent.model.ladder import Ladder
from stlatent.store import LatentStore

FP32 = ["--dtype", "float32", "--precision", "fp32"]


def saved(module: torch.nn.Module, folder: Path) -> FoundationAutoencoder:
    """A small model of random weights on a foundation, in `folder / "model.safetensors"`."""
    module.save_pretrained(folder / "foundation")
    frozen = FrozenAutoencoder(type(module).from_pretrained(folder / "foundation"))
    values = config(frozen, foundation={"path": str(folder / "foundation")})
    torch.manual_seed(0)
    model = FoundationAutoencoder(values, frozen).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter += 0.05 * torch.randn_like(parameter)
    checkpoint.save(model, folder / "model.safetensors")
    return model


@pytest.fixture(scope="module")
def on_wan(tmp_path_factory) -> tuple[FoundationAutoencoder, Path]:
    diffusers.utils.logging.set_verbosity_error()
    folder = tmp_path_factory.mktemp("wan")
    torch.manual_seed(0)
    model = saved(diffusers.AutoencoderKLWan(**CLASSES["AutoencoderKLWan"]), folder)
    for name, frames in {"a": 17, "b": 9, "c": 1, "d": 33}.items():
        write_video(folder / "videos" / f"{name}.mp4", (frames, 48, 64))
    return model, folder


def encode(root: Path, folder: Path, out: str, *words: str) -> int:
    model = ["--model", str(folder / "model.safetensors"), "--out", str(folder / out)]
    return main(["encode", str(root), *model, *words])


def levels_of(one: LatentStore, name: str, other: LatentStore, its_name: str) -> zip:
    return zip(one.read(name).levels, other.read(its_name).levels, strict=True)


@torch.no_grad()
def cached(model: FoundationAutoencoder, folder: Path) -> Path:
    """The foundation's own latents of all videos, in as many of the ways that trainers have."""
    root = folder / "cached"
    (root / "more").mkdir(parents=True, exist_ok=True)
    z, moments = {}, {}
    for path in sorted((folder / "videos").iterdir()):
        x = centre_clip(path, (33, 48, 64))[0]
        posterior = model.foundation.encode(x).latent_dist
        z[path.stem], moments[path.stem] = posterior.mode(), posterior.parameters
    beside = {"latents_image_5x6x8_float32": torch.zeros(4, 5, 6, 8), "clip_float32": torch.ones(3)}
    save_file({"latents_5x6x8_float32": z["a"][0].contiguous(), **beside}, root / "a.safetensors")
    by_frames = {"latents": moments["b"].transpose(1, 2), "latents_mean": torch.zeros(16)}
    torch.save([by_frames], root / "more" / "b.pt")
    torch.save(z["c"][0, :, 0].bfloat16(), root / "c.pt")
    save_file({"whatever": z["d"]}, root / "d.safetensors")
    return root


def test_cached_latents_give_the_levels_that_pixels_give(on_wan):
    model, folder = on_wan
    root = cached(model, folder)
    assert encode(folder / "videos", folder, "from-pixels", *FP32) == 0
    assert encode(root, folder, "levels", *FP32, "--unit-files", "1", "--shard", "0/2") == 0
    assert encode(root, folder, "levels", *FP32, "--unit-files", "1") == 0  # goes on
    assert main(["verify", str(folder / "levels")]) == 0
    rows, with_source = (
        np.asarray(Image.open(folder / name / "preview.png")) for name in ("levels", "from-pixels")
    )
    assert len(with_source) > len(rows) > 2 * HEIGHT  # of two prefixes; latents are no picture
    assert rows.std() > 1
    pixels, latents = LatentStore(folder / "from-pixels"), LatentStore(folder / "levels")
    names = {"a.safetensors": "a", "c.pt": "c", "d.safetensors": "d", "more/b.pt": "b"}
    assert {*latents.items} == {*names}
    for name, stem in names.items():
        item, expected = latents.items[name], pixels.items[f"{stem}.mp4"]
        assert (item.size, item.grids) == (expected.size, expected.grids)
        assert item.kind == ("image" if stem == "c" else "video")
        atol = 0.02 if stem == "c" else 1e-4  # that one is cached in bfloat16
        for found, level in levels_of(latents, name, pixels, f"{stem}.mp4"):
            assert torch.allclose(found, level, atol=atol)
    words = ["decode", str(folder / "levels"), "--levels", "1", "--format", "npy"]
    assert main([*words, "--out", str(folder / "decoded")]) == 0
    assert len([*(folder / "decoded").rglob("*.npy")]) == 4


def test_what_is_no_latents_of_the_foundation_is_named(on_wan, tmp_path, capsys):
    _, folder = on_wan
    good = torch.zeros(16, 2, 6, 8)
    torch.save(good, tmp_path / "good.pt")
    torch.save(good[:8], tmp_path / "channels.pt")
    torch.save(good.flatten(1), tmp_path / "flat.pt")
    torch.save(good.int(), tmp_path / "ints.pt")
    torch.save(good / 0, tmp_path / "nan.pt")
    torch.save({"latents": good, "more": Path("x")}, tmp_path / "pickled.pt")
    torch.save(torch.zeros(16, 1, 1, 1).expand(16, 2**20, 64, 64), tmp_path / "expanded.pt")
    torch.save({"one": good, "two": good}, tmp_path / "two.pt")
    (tmp_path / "damaged.safetensors").write_bytes(b"\xff" * 40)
    out = f"named-{tmp_path.name}"
    assert encode(tmp_path, folder, out) == 1
    lines = (folder / out / "failed.jsonl").read_text().splitlines()
    failed = {line["name"]: line["reason"] for line in map(json.loads, lines)}
    reasons = {
        "channels.pt": "holds latents [8, 2, 6, 8]; those of the foundation are [16 T H W]",
        "flat.pt": "holds latents [16, 96]",
        "ints.pt": "holds latents of torch.int32, not floats",
        "nan.pt": "not finite",
        "pickled.pt": "nothing is unpickled",
        "expanded.pt": "more than it holds",
        "two.pt": "alone or named `latents`",
        "damaged.safetensors": "is damaged",
    }
    assert failed.keys() == reasons.keys()
    assert all(said in failed[name] for name, said in reasons.items())
    assert [*LatentStore(folder / out).items] == ["good.pt"]
    assert encode(tmp_path, folder, "refused", "--fps", "3") == 2
    assert "--fps: not for latents computed before" in capsys.readouterr().err
    assert encode(folder / "videos", folder, "refused", "--normalised") == 2
    assert "--normalised: not for videos and pictures" in capsys.readouterr().err
    assert encode(tmp_path, folder, "refused", "--entropy-code") == 2
    assert capsys.readouterr().err.splitlines() == [
        "stlatent: error: --entropy-code: not for latents computed before, which take a --dtype"
    ]


def test_normalised_ones_are_said_to_be(on_wan, tmp_path, caplog):
    """By an option; where it is wrong, the log says so."""
    model, folder = on_wan
    found, generator = model.config.foundation, torch.Generator().manual_seed(0)
    unit = torch.randn(16, 3, 6, 8, generator=generator)
    mean, std = (torch.tensor(v).view(-1, 1, 1, 1) for v in (found.mean, found.unit))
    for name, z in {"own": unit * std / 2 + mean, "unit": unit}.items():
        (tmp_path / name).mkdir()
        torch.save(z, tmp_path / name / "z.pt")
    assert encode(tmp_path / "own", folder, f"own-{tmp_path.name}", *FP32) == 0
    words = [*FP32, "--normalised"]
    assert encode(tmp_path / "unit", folder, f"unit-{tmp_path.name}", *words) == 0
    assert "--normalised" not in caplog.text
    own, other = (LatentStore(folder / f"{name}-{tmp_path.name}") for name in ("own", "unit"))
    for a, b in levels_of(own, "z.pt", other, "z.pt"):
        assert torch.allclose(a, b, atol=1e-4)
    assert encode(tmp_path / "unit", folder, f"wrong-{tmp_path.name}") == 0
    assert "give --normalised if they are" in caplog.text


def test_a_data_set_of_the_ladder_below(tmp_path, capsys):
    """A model on an exported ladder goes on from the data set that this ladder made."""
    below = {
        "domain": "video",
        "levels": [{"stride": [4, 8, 8], "width": 16, "latent": 4}],
        "stem": {"stride": [2, 4, 4], "width": 16},
    }
    torch.manual_seed(0)
    ladder = Ladder(ModelConfig.model_validate(below)).eval().requires_grad_(False)
    checkpoint.save(ladder, tmp_path / "below.safetensors")
    model = saved(wrap(ladder, 1, [0.1, 0, 0, 0.2], [0.5, 1.0, 2.0, 1.0]), tmp_path)
    assert model.foundation.config.levels == 1
    write_video(tmp_path / "videos" / "a.mp4", (17, 48, 64))
    write_video(tmp_path / "videos" / "b.mp4", (12, 48, 64))
    flat = ["--model", str(tmp_path / "below.safetensors"), "--out", str(tmp_path / "flat")]
    assert main(["encode", str(tmp_path / "videos"), *flat, *FP32]) == 0
    assert encode(tmp_path / "videos", tmp_path, "from-pixels", *FP32) == 0
    assert encode(tmp_path / "flat", tmp_path, "levels", *FP32) == 0
    pixels, levels = LatentStore(tmp_path / "from-pixels"), LatentStore(tmp_path / "levels")
    for name in pixels.items:
        assert levels.items[name].size == pixels.items[name].size
    for found, expected in levels_of(levels, "a.mp4", pixels, "a.mp4"):
        assert torch.allclose(found, expected, atol=1e-4)
    assert main(["verify", str(tmp_path / "levels")]) == 0
    assert encode(tmp_path / "levels", tmp_path, "again") == 2
    assert "which is not the ladder that this model stands on" in capsys.readouterr().err
