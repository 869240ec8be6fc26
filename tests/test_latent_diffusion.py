"""Latent diffusion: closed forms, every way over every domain, exact resume, pipelines reloaded."""

import itertools
import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import train_latent_diffusion
from diffusers import (
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchHeunDiscreteScheduler,
    FluxTransformer2DModel,
)
from domains import batch, ladder

from stlatent import LadderPipeline, checkpoint
from stlatent.cli import main
from stlatent.diffusion import (
    DiffusionRun,
    LatentData,
    LatentTensors,
    corrupt,
    make_scheduler,
    set_steps,
    train,
)
from stlatent.diffusion.asked import read_tries
from stlatent.diffusion.backbones import make_backbone, patched, unpatched
from stlatent.diffusion.config import NoiseConfig, StageConfig
from stlatent.diffusion.corruption import as_trained, is_flow
from stlatent.diffusion.denoiser import LadderDenoiser
from stlatent.diffusion.groups import (
    batches,
    groups,
    in_turn,
    open_windows,
    order,
    usual_steps,
)
from stlatent.diffusion.loss import surprise
from stlatent.diffusion.training import make_denoiser
from stlatent.evaluate.latents import measure_latents
from stlatent.export.packing import packing_of
from stlatent.jobs.encode import encode_folder
from stlatent.media.video.clips import centre_clip
from stlatent.media.video.pixels import to_uint8
from stlatent.media.video.write import frame_writer
from stlatent.model.config import parse
from stlatent.store.dataset import LatentDataset
from stlatent.store.windows import collate
from stlatent.train.loop import Loop

SIZES = {
    "image": (32, 48),
    "video": (9, 32, 32),
    "voxel": (16, 16, 8),
    "triplane": (3, 16, 16),
}
WAYS = {"packed": (3,), "coarse": (1,), "cascade": (1, 1, 1), "two and one": (2, 1)}
NOISE = {
    "flow": {},
    "shifted flow": {"shift": 3.0},
    "v": {"kind": "ddpm"},
    "x": {"kind": "ddpm", "prediction": "sample"},
}


def latents(domain: str, levels: int, labels: torch.Tensor | None = None) -> LatentData:
    """Whitened latents of a random ladder, eight samples."""
    model, x = ladder(domain), batch(domain, SIZES[domain], 8)
    mean, std = measure_latents(model, [x]).first(levels)
    packing = packing_of(model, levels, mean, std)
    whole = packing.unfold(packing.pack(model.encode(x).levels[:levels]), started=True)
    held_out = LatentTensors([z[:4] for z in whole], None if labels is None else labels[:4])
    return LatentData(LatentTensors(whole, labels), held_out, model, SIZES[domain], mean, std)


def config(out, stages=(3,), condition=None, grid="coarsest", **more) -> DiffusionRun:
    network = {"width": 16, "depth": 1, "head": 8, "grid": grid}
    diffusion = {
        "stages": [network | {"levels": levels} for levels in stages],
        "noise": more.pop("noise", {}),
        "condition": condition or {},
        "sampling": more.pop("sampling", {}),
    }
    values = {
        "diffusion": diffusion,
        "data": {"root": "nowhere", "batch_size": 4, "workers": 0},
        "out": str(out),
        "steps": 3,
        "log_every": 1,
        "save_every": 2,
        "tracker": None,
    }
    return parse(DiffusionRun, values | more, "test")


def draw(pipeline: LadderPipeline, *args, seed: int = 0, **more) -> torch.Tensor:
    pipeline.set_progress_bar_config(disable=True)
    options = {"num_inference_steps": 2, "output_type": "pt"} | more
    return pipeline(*args, generator=torch.Generator().manual_seed(seed), **options).frames


# closed forms -----------------------------------------------------------------------------------


