"""What does it help that level 0 tells how frames move? The same ladder without and with.

    python tools/studies/motion.py VIDEOS PHOTOS --steps 200 --out runs/motion

Both are new models of `configs/video/base.yaml`, with as many latents for pictures, trained for the
same steps on the same clips, a fifth of them windows that slide over photos. Then the videos that
are held out and other sliding windows, whose velocities are known, are decoded from every prefix.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import real_clips
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from stlatent import Ladder
from stlatent.cli.outcome import command
from stlatent.losses.elbo import LossConfig
from stlatent.media.metrics import psnr
from stlatent.media.video.pixels import to_float
from stlatent.model.config import load, parse
from stlatent.train.config import OptimiserConfig, RunConfig
from stlatent.train.fit import Shuffled, fit

BASE = Path(__file__).parents[2] / "configs" / "video" / "base.yaml"
MOVING = ("bikes.mp4", "coffee_pour.mp4", "white_flower.264", "wolf.mp4")
FRAMES, SIDE, MEASURED, FASTEST = 17, 96, 192, 2.0
LOSS = {"rate": {"weight": 0.02}, "prefix": {"share": 1.0, "preview": 0.5}}


def sliding(photos: Path, count: int, side: int, seed: int) -> tuple[Tensor, Tensor]:
    """Windows over photos, each at a velocity of its own: uint8 `[count, T, side, side, 3]`, and by
    how many pixels per frame they show things move, `[count, 2]`."""
    generator = torch.Generator().manual_seed(seed)
    files = sorted(file for file in photos.iterdir() if file.suffix in (".jpg", ".png"))
    velocities = FASTEST * (2 * torch.rand(count, 2, generator=generator) - 1)
    room, clips = side + int(FASTEST * FRAMES) + 4, []
    for i, velocity in zip(torch.randperm(len(files), generator=generator), velocities):
        photo = Image.open(files[i]).convert("RGB")
        scale = max(room / min(photo.size), 0.5)
        photo = photo.resize([max(room, round(n * scale)) for n in photo.size])
        pixels = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None].float()
        size = torch.tensor(photo.size)
        middle = torch.arange(side) + 0.5 - side / 2
        frames = []
        for t in range(FRAMES):
            start = size / 2 - velocity * (t - FRAMES / 2)
            x, y = ((middle + start[k]) * 2 / size[k] - 1 for k in (0, 1))
            grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1)[None]
            frames.append(F.grid_sample(pixels, grid, "bicubic", "border", False)[0])
        clips.append(torch.stack(frames).clamp(0, 255).round().byte().permute(0, 2, 3, 1))
    return torch.stack(clips), velocities[: len(clips)]


def made(motion: bool) -> Ladder:
    """A new model."""
    config = load(RunConfig, BASE).model
    if motion:
        first, *others = config.levels
        first = first.model_copy(update={"latent": first.latent + 2})
        config = config.model_copy(update={"levels": (first, *others), "motion": True})
    torch.manual_seed(0)
    return Ladder(config)


def trained(motion: bool, clips: Tensor, steps: int) -> Ladder:
    """The same after so many steps, in evaluation mode."""
    model = made(motion)
    if steps:
        torch.manual_seed(0)
        batches = Shuffled(clips, 1, torch.Generator().manual_seed(0), to_float)
        optimiser = OptimiserConfig(lr=4e-4, warmup_steps=20, ema=0.98, clip=10)
        done = fit(model, batches, parse(LossConfig, LOSS, "loss"), optimiser, steps)
        print(f"motion={motion}: {done.seconds / steps:.2f} seconds per step", flush=True)
        model = done.model
    return model.eval()


@torch.inference_mode()
def measured(model: Ladder, clips: Mapping[str, Tensor], groups: Mapping[str, Sequence[str]]):
    """Mean PSNR of every prefix and bits per value, by group of clips."""
    rows, bits = {}, {}
    for name, x in clips.items():
        found = model.encode(x)
        bits[name] = sum(float(kl.sum()) for kl in found.kl) / np.log(2) / x.numel()
        rows[name] = [float(psnr(x, model.decode(found, k + 1))) for k in range(len(model.levels))]
    for group, names in groups.items():
        shown = " / ".join(f"{v:.2f}" for v in np.array([rows[n] for n in names], float).mean(0))
        print(f"  {group}: {shown} dB, {np.mean([bits[n] for n in names]):.4f} bits", flush=True)


@torch.inference_mode()
def strayed(model: Ladder, x: Tensor, velocity: Tensor) -> float:
    """Pixels per frame by which what is told differs from the truth, the median over positions."""
    found = model.motion.field(model.encode(x).levels[0], x.shape[2:])[0, :, 1:]
    return float((found - velocity.view(2, 1, 1, 1)).norm(dim=0).median())


@command("motion")
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("runs/motion"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    training, held = real_clips.sides(options.videos)
    clips = real_clips.drawn(training, 256, SIDE, (0.5, 1.0), options.out / "clips.safetensors")
    clips = torch.cat([clips, sliding(options.photos, 64, SIDE, seed=1)[0]])
    windows, velocities = sliding(options.photos, 6, MEASURED, seed=2)
    shown = real_clips.centred(held, (FRAMES, MEASURED, MEASURED))
    groups = {"held out": [*shown], "moving": [n for n in MOVING if n in shown]}
    shown |= {f"window {i}": to_float(window[None]) for i, window in enumerate(windows)}
    groups["windows"] = [n for n in shown if n.startswith("window")]
    for motion in (False, True):
        model = trained(motion, clips, options.steps)
        print(f"motion={motion}, {options.steps} steps")
        measured(model, shown, {name: found for name, found in groups.items() if found})
    pairs = zip(groups["windows"], velocities, strict=True)
    apart = [strayed(model, shown[name], velocity) for name, velocity in pairs]
    print("  pixels per frame from the truth:", " ".join(f"{one:.2f}" for one in apart))


if __name__ == "__main__":
    main()
