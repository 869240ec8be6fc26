"""Ladders as autoencoders of diffusers: the folder, the posterior, the switches, the pipelines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from diffusers.utils import dynamic_modules_utils
from domains import SIZES, batch, ladder
from exported import autoencoder, tiny
from torch.distributions import Normal, kl_divergence

from stlatent import DOMAINS, Draw, Ladder, Level, ModelConfig, Stage, load
from stlatent.checkpoint import save
from stlatent.evaluate.latents import ABOUT, measure_latents
from stlatent.export import AutoencoderLadder, export, folder
from stlatent.export.check import differences
from stlatent.export.folder import parse_levels, wrap
from stlatent.export.packing import packing_of
from stlatent.export.statistics import figures_of
from stlatent.model.domains import ALL_DOMAINS
from stlatent.model.layout import grid_of
from stlatent.shipped import shipped_models


def close(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-5) -> bool:
    return bool((found - expected).abs().max() <= tolerance * expected.abs().max())


@pytest.mark.parametrize("domain", SIZES)
def test_saved_and_loaded_it_gives_what_the_ladder_gives(domain: str, tmp_path: Path) -> None:
    model, x = ladder(domain), batch(domain)
    for levels in range(1, 1 + len(model.levels)):
        autoencoder(model, levels, x).save_pretrained(tmp_path / str(levels))
        vae = AutoencoderLadder.from_pretrained(tmp_path / str(levels))
        posterior = vae.encode(x).latent_dist
        latents = model.encode(x)
        for found, expected in zip(vae.packing.unpack(posterior.mode()), latents.levels):
            assert close(found, expected)
        decoded = vae.decode(posterior.mode(), size=posterior.size).sample
        assert close(decoded, model.decode(latents, levels))
        assert posterior.mean.shape[1] == vae.config.latent_channels == vae.config.z_dim


def test_posterior_is_the_ladders_own_and_its_kl_counts_every_axis() -> None:
    model, x = ladder("video"), batch("video")
    vae = autoencoder(model, 3, x)
    posterior = vae.encode(x).latent_dist
    figures = zip(vae.config.measured_mean, vae.config.measured_std)
    nats, at = torch.zeros(2), 0
    noise = vae.packing.unpack(posterior.mean + posterior.std)
    figures = torch.tensor(list(figures)).view(-1, 2, 1, 1, 1)
    groups = [0, 0, 0]
    for step in model(x).latents.steps:
        q, channels = step.posterior, step.z.shape[1]
        mean, std = figures[at : at + channels].unbind(1)
        nats += kl_divergence(Normal(q.mean, q.std), Normal(mean, std)).flatten(1).sum(1)
        level, first = step.site.level, groups[step.site.level]
        assert close(noise[level][:, first : first + channels], q.mean + q.std)
        groups[level] += channels
        at += channels
    torch.testing.assert_close(posterior.kl(), nats)
    assert posterior.kl(posterior).abs().max() < 1e-3


def test_a_draw_goes_down_the_whole_ladder() -> None:
    model, x = ladder("video"), batch("video")
    vae = autoencoder(model, 3, x)
    posterior = vae.encode(x).latent_dist
    drawn = posterior.sample(torch.Generator().manual_seed(5))
    levels = model.encode(x, Draw(generator=torch.Generator().manual_seed(5))).levels
    assert torch.equal(drawn, vae.packing.pack(levels))
    each = posterior.sample([torch.Generator().manual_seed(i) for i in range(2)])
    assert torch.equal(each[1:], vae.encode(x[1:]).latent_dist.sample(torch.manual_seed(1)))


def test_statistics_are_those_of_drawn_latents() -> None:
    model, batches = ladder("video"), [batch("video"), batch("video", (5, 20, 20), 1)]
    vae = wrap(model, 2, *measure_latents(model, iter(batches)).first(2))
    found = [vae.encode(x).latent_dist for x in batches]
    values = [vae.packing.unfold(p.mean) for p in found]
    noise = [vae.packing.unfold(p.var) for p in found]
    for level in range(2):
        z = torch.cat([v[level].transpose(0, 1).flatten(1) for v in values], 1)
        spread = torch.cat([v[level].transpose(0, 1).flatten(1) for v in noise], 1)
        torch.testing.assert_close(z.mean(1), torch.zeros(len(z)), atol=1e-4, rtol=0)
        variance = z.var(1, correction=0) + spread.mean(1)
        torch.testing.assert_close(variance, torch.ones(len(z)), atol=1e-3, rtol=0)


def test_a_model_carries_its_statistics(tmp_path: Path) -> None:
    model, x, file = ladder("video"), batch("video"), tmp_path / "model.safetensors"
    figures = measure_latents(model, [x])
    save(model, file, {ABOUT: figures.model_dump()})
    known, probe = figures_of(model, 3, None, file)
    assert known == figures and torch.isfinite(model(probe).x).all()
    again, _ = figures_of(model, 3, [x + 0.1], file)  # data that are given come first
    assert again != figures
    save(model, file, {ABOUT: {"mean": [[0.0]], "std": [[1.0]]}})
    with pytest.raises(ValueError, match=r"is not of \[.*\] channels"):
        figures_of(model, 3, None, file)


def test_what_was_exported_is_exported_again_with_its_statistics(tmp_path: Path) -> None:
    model, x = ladder("video"), batch("video")
    export(model, tmp_path / "one", data=[x])
    export(tmp_path / "one", tmp_path / "two")
    first, again = (AutoencoderLadder.from_pretrained(tmp_path / n).config for n in ("one", "two"))
    assert (again.measured_mean, again.measured_std) == (first.measured_mean, first.measured_std)
    export(tmp_path / "one", tmp_path / "part", levels=2)
    with pytest.raises(ValueError, match=r"exported with 2 levels.*give --levels 0..1"):
        export(tmp_path / "part", tmp_path / "three")
    export(tmp_path / "part", tmp_path / "three", levels=2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"levels": None}, "levels: field required"),
        ({"levels": 2.5}, "levels: input should be a valid integer"),
        ({"measured_mean": "abc"}, "measured_mean: input should be a valid tuple"),
        ({"model": None}, "model: field required"),
    ],
)
def test_a_config_that_is_wrong_is_one_line(tmp_path: Path, change: dict, said: str) -> None:
    autoencoder(ladder("image"), 3, batch("image")).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    values = json.loads(file.read_text()) | change
    file.write_text(json.dumps({k: v for k, v in values.items() if v is not None}))
    with pytest.raises(ValueError, match=said) as error:
        AutoencoderLadder.from_pretrained(tmp_path)
    assert len(str(error.value).splitlines()) == 1


def of_grids() -> list[str]:
    """The shipped models that are neither sparse nor make planes of volumes."""
    files = {name: file.with_name("config.yaml") for name, file in shipped_models().items()}
    models = {name: yaml.safe_load(file.read_text())["model"] for name, file in files.items()}
    return sorted(
        name
        for name, model in models.items()
        if not ALL_DOMAINS[model["domain"]].sparse and not model["field"]
    )


@pytest.mark.parametrize("name", of_grids())
def test_shipped_models_are_exported_without_data(name: str, tmp_path: Path) -> None:
    out = export(name, tmp_path / "vae", levels=1)
    assert all(std > 0 for std in AutoencoderLadder.from_pretrained(out).config.measured_std)


def test_no_frame_is_lost() -> None:
    vae = tiny()
    for frames in range(1, 11):
        x = torch.zeros(1, 3, frames, 13, 21)
        posterior = vae.encode(x).latent_dist
        assert posterior.mean.shape[2] == 1 + -(-(frames - 1) // vae.temporal_compression_ratio)
        assert vae(x).sample.shape == x.shape
        assert vae.decode(posterior.mode()).sample.shape[2] >= frames
    with pytest.raises(ValueError, match="grid of"):
        vae.decode(posterior.mode(), size=(1, 13, 21))


def test_draws_do_not_depend_on_tiles() -> None:
    """Noise is that of the whole picture: what tiles draw differs no more than their means do."""
    vae, tiles = tiny(), (64, 64, 32, 32)
    x = torch.rand(1, 3, 21, 80, 104, generator=torch.manual_seed(0)) * 2 - 1

    def drawn() -> torch.Tensor:
        return vae.encode(x).latent_dist.sample(torch.Generator().manual_seed(3))

    mean, whole = vae.encode(x).latent_dist.mode(), drawn()
    vae.enable_tiling(*tiles, tile_sample_min_num_frames=8)
    assert (drawn() - whole).std() < 0.2 * (whole - mean).std()
    model = vae.ladder
    coarse = autoencoder(model, 1, x)
    z = coarse.encode(x).latent_dist.mode()
    coarse.enable_prior_sampling(seed=1)
    whole = coarse.decode(z).sample
    coarse.enable_tiling(*tiles, tile_sample_min_num_frames=8)
    tiled = coarse.decode(z).sample
    coarse.disable_prior_sampling()
    assert (tiled - whole).std() < 0.2 * (whole - coarse.decode(z).sample).std()


def test_switches_change_the_way_and_not_the_result() -> None:
    vae = tiny()
    x = torch.rand(2, 3, 21, 144, 200, generator=torch.manual_seed(0)) * 2 - 1
    z, y = vae.encode(x).latent_dist.mode(), vae(x).sample
    pieces: list[tuple[int, ...]] = []
    for method in ("encode", "generate"):
        original = getattr(vae.ladder, method)
        place = 0 if method == "encode" else 1

        def noted(*args, original=original, place=place):
            given = args[place]
            pieces.append(tuple(given.shape[2:] if place == 0 else given))
            return original(*args)

        setattr(vae.ladder, method, noted)
    vae.enable_slicing()
    assert close(vae.encode(x).latent_dist.mode(), z)
    assert close(vae.decode(z, size=x.shape[2:]).sample, y)
    assert len(pieces) == 4
    vae.disable_slicing()
    pieces.clear()
    # time is exact, and pictures are nearly so: this network sees little
    vae.enable_tiling(128, 128, 64, 64, tile_sample_min_num_frames=8)
    assert close(vae.encode(x).latent_dist.mode(), z, 0.1)  # latents have a deviation of 1
    assert close(vae.decode(z, size=x.shape[2:]).sample, y, 1e-4)
    assert max(p[0] for p in pieces) == 8 and max(p[1:] for p in pieces) == (104, 112)
    vae.disable_tiling()
    pieces.clear()
    assert torch.equal(vae(x).sample, y) and len(pieces) == 2
    with pytest.raises(ValueError, match="multiples of 8"):
        vae.enable_tiling(tile_sample_min_height=100)
    with pytest.raises(NotImplementedError, match="voxel"):
        autoencoder(ladder("voxel"), 1, batch("voxel")).enable_tiling()


def test_missing_levels_are_the_priors_mean_or_drawn() -> None:
    model, x = ladder("video"), batch("video")
    vae = autoencoder(model, 1, x)
    z = vae.encode(x).latent_dist.mode()
    mean = vae.decode(z).sample
    vae.enable_prior_sampling(temperature=0.5, seed=3)
    drawn = vae.decode(z).sample
    held = {0: vae.packing.unpack(z)[0]}
    size, generator = tuple(mean.shape[2:]), torch.Generator().manual_seed(3)
    assert close(drawn, model.sample(size, 2, held, 0.5, generator))
    assert torch.equal(drawn, vae.decode(z).sample)
    assert not close(drawn, vae.decode(z, generator=torch.manual_seed(4)).sample)
    vae.disable_prior_sampling()
    assert torch.equal(mean, vae.decode(z, generator=torch.manual_seed(4)).sample)
    with pytest.raises(ValueError, match="all levels are packed"):
        autoencoder(model, 3, x).enable_prior_sampling()


def test_export_appears_when_a_fresh_process_agrees(tmp_path: Path, monkeypatch) -> None:
    model, x, out = ladder("video"), batch("video"), tmp_path / "vae"
    assert export(model, out, layout="coarse", data=[x]) == out
    vae = AutoencoderLadder.from_pretrained(out)
    assert vae.config.levels == 1
    with pytest.raises(ValueError, match="--replace"):
        export(model, out, data=[x])

    def other(*args, **more):
        vae = wrap(*args, **more)
        next(vae.ladder.head.parameters()).mul_(1.001)
        return vae

    decode, exactly = model.decode, []

    def told(*given):
        exactly.append(not torch.backends.cudnn.allow_tf32)
        return decode(*given)

    monkeypatch.setattr(model, "decode", told)
    monkeypatch.setattr(folder, "wrap", other)
    monkeypatch.setattr(folder, "in_fresh_process", differences)  # in this one: seconds less
    monkeypatch.setattr(dynamic_modules_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    with pytest.raises(ValueError, match="differs from the model in decoded"):
        export(model, out, data=[x], replace=True)
    assert exactly == [True] and torch.backends.cudnn.allow_tf32  # as on the CPU, on a GPU, too
    assert AutoencoderLadder.from_pretrained(out).config.levels == 1
    assert {path.name for path in tmp_path.iterdir()} == {"vae", "modules"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": 4}, "4 of 3 levels"),
        ({"levels": 3, "layout": "coarse"}, "takes 1 to 2"),
        ({"layout": "flat"}, "give packed, coarse or foundation"),
        ({"data": None}, "no data is given"),
        ({"data": []}, "no data to measure"),
    ],
)
def test_wrong_exports_are_refused(options: dict, message: str, tmp_path: Path) -> None:
    given = {"data": [batch("image")]} | options
    with pytest.raises(ValueError, match=message):
        export(ladder("image"), tmp_path / "out", **given)
    assert not list(tmp_path.iterdir())


def test_levels_are_named_from_the_first_to_the_last() -> None:
    assert [parse_levels(text) for text in ("0..0", "0..2")] == [1, 3]
    for text in ("2", "1..2", "0-2"):
        with pytest.raises(ValueError, match=r"such as 0\.\.1"):
            parse_levels(text)


def test_strides_that_pipelines_cannot_say() -> None:
    levels = (Level(stride=(4, 8), width=8, latent=2),)
    config = ModelConfig(domain="image", levels=levels, stem=Stage(stride=(2, 2), width=8))
    with pytest.raises(ValueError, match="single factor"):
        wrap(Ladder(config), 1, [0.0] * 2, [1.0] * 2)


# other grids ------------------------------------------------------------------------------------


def grids(domain: str) -> list[tuple[int, ...]]:
    """The grid of each level, and between them: one axis of the coarsest, the others of the
    finest."""
    strides = [level.stride for level in ladder(domain).levels]
    found = {*strides}
    for i in range(len(strides[0])):
        found.add(tuple(strides[0 if i == k else -1][k] for k in range(len(strides[0]))))
    return sorted(found)


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("domain", SIZES)
def test_packing_on_any_grid_is_exact(domain: str, started: bool) -> None:
    model, axes = ladder(domain), DOMAINS[domain]
    stride = model.levels[0].stride
    size = axes.samples([axis.size or 3 for axis in axes.axes], stride, started)
    levels = [
        torch.randn(2, level.latent * level.groups, *axes.shape(size, level.stride, started))
        for level in model.levels
    ]
    count = sum(z.shape[1] for z in levels)
    least = sum(z[0].numel() for z in levels) // 2
    for grid in (None, *grids(domain)):
        for channels in (0, 64):
            packing = packing_of(model, 3, [0.0] * count, [1.0] * count, grid, channels)
            packed = packing.fold(levels, started)
            assert packed.shape[2:] == axes.shape(size, grid or stride, started)
            assert packed.shape[1] == packing.channels >= channels
            assert packed[0].numel() > least
            for found, expected in zip(packing.unfold(packed, started), levels, strict=True):
                assert torch.equal(found, expected)
            unused = packing.channels - sum(packing.widths)
            assert not packed[:, packing.channels - unused :].any()


def test_the_shipped_model_has_fifteen_channels_on_its_finest_grid() -> None:
    model = load("video")
    figures = [0.0] * 26, [1.0] * 26
    assert packing_of(model, 3, *figures).channels == 433
    assert packing_of(model, 3, *figures, (4, 8, 8)).widths == [1, 2, 12]
    assert packing_of(model, 3, *figures, (4, 8, 8), 16).channels == 16
    assert packing_of(model, 3, *figures, (4, 16, 16)).widths == [3, 5, 48]


def test_copies_of_a_coarse_channel_are_averaged() -> None:
    """What a diffusion model makes of them differs by its errors, of which the mean is less."""
    model, size = ladder("image"), (32, 32)
    levels = [torch.randn(1, *shape) for shape in model.latent_shape(size)]
    count = sum(z.shape[1] for z in levels)
    packing = packing_of(model, 3, [0.0] * count, [1.0] * count, model.levels[-1].stride)
    packed = packing.fold(levels)
    noise = torch.randn(200, *packed.shape[1:])
    errors = packing.unfold(packed + noise)[0] - levels[0]
    copies = packing.layouts[0].copies
    assert copies.min() > 1
    variance = errors.square().mean((0, 2, 3))
    torch.testing.assert_close(variance * copies, torch.ones(len(copies)), atol=0.3, rtol=0)


@pytest.mark.parametrize("grid", [(2, 4, 4), (4, 4, 4), (2, 8, 8)])
def test_an_autoencoder_on_another_grid_gives_the_same(grid: tuple[int, ...]) -> None:
    coarsest = tiny()
    vae = on_grid(coarsest, grid)
    x = torch.rand(2, 3, 21, 80, 104, generator=torch.manual_seed(0)) * 2 - 1
    one, other = (v.encode(x).latent_dist for v in (coarsest, vae))
    y = coarsest.decode(one.mode()).sample
    assert close(vae.decode(other.mode()).sample, y)
    assert vae.config.grid == list(grid) and vae.config.scale_factor_spatial == grid[1]
    torch.testing.assert_close(one.kl(), other.kl())
    torch.testing.assert_close(one.nll(one.mean), other.nll(other.mean))
    drawn = (p.sample(torch.manual_seed(1)) for p in (one, other))
    parts = zip(*(v.packing.unfold(z) for v, z in zip((coarsest, vae), drawn)))
    assert all(torch.equal(a, b) for a, b in parts)
    vae.enable_tiling(64, 64, 32, 32, tile_sample_min_num_frames=8)
    coarsest.enable_tiling(64, 64, 32, 32, tile_sample_min_num_frames=8)
    assert close(vae(x).sample, coarsest(x).sample, 0.02)  # overlaps fade along other positions


def test_of_a_finer_grid_any_number_of_steps_is_decoded() -> None:
    """A pipeline counts 1 + (n - 1) // 2 steps, of which level 0 has every second."""
    vae = on_grid(tiny(), (2, 4, 4))
    for count in range(1, 12, 2):
        x = torch.rand(1, 3, count, 32, 40, generator=torch.manual_seed(0)) * 2 - 1
        posterior = vae.encode(x).latent_dist
        assert posterior.mean.shape[2] == (count - 1) // 2 + 1
        decoded = vae.decode(posterior.mode()).sample
        assert decoded.shape == x.shape and vae(x).sample.shape == x.shape
        whole = vae.encode(vae.ladder.domain.pad(x, (4, 8, 8))).latent_dist
        full = vae.decode(whole.mode()).sample[:, :, :count]
        known = max(1, count - 2)  # frames of steps that are there
        assert close(decoded[:, :, :known], full[:, :, :known], 0.2)
    with pytest.raises(ValueError, match=r"multiple of 2 x 2, such as \[1, 8, 6\]"):
        vae.decode(torch.zeros(1, vae.config.latent_channels, 1, 7, 5))