def best(scheduler, z: torch.Tensor, t: torch.Tensor, std: float) -> torch.Tensor:
    """What the best denoiser says of Gaussian data of deviation `std`: E[target | z]."""
    if scheduler.config.get("prediction_type") is None:
        s = t / 1000
        alpha, sigma, of_x, of_noise = 1 - s, s, -1.0, 1.0
    else:
        square = scheduler.alphas_cumprod[t.long()]
        alpha, sigma = square.sqrt(), (1 - square).sqrt()
        v = scheduler.config.prediction_type == "v_prediction"
        of_x, of_noise = (-sigma, alpha) if v else (1.0, 0.0)
    variance = alpha**2 * std**2 + sigma**2
    slope = (of_x * alpha * std**2 + of_noise * sigma) / variance
    return slope.view(-1, *[1] * (z.ndim - 1)) * z


@pytest.mark.parametrize("noise", NOISE)
def test_no_denoiser_beats_the_known_optimum_on_gaussian_data(noise):
    """The error of E[target | z] does not depend on z, and scaling it either way is worse."""
    scheduler = make_scheduler(parse(NoiseConfig, NOISE[noise], "noise"))
    generator = torch.Generator().manual_seed(0)
    x = 0.5 * torch.randn(4000, 1, 4, 4, generator=generator)
    z, t, target = corrupt(scheduler, x, 1.0, generator)
    said = best(scheduler, z, t, 0.5)
    residual = target - said
    assert abs(float((residual * said).mean())) < 0.01 * float(target.square().mean())
    errors = [float((target - k * said).square().mean()) for k in (0.9, 1.0, 1.1)]
    assert errors[1] == min(errors)


