"""Parts of `study_diffusion.py` that clips and chairs share: ladder, latents, ways, timing."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stlatent import Ladder, ModelConfig, checkpoint
from stlatent.diffusion import DiffusionRun, LadderPipeline, LatentData, LatentTensors, train
from stlatent.losses.elbo import LossConfig
from stlatent.model.config import parse
from stlatent.model.packing import Packing
from stlatent.train.config import OptimiserConfig
from stlatent.train.fit import fit

LEAST_STD = 1e-3  # of a channel to divide by: one that says nothing stays near 0


@dataclass(frozen=True)
class Encoded:
    """Latents of a data set in memory: whitened, with whole groups at every step of time."""

    levels: tuple[Tensor, ...]
    labels: Tensor | None
    mean: list[Tensor]
    std: list[Tensor]

    def data(self, ladder: Ladder, size: Sequence[int], levels: int, held_out: int) -> LatentData:
        """The first levels; the last `held_out` samples are held out."""
        count = len(self.levels[0]) - held_out
        parts = []
        for part in (slice(count), slice(count, None)):
            labels = None if self.labels is None else self.labels[part]
            parts.append(LatentTensors([z[part] for z in self.levels[:levels]], labels))
        mean, std = (torch.cat(v[:levels]).tolist() for v in (self.mean, self.std))
        return LatentData(*parts, ladder, tuple(size), mean, std)


def ladder_of(
    config: dict[str, Any],
    weights: dict[str, Any],
    batches: Iterable[Tensor],
    minutes: float,
    out: Path,
) -> Ladder:
    """Train a ladder, unless `out` holds it already."""
    if not (out / checkpoint.FILE).exists():
        torch.manual_seed(0)
        optimiser = OptimiserConfig(lr=1e-3, warmup_steps=100, ema=0.998, clip=10)
        began = time.monotonic()

        def watch(step: int, metrics: dict[str, Any]) -> None:
            if step % 50 == 0:
                bits = " ".join(f"{b:.3f}" for b in metrics["rate_bits"])
                spent, loss = (time.monotonic() - began) / 60, metrics["loss"]
                print(f"ladder: {spent:.1f} min, step {step}, loss {loss:.4f}, "
                      f"bits per value {bits}", flush=True)  # fmt: skip

        done = fit(
            Ladder(parse(ModelConfig, config, "ladder")),
            batches,
            parse(LossConfig, weights, "loss"),
            optimiser,
            seconds=60 * minutes,
            watch=watch,
        )
        checkpoint.save(done.model, out / checkpoint.FILE, {"steps": len(done.losses)})
    return checkpoint.load(out)


@torch.no_grad()
def encoded(ladder: Ladder, batches: Iterable[Tensor], labels: Tensor | None) -> Encoded:
    """Encode a data set to whitened latents."""
    rows = [ladder.encode(x).levels for x in batches]
    levels = [torch.cat(z) for z in zip(*rows, strict=True)]
    axes = [0, *range(2, levels[0].ndim)]
    mean = [z.mean(axes) for z in levels]
    std = [z.std(axes).clamp(min=LEAST_STD) for z in levels]
    packing = packing_of(ladder, mean, std)
    return Encoded(packing.unfold(packing.pack(levels), started=True), labels, mean, std)


def packing_of(ladder: Ladder, mean: Sequence[Tensor], std: Sequence[Tensor]) -> Packing:
    """All levels on the grid of level 0."""
    strides = [level.stride for level in ladder.levels]
    channels = [len(m) for m in mean]
    return Packing(
        ladder.domain, strides, channels, torch.cat([*mean]).tolist(), torch.cat([*std]).tolist()
    )


def diffused(
    stages: Sequence[dict[str, int]],
    latents: Encoded,
    ladder: Ladder,
    size: Sequence[int],
    classes: int,
    options: argparse.Namespace,
    out: Path,
) -> LadderPipeline:
    """Train latent diffusion one way, or go on where it stopped; or open it if it is done."""
    done = out / "done"
    if not done.exists():
        values = {
            "diffusion": {"stages": list(stages), "condition": {"classes": classes}},
            "data": {"root": out, "batch_size": options.batch_size, "workers": 0},
            "optimiser": {"lr": 1e-3, "warmup_steps": 100, "ema": 0.999},
            "out": out,
            "minutes": options.minutes,
            "steps": 10_000_000,
            "save_every": options.save_every,
            "log_every": 100,
            "tracker": None,
        }
        levels = sum(stage["levels"] for stage in stages)
        held_out = min(len(latents.levels[0]) // 10, 256)
        train(parse(DiffusionRun, values, str(out)), latents.data(ladder, size, levels, held_out))
        done.touch()
    pipeline = LadderPipeline.from_pretrained(out / "pipeline")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@dataclass(frozen=True)
class Drawn:
    """Samples, and what they cost: evaluations of a network, and seconds for all of them."""

    x: Tensor
    evaluations: int
    network_seconds: float
    decode_seconds: float

    @property
    def row(self) -> dict[str, float]:
        """Costs per sample."""
        return {
            "evaluations": self.evaluations,
            "network_ms": 1000 * self.network_seconds / len(self.x),
            "decode_ms": 1000 * self.decode_seconds / len(self.x),
        }


@torch.no_grad()
def drawn(
    pipeline: LadderPipeline,
    count: int,
    steps: int,
    condition: Tensor | None,
    options: argparse.Namespace,
    sampled: bool,
) -> Drawn:
    """Sample `count` times; levels that no stage makes are drawn from the prior, or its mean."""
    vae, device = pipeline.vae, pipeline._execution_device
    if sampled and vae.config.levels < len(vae.ladder.levels):
        vae.enable_prior_sampling(options.temperature)
    else:
        vae.disable_prior_sampling()
    generator = torch.Generator(device).manual_seed(options.seed)
    parts, network, decode = [], 0.0, 0.0
    for rows in torch.arange(count).split(options.at_a_time):
        asked = None if condition is None else condition[rows]
        began = _clock(device)
        levels = pipeline(
            asked,
            len(rows),
            num_inference_steps=steps,
            guidance_scale=options.guidance,
            generator=generator,
            output_type="latent",
        ).frames
        network += _clock(device) - began
        began = _clock(device)
        packed = vae.packing.fold(levels)
        size = pipeline.denoiser.config.size
        parts.append(vae.decode(packed, generator=generator, size=size).sample.cpu())
        decode += _clock(device) - began
    twice = 2 if condition is not None and options.guidance != 1 else 1
    evaluations = twice * steps * len(pipeline.denoiser.stages)
    return Drawn(torch.cat(parts), evaluations, network, decode)


@torch.no_grad()
def ladder_alone(
    ladder: Ladder,
    size: Sequence[int],
    count: int,
    options: argparse.Namespace,
    held: Callable[[Tensor], dict[int, Tensor]] = lambda rows: {},
) -> Drawn:
    """Draws from the ladder's own prior, some levels held as given."""
    generator = torch.Generator().manual_seed(options.seed)
    began, parts = time.perf_counter(), []
    for rows in torch.arange(count).split(options.at_a_time):
        parts.append(ladder.sample(size, len(rows), held(rows), options.temperature, generator))
    return Drawn(torch.cat(parts), 0, 0.0, time.perf_counter() - began)


def _clock(device: torch.device) -> float:
    """Seconds: of the device, or those that a processor has spent on this process alone."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()
