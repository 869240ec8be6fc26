"""What a run starts from: a model of images is one of videos, and one of videos tells motion."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from domains import batch, config, ladder

import stlatent
from stlatent import Ladder
from stlatent.model.grow import frame_by_frame, with_motion
from stlatent.train.config import RunConfig
from stlatent.train.loss import batch_loss
from stlatent.train.start import start_weights
from stlatent.train.task import Moment


@pytest.mark.parametrize("cell", ["convnext", "nvae", "vdvae"])
def test_every_frame_is_what_the_image_is(cell):
    image, x = ladder("image", cell=cell), batch("video", (3, 32, 32))
    video = frame_by_frame(image).eval().requires_grad_(False)
    frames = [image(x[:, :, t]).x for t in range(3)]
    torch.testing.assert_close(video(x).x, torch.stack(frames, 2), rtol=1e-3, atol=1e-3)


def test_a_run_starts_from_it_with_memory_on_some_levels(tmp_path: Path):
    image = ladder("image")
    stlatent.save(image, tmp_path / "model.safetensors")
    wanted = frame_by_frame(image).config.model_copy(update={"recall": (0, 1, 2)})
    run = RunConfig(model=wanted, data={"root": "videos"}, out="run", start=tmp_path)
    model = Ladder(wanted).eval()
    model.load_state_dict({**model.state_dict(), **start_weights(run, wanted)})
    assert [[recall.units for recall in level] for level in model.recalls] == [[], [1, 1], [2]]
    x = batch("video", (3, 32, 32))
    found, frames = model.encode(x), [image.encode(x[:, :, t]) for t in range(3)]
    for k, z in enumerate(found.levels):
        each = torch.stack([frame.levels[k] for frame in frames], 2)
        torch.testing.assert_close(z, each, rtol=1e-3, atol=1e-3)
    for k, remembers in enumerate((False, True, True)):
        each = torch.stack([frame.rates[k] for frame in frames], 2)
        same = torch.isclose(found.rates[k], each, rtol=1e-2).all((0, 1, 3, 4))
        assert same[1:].all() != remembers
    other = wanted.model_copy(update={"likelihood": config("video", likelihood="mse").likelihood})
    with pytest.raises(ValueError, match="differ in likelihood"):
        start_weights(run, other)


def test_one_that_is_not_factorised_is_refused():
    with pytest.raises(ValueError, match="factorised"):
        frame_by_frame(ladder("image", factorised=False))


def test_levels_remember_as_many_as_are_listed():
    with pytest.raises(ValueError, match="recall has 2 entries; the model has 3 levels"):
        config("video", recall=(1, 2))


def test_a_run_with_motion_starts_from_one_without(tmp_path: Path):
    known = ladder("video")
    stlatent.save(known, tmp_path / "model.safetensors")
    wanted = with_motion(known).config
    run = RunConfig(model=wanted, data={"root": "videos"}, out="run", start=tmp_path)
    Ladder(wanted).load_state_dict(start_weights(run, wanted))
    first, *rest = wanted.levels
    other = wanted.model_copy(update={"levels": (first.model_copy(update={"latent": 7}), *rest)})
    with pytest.raises(ValueError, match="differ in levels"):
        start_weights(run, other)


def test_a_model_without_previews_does_what_the_one_with_them_does(tmp_path: Path):
    """Their heads are for training alone: without, only they are missing from the weights."""
    known = ladder("image")
    stlatent.save(known, tmp_path / "model.safetensors")
    wanted = known.config.model_copy(update={"previews": False})
    values = {"model": wanted, "data": {"root": "photos"}, "out": "run", "start": tmp_path}
    run = RunConfig(**values, loss={"prefix": {"share": 0, "preview": 0}})
    model = Ladder(wanted).eval()
    model.load_state_dict(start_weights(run, wanted))
    assert known.state_dict().keys() - model.state_dict() == {
        f"preview.{level}.{name}" for level in range(3) for name in ("weight", "bias")
    }
    x, moment = batch("image"), Moment(0, 0.0, torch.Generator().manual_seed(0))
    assert torch.equal(model(x).x, known(x).x) and model(x).previews == ()
    result, _ = batch_loss(model, model, x, run.loss, moment)
    assert result.total.isfinite() and result.preview == 0
    with pytest.raises(ValueError, match="preview is 0.1, and the model has no heads"):
        RunConfig(**values)