@pytest.mark.parametrize("noise", NOISE)
def test_sampling_with_the_known_optimum_gives_the_data_back(noise):
    """The sampler maps noise of deviation 1 to data of deviation 0.5, and that of flow each to its
    own."""
    scheduler = make_scheduler(parse(NoiseConfig, NOISE[noise], "noise"))
    z = torch.randn(2000, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    start, generator = z, torch.Generator().manual_seed(1)
    for t in set_steps(scheduler, 100, z.device):
        said = best(scheduler, z, t.expand(len(z)), 0.5)
        z = scheduler.step(said, t, z, generator=generator).prev_sample
    assert abs(float(z.std()) - 0.5) < 0.02
    assert torch.allclose(z, 0.5 * start, atol=0.06) == is_flow(scheduler)


def test_one_step_of_flow_goes_to_the_mean():
    scheduler = make_scheduler(NoiseConfig())
    z = torch.randn(8, 1, 2, 2)
    (t,) = set_steps(scheduler, 1, z.device)
    assert float(t) == 1000
    made = scheduler.step(best(scheduler, z, t.expand(8), 0.5), t, z).prev_sample
    assert torch.allclose(made, torch.zeros_like(made), atol=1e-6)


# every way over every domain --------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("domain", SIZES)
def test_every_way_trains_samples_and_reloads(domain, way, tmp_path):
    stages = WAYS[way]
    data = latents(domain, sum(stages), torch.arange(8) % 2)
    made = train(config(tmp_path / "run", stages, {"classes": 2}), data)
    x = draw(made, [0, 1], guidance_scale=2.0)
    assert x.shape == (2, 3, *SIZES[domain]) and x.isfinite().all()
    again = LadderPipeline.from_pretrained(tmp_path / "run" / "pipeline")
    assert torch.allclose(draw(again, [0, 1], guidance_scale=2.0), x, atol=1e-3 * x.abs().max())
    assert not torch.allclose(draw(made, [0, 1], guidance_scale=2.0, seed=1), x)


def test_a_pipeline_remembers_how_samples_are_drawn(tmp_path):
    asked = {"steps": 3, "guidance": 2.0, "tries": 2}
    data = latents("image", 1, torch.arange(8) % 2)
    made = train(config(tmp_path / "run", (1,), {"classes": 2}, sampling=asked), data)
    again = LadderPipeline.from_pretrained(tmp_path / "run" / "pipeline")
    for usual in (made, again):
        draw(usual, [0, 1], num_inference_steps=None)
        assert usual.num_timesteps == 3 and usual.guidance_scale == 2.0
        draw(usual, [0, 1], num_inference_steps=4, guidance_scale=1.0)
        assert usual.num_timesteps == 4 and usual.guidance_scale == 1.0
        assert usual.config.tries == 2


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("domain", SIZES)
def test_of_several_draws_the_likeliest_is_taken(domain, noise, tmp_path, monkeypatch):
    data = latents(domain, 3, torch.arange(8) % 2)
    made = train(config(tmp_path / "run", (1, 2), {"classes": 2}, noise=NOISE[noise]), data)
    each = draw(made, [0] * 3 + [1] * 3, output_type="latent")
    size, seen = made.denoiser.config.size, []
    monkeypatch.setattr(
        "stlatent.diffusion.pipeline.surprise",
        lambda *given: seen.append(surprise(*given)) or seen[-1],
    )
    taken = draw(made, [0, 1], tries=3, output_type="latent")
    best = seen[0].view(2, 3).argmin(1) + torch.tensor([0, 3])
    assert all(torch.equal(z[best], of_it) for z, of_it in zip(each, taken, strict=True))
    assert seen[0].unique().numel() == 6
    decoded = made.vae.decode(made.vae.packing.fold(taken), size=size).sample
    assert torch.allclose(draw(made, [0, 1], tries=3), decoded, atol=1e-4)
    seeds = [torch.Generator().manual_seed(k) for k in range(2)]
    how = {"tries": 3, "num_inference_steps": 2, "output_type": "pt"}
    both = made([0, 1], generator=seeds, **how).frames
    own = made(1, generator=[torch.Generator().manual_seed(1)], **how).frames
    assert torch.allclose(both[1:], own, atol=1e-4)
    for wrong, said in (({"tries": 0}, "tries is 0"), ({"generator": seeds * 2}, "4 generators")):
        with pytest.raises(ValueError, match=said):
            made([0, 1], **wrong)


def test_windows_are_drawn_once_and_noise_is_known_to_judge_draws():
    assert [read_tries(None, 8, windows) for windows in (1, 2)] == [8, 1]
    with pytest.raises(ValueError, match="tries is 3; what has 2 windows is drawn once"):
        read_tries(3, 8, 2)
    trained = make_scheduler(NoiseConfig(kind="ddpm"))
    sampled = DPMSolverMultistepScheduler.from_config(trained.config)
    assert torch.equal(as_trained(sampled).alphas_cumprod, trained.alphas_cumprod)
    with pytest.raises(ValueError, match="FlowMatchHeunDiscreteScheduler has no alphas_cumprod"):
        as_trained(FlowMatchHeunDiscreteScheduler())


@pytest.mark.parametrize("grid", ["coarsest", "finest"])
@pytest.mark.parametrize("domain", SIZES)
def test_what_a_stage_makes_and_is_given_are_the_levels(domain, grid, tmp_path):
    data = latents(domain, 3)
    denoiser = make_denoiser(config(tmp_path, (1, 2), grid=grid), data)
    levels = [z.unsqueeze(0) for z in data.train[3].latents]
    made = [z for k in range(2) for z in denoiser.unfold(k, denoiser.fold(k, levels))]
    assert all(torch.equal(a, b) for a, b in zip(made, levels, strict=True))
    given = denoiser.given(1, levels, torch.zeros(1))
    assert given.shape[2:] == denoiser.latent_shape(1, data.size)[1:]
    assert torch.equal(given[0, :-1].flatten(1).amax(1), levels[0][0].flatten(1).amax(1))
    loud = denoiser.given(1, levels, torch.ones(1), torch.Generator().manual_seed(0))
    assert loud[0, -1].min() == 1 and not torch.isclose(loud[0, :-1], given[0, :-1]).all()


def test_levels_are_diffused_on_the_finest_grid(tmp_path):
    data = latents("video", 3)
    made = train(config(tmp_path / "run", (3,), grid="finest"), data)
    strides, (channels, *grid) = made.denoiser.strides, made.denoiser.latent_shape(0, data.size)
    coarse = made.denoiser.domain.shape(data.size, strides[0])
    assert grid == [n * a // b for n, a, b in zip(coarse, strides[0], strides[-1])]
    assert channels < make_denoiser(config(tmp_path, (3,)), data).latent_shape(0, data.size)[0]
    assert draw(made).shape == (1, 3, *data.size)
    again = LadderPipeline.from_pretrained(tmp_path / "run")  # which holds it as `pipeline`
    assert again.denoiser.stages[0].grid == "finest"
    with pytest.raises(ValueError, match="does not divide that of a level above"):
        make_denoiser(config(tmp_path, (2, 1), grid="x".join(map(str, strides[0]))), data)


def test_a_denoiser_s_config_that_is_wrong_is_one_line(tmp_path):
    make_denoiser(config(tmp_path, (1, 2)), latents("image", 3)).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    values = json.loads(file.read_text())
    wrong = {"domain": "smell", "strides": 4, "stages": [{"levels": "x"}], "size": []}
    for name, value in wrong.items():
        file.write_text(json.dumps(values | {name: value}))
        with pytest.raises(ValueError, match=f"config.json of LadderDenoiser: {name}"):
            LadderDenoiser.from_pretrained(tmp_path)


def test_a_class_is_learned(tmp_path):
    """Level 0 of class 0 lies at -1, of class 1 at +1: samples follow, more so with guidance."""
    data = latents("voxel", 1, torch.arange(8) % 2)
    sign = (2.0 * (torch.arange(8) % 2) - 1).view(-1, 1, 1, 1, 1)
    data.train.levels = (sign + 0.1 * torch.randn_like(data.train.levels[0]),)
    run = config(tmp_path / "run", (1,), {"classes": 2}, steps=150, save_every=150, log_every=50)
    run = run.model_copy(update={"optimiser": run.optimiser.model_copy(update={"lr": 1e-2})})
    pipeline = train(run, data)
    asked = {"num_inference_steps": 10, "output_type": "latent"}
    low, high = ((draw(pipeline, k, batch_size=16, **asked)[0]).mean() for k in (0, 1))
    assert low < -0.6 and high > 0.6


def test_the_denoiser_is_called_as_those_of_diffusers_are(tmp_path):
    denoiser = make_denoiser(config(tmp_path / "run"), latents("image", 3)).requires_grad_(True)
    z = torch.randn(2, *denoiser.latent_shape(0, denoiser.config.size))
    times = torch.full((2,), 500.0)
    (said,) = denoiser(z, times, return_dict=False)
    assert torch.equal(denoiser(z, timestep=times).sample, said) and said.shape == z.shape
    said.square().sum().backward()
    grads = [p.grad.clone() for p in denoiser.parameters() if p.grad is not None]
    denoiser.zero_grad()
    denoiser.enable_gradient_checkpointing()
    denoiser.train()(z, times).sample.square().sum().backward()
    again = [p.grad for p in denoiser.parameters() if p.grad is not None]
    torch.testing.assert_close(again, grads)


def test_embeddings_steps_per_stage_callbacks_and_generators(tmp_path):
    data = latents("video", 3, torch.randn(8, 5))
    pipeline = train(config(tmp_path / "run", (1, 2), {"embedding": 5}), data)
    pipeline.set_progress_bar_config(disable=True)
    seen = []

    def watch(pipe, step, timestep, tensors):
        seen.append((step, tuple(tensors["latents"].shape[2:])))
        return {"latents": torch.zeros_like(tensors["latents"])}

    vector = torch.randn(5)
    options = {"num_inference_steps": [3, 1], "output_type": "latent", "augmentation": 0.0}
    made = pipeline(vector, 2, callback_on_step_end=watch, **options).frames
    assert [step for step, _ in seen] == [0, 1, 2, 3] and pipeline.num_timesteps == 4
    assert all(not z.any() for z in made)
    one_by_one = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
    both = pipeline(vector, 2, generator=one_by_one, **options).frames
    alone = pipeline(vector, 1, generator=[torch.Generator().manual_seed(4)], **options).frames
    assert all(torch.allclose(a[1:], b, atol=1e-4) for a, b in zip(both, alone, strict=True))
    frames = pipeline(vector, 2, num_inference_steps=1).frames
    assert len(frames) == 2 and len(frames[0]) == 9 and frames[0][0].size == (32, 32)


def test_another_scheduler_of_the_same_prediction_samples_too(tmp_path):
    run = config(tmp_path / "run", (1,), noise={"kind": "ddpm"})
    pipeline = train(run, latents("image", 1))
    pipeline.scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
    assert draw(pipeline, num_inference_steps=4).isfinite().all()


@pytest.mark.parametrize("domain", SIZES)
def test_patches_are_undone(domain):
    """Whatever the grid, and a network of patches makes latents of any size."""
    axes = len(SIZES[domain])
    patch, grid = (1, 2, 3)[-axes:], (2, 5, 4)[-axes:]
    z = torch.randn(2, 3, *grid)
    tokens = patched(z, patch)
    assert tokens.shape[:2] == (2, 3 * math.prod(patch)) and tokens.abs().sum() == z.abs().sum()
    assert torch.equal(unpatched(tokens, patch, grid), z)
    stage = StageConfig(levels=1, width=16, depth=1, head=8, patch=patch)
    network = make_backbone(stage, 3, 5, grid)
    assert network(z, torch.ones(2), torch.ones(2, 16)).shape == (2, 5, *grid)
    with pytest.raises(ValueError, match="one number per axis"):
        make_backbone(stage, 3, 5, (*grid, 4))
    with pytest.raises(ValueError, match="leave patch out"):
        StageConfig(levels=1, kind="unet", patch=patch)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"condition": [0, 2]}, "from 0 to 1"),
        ({"condition": [0.5]}, "one class from 0 to 1"),
        ({"condition": "cat"}, "no names of classes"),
        ({"num_inference_steps": [1, 2]}, "1, one per stage"),
        ({"augmentation": 1.5}, "augmentation is 1.5; give 0 to 1"),
        ({"callback_on_step_end_tensor_inputs": ["prompt"]}, "has 'prompt'; give latents"),
        ({"num_inference_steps": 0}, "from 1 on"),
        ({"output_type": "pil"}, "pt or latent"),
        ({"size": (3, 3)}, "2 axes after B, C were given"),
        ({"windows": 2}, "trained without a past"),
    ],
)
def test_wrong_calls_say_what_is_allowed(arguments, words, tmp_path):
    pipeline = train(
        config(tmp_path, (1,), {"classes": 2}), latents("voxel", 1, torch.arange(8) % 2)
    )
    with pytest.raises(ValueError, match=words):
        pipeline(**arguments)