def on_grid(vae: AutoencoderLadder, grid: tuple[int, ...]) -> AutoencoderLadder:
    config = {**vae.config, "grid": grid, "_use_default_values": []}
    other = AutoencoderLadder.from_config(config).eval().requires_grad_(False)
    other.load_state_dict(vae.state_dict())
    return other


def test_grids_are_named(tmp_path: Path) -> None:
    strides = [(8, 32, 32), (4, 16, 16), (4, 8, 8)]
    names = {"coarsest": 0, "finest": 2, "0": 0, "1": 1, "8x32x32": 0, "4x8x8": 2}
    for text, level in names.items():
        assert grid_of(text, strides) == strides[level]
    assert grid_of("2x8x8", strides) == (2, 8, 8)
    for text in ("3", "fine", "8x8", "axbxc"):
        with pytest.raises(ValueError, match="give coarsest, finest, a level from 0 to 2"):
            grid_of(text, strides)
    model, x = ladder("video"), batch("video")
    for grid, words in (("3x8x8", "does not lie evenly"), ("16x32x32", "does not divide level 0")):
        with pytest.raises(ValueError, match=words):
            export(model, tmp_path / "vae", data=[x], grid=grid)
    out = export(model, tmp_path / "vae", data=[x], grid="finest", least_channels=40)
    config = AutoencoderLadder.from_pretrained(out).config
    assert config.latent_channels == 40 and config.grid == list(model.levels[-1].stride)
