"""Motion that level 0 tells: what it finds, what it is good for, and what it leaves alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from domains import config, ladder
from skimage import data
from test_bitstream import read, written

from stlatent import Ladder, Latents, ModelConfig, checkpoint, fingerprint
from stlatent.evaluate import write_report
from stlatent.export.autoencoder import AutoencoderLadder
from stlatent.export.graphs import parts
from stlatent.losses.elbo import LossConfig
from stlatent.media.metrics import psnr
from stlatent.model import stream
from stlatent.model.config import parse
from stlatent.model.grow import with_motion
from stlatent.model.motion import UNIT, Motion
from stlatent.model.past import Past
from stlatent.train.loss import batch_loss
from stlatent.train.scale import scale_error
from stlatent.train.task import Moment

PHOTO = torch.from_numpy(data.astronaut()).permute(2, 0, 1)[None] / 127.5 - 1
PAN = (1.3, -0.7)  # pixels per frame by which things move to the right and down


def pan(velocity: tuple[float, float] = PAN, frames: int = 17, side: int = 96) -> torch.Tensor:
    """A window that slides over a photo `[1, 3, frames, side, side]`."""
    at = torch.arange(side) + 0.5
    shown = []
    for t in range(frames):
        x, y = (150 + at - v * t for v in velocity)
        grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1)[None] / 256 - 1
        shown.append(F.grid_sample(PHOTO, grid, "bicubic", align_corners=False))
    return torch.stack(shown, 2).clamp(-1, 1)


def model(**changes) -> Ladder:
    """As it begins training: a linear code."""
    torch.manual_seed(0)
    stages = {
        "stem": {"stride": (4, 4, 4), "width": 48},
        "levels": [
            {"stride": (8, 32, 32), "width": 64, "latent": 11},
            {"stride": (4, 8, 8), "width": 64, "latent": 12},
        ],
    }
    settings = {"domain": "video", "spread": 3, "motion": True} | stages | changes
    return Ladder(ModelConfig(**settings)).eval().requires_grad_(False)


def test_a_known_shift_is_found_and_level_0_holds_it():
    moving, x = model(), pan(side=160)
    latents = moving.encode(x)
    found = moving.motion.field(latents.levels[0], x.shape[2:])
    assert found.shape == (1, 2, *x.shape[2:]) and (found[:, :, 0] == 0).all()
    told = UNIT * latents.levels[0][0, -2:, 1:, 2, 2]
    for axis, speed in enumerate(PAN):
        assert (found[0, axis, 1:, 72:88, 72:88] - speed).abs().mean() < 0.1
        assert (told[axis] - speed).abs().max() < 0.2


def test_what_moves_is_decoded_better_and_every_prefix_gains():
    without = [dict(level) for level in model().config.model_dump()["levels"]]
    without[0]["latent"] = 9
    still, moving, x = model(motion=False, levels=without), model(), pan()
    for levels in (1, 2):
        before, after = (psnr(x, one.decode(one.encode(x), levels)) for one in (still, moving))
        assert after > before + 0.2


def test_what_stands_still_goes_through_untouched():
    moving, x = model(), pan((0, 0))
    assert moving.motion.estimate(x, Past()).abs().max() < 1e-3
    nothing = torch.zeros(1, 2, 3, 3, 3)
    for there in (moving.motion.still, moving.motion.moved):
        assert torch.allclose(there(x, nothing, Past()), x, atol=1e-5)


def test_frames_stand_still_and_come_back():
    moving, x = model(), pan(side=160)
    velocity = moving.motion.estimate(x, Past())
    still = moving.motion.still(x, velocity, Past())
    change = (one[:, :, 1:9, 64:96, 64:96].var(2).mean() for one in (still, x))
    assert next(change) < 0.3 * next(change)
    assert psnr(x, moving.motion.moved(still, velocity, Past())) > 30


def test_at_half_the_size_things_move_half_as_fast(monkeypatch):
    """So `loss.equivariance` is less where latents at half the size say so."""
    moving, x = model(), pan(side=128)
    out, whole = moving(x), moving.encode(x).levels[0]
    half = moving.motion.resized(whole, 1 / 2)
    fields = [moving.motion.field(level, x.shape[2:]) for level in (half, whole)]
    assert torch.equal(half[:, :-2], whole[:, :-2])
    assert fields[1].abs().max() > 1 and torch.allclose(fields[0], fields[1] / 2)
    error = scale_error(moving, x, out)
    monkeypatch.setattr(Motion, "resized", lambda _, latents, share: latents)
    assert error < scale_error(moving, x, out)


def test_velocities_beyond_all_that_is_found_fold_nothing():
    """Whatever is drawn, what is read lies inside, and what is decoded is finite."""
    drawn = model().sample((17, 64, 96), temperature=8, generator=torch.Generator().manual_seed(0))
    assert drawn.isfinite().all()


@pytest.mark.parametrize("chunk", [1, 5, 24])
def test_a_stream_is_as_one_piece(chunk):
    moving, x = ladder("video-motion", recall=2), pan(frames=20)[..., :64, :72]
    whole = moving.encode(x)
    assert whole.levels[0][:, -2:].abs().max() > 0.1
    state, pieces = None, []
    for part in x.split(chunk, 2):
        encoded, state = stream.encode_chunk(moving, part, state)
        pieces.append(encoded)
    pieces.append(stream.encode_end(moving, state)[0])
    levels = [torch.cat(z, 2) for z in zip(*(p.levels for p in pieces), strict=True)]
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(levels, whole.levels, strict=True))
    state, frames = None, []
    for t in range(levels[0].shape[2]):
        steps = [[t, t + 1], [2 * t - 1, 2 * t + 1], [2 * t - 1, 2 * t + 1]]
        now = [z[:, :, max(0, a) : b] for z, (a, b) in zip(levels, steps, strict=True)]
        made, state = stream.decode_chunk(moving, now, (64, 72), state)
        frames.append(made)
    together = torch.cat(frames, 2)[:, :, :20]
    assert torch.allclose(together, moving.decode(whole), atol=1e-4, rtol=1e-4)


def test_later_frames_change_nothing_earlier():
    moving, x = ladder("video-motion"), pan()
    other = torch.cat([x[:, :, :9], x[:, :, 9:].flip(2)], 2)
    first, second = (moving.encode(one).levels[0] for one in (x, other))
    assert torch.equal(first[:, :, :2], second[:, :, :2])
    assert not torch.equal(first[:, :, 2], second[:, :, 2])


def test_bits_give_back_what_they_were_written_from():
    moving, x = ladder("video-motion", recall=2), pan(side=64)
    codes = written(moving, x)
    found = read(moving, codes, x.shape[2:])
    assert all(torch.equal(z, code.latents) for z, code in zip(found, codes, strict=True))


@pytest.mark.parametrize("kind", ["residual", "rounded", "precision"])
def test_a_model_goes_on_with_motion_and_says_all_else_as_before(kind: str):
    without = model().config.model_copy(update={"motion": False}).model_dump()
    without |= {"posterior": {"kind": kind}, "recall": 1}
    known = Ladder(ModelConfig.model_validate(without)).requires_grad_(False)
    for parameter in known.parameters():
        parameter += 0.02 * torch.randn(parameter.shape)
    moving, x = with_motion(known.eval()).eval().requires_grad_(False), pan()
    velocity = moving.motion.estimate(x, Past())
    assert velocity.abs().max() > 0.1
    before, found = known.encode(moving.motion.still(x, velocity, Past())), moving.encode(x)
    torch.testing.assert_close(found.levels[0][:, -2:], velocity)
    torch.testing.assert_close(found.levels[0][:, :-2], before.levels[0])
    for a, b in zip(found.levels[1:], before.levels[1:], strict=True):
        torch.testing.assert_close(a, b)
    decoded = moving.motion.moved(known.decode(before), found.levels[0], Past())
    torch.testing.assert_close(moving.decode(found), decoded)


def test_training_learns_how_exactly_motion_is_told():
    moving = model().train().requires_grad_()
    config = parse(LossConfig, {"prefix": {"share": 1.0, "preview": 0.5}}, "loss")
    at = Moment(0, 0.0, torch.Generator().manual_seed(0))
    result, out = batch_loss(moving, moving, pan(), config, at)
    assert out.inputs.shape == (2, 3, 17, 96, 96)
    result.total.backward()
    noise = moving.cells[0][0].posterior.evidence.out.bias.grad[-2:]
    assert (noise != 0).all() and noise.isfinite().all()


def test_it_is_kept_in_a_file_and_models_without_are_as_before(tmp_path: Path):
    moving = ladder("video-motion")
    checkpoint.save(moving, tmp_path / "model.safetensors")
    again, x = checkpoint.load(tmp_path / "model.safetensors"), pan(side=48)
    assert torch.equal(again.decode(again.encode(x)), moving.decode(moving.encode(x)))
    assert fingerprint(again) == fingerprint(moving) != fingerprint(ladder("video"))
    assert not any("motion" in name for name in moving.state_dict())


def test_a_pipeline_has_it_and_graphs_refuse_it():
    moving = ladder("video-motion")
    channels = sum(z.shape[1] for z in moving.encode(pan(side=32)).levels[:2])
    vae = AutoencoderLadder(moving.config.model_dump(), 2, [0.0] * channels, [1.0] * channels)
    vae.ladder.load_state_dict(moving.state_dict(), strict=False)
    x = pan(side=32)
    assert vae.decode(vae.encode(x).latent_dist.mode()).sample.shape == x.shape
    with pytest.raises(ValueError, match="graphs of tensors alone do not move frames"):
        parts(vae)


def test_a_report_draws_the_field(tmp_path: Path):
    numbers = write_report(model(), [("pan", pan())], tmp_path / "report")
    assert "hue is the direction" in numbers["definitions"]["motion"]
    text = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert ">motion<" in text
    told = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    assert told["model"]["config"]["motion"] is True


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"domain": "image"}, "motion is for domain 'video'"),
        ({"exact": True}, "exact is to be left out"),
        ({"levels": [{"stride": (8, 20, 20), "width": 16, "latent": 4}]}, r"one such as \[8, 24"),
        ({"levels": [{"stride": (8, 16, 16), "width": 16, "latent": 2}]}, "at least three"),
    ],
)
def test_a_config_that_cannot_tell_motion_says_why(changes, message):
    if "domain" in changes:
        with pytest.raises(ValueError, match=message):
            config("image", motion=True)
        return
    with pytest.raises(ValueError, match=message):
        config("video", **{"motion": True} | changes)


def test_velocities_alone_move_what_is_decoded():
    moving, x = model(), pan()
    latents = moving.encode(x)
    levels = (latents.levels[0].clone(), *latents.levels[1:])
    levels[0][:, -2:] = 0
    moved, stood = (moving.decode(Latents(zs, latents.size)) for zs in (latents.levels, levels))
    change = (y[:, :, 1:9, 32:64, 32:64].var(2).mean() for y in (stood, moved))
    assert next(change) < 0.5 * next(change)