# long videos ------------------------------------------------------------------------------------


def test_a_video_goes_on_from_what_came_before(clips, tmp_path):
    arguments = ["train", str(CONFIGS / "tiny.yaml"), f"data.root={clips / 'latents'}"]
    arguments += ["data.frames=9", "steps=2", "save_every=2", "tracker=null", f"out={tmp_path}"]
    stages = (
        "[{levels: 1, width: 16, depth: 1, head: 8}, {levels: 2, width: 16, depth: 1, head: 8}]"
    )
    assert main([*arguments, f"diffusion.stages={stages}", "diffusion.past=[3, 2, 4]"]) == 0
    pipeline = LadderPipeline.from_pretrained(tmp_path / "pipeline")
    with torch.no_grad():  # untrained gates are closed
        for parameter in pipeline.denoiser.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    long, short = (draw(pipeline, windows=n) for n in (3, 1))
    assert long.shape[2] == 1 + 8 + 2 * 16
    assert torch.allclose(long[:, :, :9], short, atol=1e-4 * float(long.abs().max()))
    levels = draw(pipeline, windows=2, output_type="latent")
    past = pipeline.denoiser.remembered(levels, (9, 32, 32), 1)
    assert all(known.all() for known in past.known)
    assert all(torch.equal(p, z[:, :, -p.shape[2] :]) for p, z in zip(past.levels, levels))
    empty = pipeline.denoiser.remembered([], (9, 32, 32), 1)
    z, t = torch.randn(1, *pipeline.denoiser.latent_shape(0, (9, 32, 32))), torch.tensor([500.0])
    with_past, without = (pipeline.denoiser(z, t, past=p).sample for p in (past, empty))
    assert not torch.allclose(with_past, without)


# data sets of latents on disk -------------------------------------------------------------------

CONFIGS = Path(__file__).parents[1] / "configs" / "diffusion"


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Six videos of two classes, encoded by a small ladder that lies beside them."""
    folder = tmp_path_factory.mktemp("clips")
    model = ladder("video")
    checkpoint.save(model, folder / "model.safetensors")
    for k, frames in enumerate((17, 17, 25, 17, 25, 17)):
        path = folder / "videos" / "ab"[k % 2] / f"{k}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        with frame_writer(path, "mp4", False, (frames, 32, 32), 10) as writer:
            writer.write(to_uint8(batch("video", (frames, 32, 32), 1)[0]))
    encode_folder(model, folder / "videos", folder / "latents", str(folder / "model.safetensors"))
    return folder


def test_the_command_trains_on_a_data_set_and_leaves_a_pipeline(clips, tmp_path):
    arguments = ["train", str(CONFIGS / "tiny.yaml"), f"data.root={clips / 'latents'}"]
    arguments += ["data.frames=9", "steps=2", "save_every=2", "tracker=null", "data.held_out=0.2"]
    arguments += ["diffusion.condition.classes=2", f"out={tmp_path / 'run'}"]
    assert main([*arguments, "--dry-run"]) == 0 and not (tmp_path / "run").exists()
    assert main(arguments) == 0
    pipeline = LadderPipeline.from_pretrained(tmp_path / "run" / "pipeline")
    assert draw(pipeline, 1).shape == (1, 3, 9, 32, 32)
    assert draw(pipeline, 1, size=(17, 40, 32)).shape == (1, 3, 17, 40, 32)
    assert pipeline.denoiser.condition.names == ("a", "b")  # the folders
    by_name, by_number = (draw(pipeline, asked) for asked in (["b", "a"], [1, 0]))
    assert torch.equal(by_name, by_number)
    assert main([*arguments, "data.batch_size=2"]) == 2  # another run lies there


def test_a_file_of_classes_holds_none_beyond_those_of_the_config(clips, tmp_path, capsys):
    labels = tmp_path / "kinds.json"
    arguments = ["train", str(CONFIGS / "tiny.yaml"), f"data.root={clips / 'latents'}"]
    arguments += ["diffusion.condition.classes=2", f"data.labels={labels}", "--dry-run"]
    for number, code in ((1, 0), (2, 2), (-1, 2)):
        names = [f"{'ab'[k % 2]}/{k}.mp4" for k in range(6)]
        labels.write_text(json.dumps(dict.fromkeys(names, 0) | {"b/1.mp4": number}))
        assert main(arguments) == code
    assert "b/1.mp4 is of class -1, but condition.classes says 0 to 1" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["packed", "coarse", "cascade"])
def test_shipped_configs_fit_three_levels(name, clips, capsys):
    options = [f"data.root={clips / 'latents'}", "data.frames=17", "--dry-run"]
    assert main(["train", str(CONFIGS / f"{name}.yaml"), *options]) == 0
    assert "M parameters" in capsys.readouterr().out


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Path:
    """Videos of several sizes and lengths, some shorter than a window, and pictures."""
    folder = tmp_path_factory.mktemp("mixed")
    model = ladder("video")
    checkpoint.save(model, folder / "model.safetensors")
    sizes = [(33, 32, 48), (29, 32, 48), (17, 48, 32), (9, 32, 48), (1, 40, 40), (1, 96, 80)]
    for k, size in enumerate(sizes):
        path = folder / "videos" / (f"{k}.mp4" if size[0] > 1 else f"{k}.png")
        path.parent.mkdir(exist_ok=True)
        with frame_writer(path, "mp4", size[0] == 1, size, 10) as writer:
            writer.write(to_uint8(batch("video", size, 1)[0]))
    encode_folder(model, folder / "videos", folder / "latents", str(folder / "model.safetensors"))
    return folder


@pytest.mark.parametrize("past", [[], [2]])
def test_items_of_all_sizes_and_lengths_are_trained_on(past, mixed, tmp_path, capsys):
    options = [f"data.root={mixed / 'latents'}", f"out={tmp_path / 'run'}", "steps=12"]
    options += ["tracker=null", "data.held_out=0.4", f"diffusion.past={past}"]
    assert main(["train", str(CONFIGS / "tiny.yaml"), *options]) == (2 if past else 0)
    if past:
        assert "give data.frames as well" in capsys.readouterr().err
        assert main(["train", str(CONFIGS / "tiny.yaml"), *options, "data.frames=17"]) == 0
    assert "each batch of one of them" in capsys.readouterr().out
    pipeline = LadderPipeline.from_pretrained(tmp_path / "run" / "pipeline")
    assert draw(pipeline).shape[2] > 1


def windows_of(mixed: Path, steps: int, levels: int = 3):
    whole = LatentDataset(mixed / "latents", range(levels))
    return open_windows(whole, whole.names, steps)


def test_windows_of_one_size_are_together_and_none_is_left_out(mixed):
    data = windows_of(mixed, 2)
    whole = LatentDataset(mixed / "latents")
    lengths = [whole.length(name) for name in whole.names]
    assert len(data) == sum(max(1, length - 1) for length in lengths)
    for group in groups(data):
        collate([data[i] for i in group.indices])  # a ValueError if their shapes differ
    assert {data[i].name for i in range(len(data))} == set(whole.names)
    assert [i for g in groups(data) for i in g.indices] == [*range(len(data))]


def test_batches_of_one_size_resume_and_see_every_window_equally_often(mixed):
    data = windows_of(mixed, 2)
    sizes = {i: (k, g.positions) for k, g in enumerate(groups(data)) for i in g.indices}
    first = groups(data)[0].positions
    found = list(itertools.islice(batches(data, 4, 0, 0), 6000))
    assert list(itertools.islice(batches(data, 4, 0, 5900), 100)) == found[5900:]
    for one in found:
        assert len({sizes[i][0] for i in one}) == 1
        assert len(one) == 1 or len(one) * sizes[one[0]][1] <= 4 * first
    weights = Counter()
    for one in found:
        for i in one:
            weights[i] += 1 / len(one)
    mean = 6000 / len(data)
    assert all(0.7 * mean < weights[i] < 1.3 * mean for i in range(len(data)))
    held_out = list(in_turn(data, 4, len(data)))
    assert [i for one in held_out for i in one] == [*range(len(data))]
    assert all(len({sizes[i][0] for i in one}) == 1 for one in held_out)


def test_the_usual_window(clips, mixed):
    """Whole items if all that move are of one length, else three steps, or less if all are less."""
    whole = LatentDataset(mixed / "latents")
    assert usual_steps(whole) == 3
    whole.names = [name for name in whole.names if whole.length(name) == 1]
    assert usual_steps(whole) == 1
    whole = LatentDataset(clips / "latents")
    whole.names = ["a/0.mp4", "b/1.mp4"]
    assert usual_steps(whole) == whole.length("a/0.mp4") > 1


def test_the_plain_script_trains_and_goes_on(clips, tmp_path):
    options = {"levels": 0, "length": 2, "width": 48, "depth": 1, "workers": 0, "batch_size": 2}
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    arguments += [str(clips / "latents"), "--classes", f"--out={tmp_path}"]
    for steps in (2, 4):
        assert train_latent_diffusion.main([*arguments, f"--steps={steps}"]) == 0
    network = FluxTransformer2DModel.from_pretrained(tmp_path / "transformer")
    assert network.config.in_channels == 4 and network.config.joint_attention_dim == 3


def test_videos_from_the_command_line(clips, tmp_path, capsys):
    arguments = ["train", str(CONFIGS / "tiny.yaml"), f"data.root={clips / 'latents'}"]
    arguments += ["data.frames=9", "steps=1", "tracker=null", f"out={tmp_path / 'run'}"]
    assert main([*arguments, "diffusion.past=[2]", "diffusion.condition.classes=2"]) == 0
    pipeline = str(tmp_path / "run" / "pipeline")
    given = ["generate", pipeline, f"--out={tmp_path / 'videos'}", "--count=2"]
    given += ["--windows=2", "--classes", "0", "b", "--steps=2", "--temperature=0.5"]
    assert main(given) == 0
    files = sorted(path.name for path in (tmp_path / "videos").iterdir())
    assert files == ["0000.mp4", "0001.mp4", "sheet.png"]
    clip, _ = centre_clip(tmp_path / "videos" / "0001.mp4", (99, 32, 32))
    assert clip.shape[2] == 9 + 16
    assert main(given) == 2  # nothing is overwritten unasked
    capsys.readouterr()
    one = ["generate", pipeline, "-n1", "--steps=1", f"--out={tmp_path / 'one'}"]
    assert main([*one, "--frames=17", "--size=40x32", "--format=npy"]) == 0
    assert np.load(tmp_path / "one" / "0000.npy").shape == (17, 40, 32, 3)
    none = f"--out={tmp_path / 'none'}"
    for wrong, said in {
        str(tmp_path): "no model at",
        f"{clips / 'model.safetensors'} --classes 1": "is none",
        f"{pipeline} --device=tpu9": "cannot be used",
        f"{pipeline} --classes cat": "'cat' is no class; they are a, b",
        f"{pipeline} --resolution=8": "--resolution",
        f"{pipeline} --format=glb": "format is 'glb'",
    }.items():
        assert main(["generate", *wrong.split(), none]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


# runs -------------------------------------------------------------------------------------------


def metrics(out) -> list[dict]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def test_resuming_gives_the_same_digits(tmp_path, monkeypatch):
    whole = train(config(tmp_path / "whole", (1, 2), steps=6), latents("video", 3))
    step = Loop.step

    def interrupted(self, batches):
        if self.done == 5:
            raise KeyboardInterrupt
        return step(self, batches)

    run = config(tmp_path / "parts", (1, 2), steps=6)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Loop, "step", interrupted)
        train(run, latents("video", 3))
    again = train(run, latents("video", 3))
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
    assert len(metrics(tmp_path / "whole")) == 6 + 3
    pairs = zip(whole.denoiser.parameters(), again.denoiser.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_batches_walk_through_epochs_without_gaps():
    alone = list(itertools.islice(order(10, 4, 0, 0), 5))
    assert sorted(itertools.chain.from_iterable(alone)) == sorted([*range(10)] * 2)
    assert list(itertools.islice(order(10, 4, 0, 3), 2)) == alone[3:]
    pair = [list(itertools.islice(order(10, 2, 0, 0, rank, 2), 5)) for rank in (0, 1)]
    assert [a + b for a, b in zip(*pair, strict=True)] == alone


def test_augmented_levels_keep_their_variance(tmp_path):
    data = latents("image", 2)
    denoiser = make_denoiser(config(tmp_path, (1, 1)), data)
    level = torch.randn(64, data.train.levels[0].shape[1], 2, 3)
    given = denoiser.given(1, [level], torch.full((64,), 0.7))
    assert math.isclose(float(given[:, :-1].var()), 1, abs_tol=0.05)
