"""Training of latent diffusion: a task for the loop of `train`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..export.folder import wrap
from ..files import resumable
from ..model.config import dump, load
from ..shipped import PIPELINE
from ..store.stored import channels_of
from ..store.windows import LatentWindow
from ..train.data import Figures
from ..train.folder import claimed
from ..train.loop import Loop, make_accelerator
from ..train.plan import parameters
from ..train.task import Loss, Moment, RunTask
from .config import DiffusionRun
from .context import Context
from .corruption import make_scheduler
from .data import LatentData, loader, open_data
from .denoiser import LadderDenoiser
from .groups import batches, describe_groups, in_turn
from .loss import StageLosses
from .pipeline import LadderPipeline
from .sparse import AutoencoderSparse

MEASURED = 512  # samples of the held-out ones, at most


def run(path: str | Path, overrides: Sequence[str] = (), dry_run: bool = False) -> Path | None:
    """Train as the config says, or go on where the run stopped; returns the run folder.

    Args:
        path: YAML file of a `DiffusionRun`.
        overrides: `key.sub=value` each.
        dry_run: only print the resolved config, sizes and parameters.

    Raises:
        ValueError: the config is wrong, the data cannot be read, or `out` holds another run.
    """
    config = load(DiffusionRun, path, overrides)
    data = open_data(config)
    if dry_run:
        print(dump(config) + describe(config, data))
        return None
    train(config, data)
    return config.out


def train(config: DiffusionRun, data: LatentData) -> LadderPipeline:
    """Train on any latents, see `LatentData`; returns the pipeline, which is also in `out`.

    Raises:
        ValueError: `out` holds another run, or the latents do not fit the config.
    """
    accelerator = make_accelerator(config)
    with claimed(config, accelerator):
        with resumable():
            task = Diffusion(config, data, accelerator.device)
            loop = Loop(config, config.optimiser, task, accelerator)
        loop.run()
    return task.pipeline(loop.average)


class Diffusion(RunTask):
    """A denoiser and its latents."""

    name = "denoiser"

    def __init__(self, run: DiffusionRun, data: LatentData, device: torch.device) -> None:
        self.run, self.data, self.device = run, data, device
        torch.manual_seed(run.seed)
        self.model = make_denoiser(run, data).to(device)
        self.every = run.save_every
        self.notices = describe_groups(data.train).splitlines()
        self.network = self._losses(self.model)

    def batches(self, step: int, rank: int, processes: int) -> Iterable[LatentWindow]:
        run, first = self.run, step * self.run.optimiser.accumulate
        found = batches(self.data.train, run.data.batch_size, run.seed, first, rank, processes)
        return loader(self.data.train, found, run.data.workers)

    def loss(self, batch: LatentWindow, at: Moment) -> Loss:
        dropout = self.run.diffusion.condition.dropout
        losses = self.network(*self._enter(batch), at.own_noise(), dropout).mean(1)
        found = losses.detach()
        return Loss(losses.mean(), {"stage_loss": list(found)})

    @torch.no_grad()
    def measure(self, model: LadderDenoiser, step: int) -> Figures | None:
        """Losses on held-out latents, with the same noise every time."""
        held_out, batch = self.data.held_out, self.run.data.batch_size
        count = min(len(held_out), MEASURED)
        if not count:
            return None
        losses = self._losses(model)
        generator = torch.Generator(self.device).manual_seed(self.run.seed)
        total = torch.zeros(len(model.stages))
        for part in loader(held_out, in_turn(held_out, batch, count), 0):
            inputs = self._enter(part)
            total += losses(*inputs, generator).cpu().sum(1) / count
        return {"stage_loss": total.tolist()}

    def keep(self, model: LadderDenoiser, place: str, about: Mapping[str, object]) -> None:
        """Write the pipeline, of the last weights: nothing says which are the best."""
        self.pipeline(model).write(self.run.out / PIPELINE)

    def pipeline(self, denoiser: LadderDenoiser) -> LadderPipeline:
        """A denoiser with all that it takes to sample and decode."""
        ladder, levels = self.data.ladder, self.run.diffusion.levels
        make = AutoencoderSparse.of if ladder.domain.sparse else wrap
        vae = make(ladder, levels, list(self.data.mean), list(self.data.std))
        scheduler, sampling = make_scheduler(self.run.diffusion.noise), self.run.diffusion.sampling
        return LadderPipeline(
            vae, denoiser, scheduler, sampling.steps, sampling.guidance, sampling.tries
        ).to(self.device)

    def _losses(self, denoiser: LadderDenoiser) -> StageLosses:
        noise = self.run.diffusion.noise
        return StageLosses(denoiser, make_scheduler(noise), noise)

    def _enter(self, batch: LatentWindow) -> tuple[list[Tensor], Tensor | None, Context | None]:
        """Levels, condition and past of a batch, on the device."""
        device, diffusion = self.device, self.run.diffusion
        label = batch.label.to(device) if diffusion.condition.asked else None
        past = None
        if diffusion.past:
            levels = [z.to(device, torch.float32) for z in batch.past]
            past = Context(levels, [known.to(device) for known in batch.past_mask])
        return [z.to(device, torch.float32) for z in batch.latents], label, past


def make_denoiser(config: DiffusionRun, data: LatentData) -> LadderDenoiser:
    """A new denoiser for the first levels of a ladder."""
    diffusion, model = config.diffusion, data.ladder
    levels, condition = model.levels[: diffusion.levels], diffusion.condition.model_dump()
    if diffusion.condition.encoder:
        condition["embedding"] = len(data.train[0].label)
    condition["names"] = list(diffusion.condition.names or data.classes)
    return LadderDenoiser(
        domain=model.domain.whole.name,
        strides=[list(level.stride) for level in levels],
        channels=[channels_of(model, k) for k in range(diffusion.levels)],
        size=list(data.size),
        stages=[stage.model_dump() for stage in diffusion.stages],
        condition=condition,
        past=list(diffusion.past),
    )


def describe(config: DiffusionRun, data: LatentData) -> str:
    """Sizes and parameters of every stage, in words."""
    denoiser = make_denoiser(config, data)
    lines = [f"# {len(data.train)} samples of {list(data.size)}, {len(data.held_out)} held out"]
    for k, backbone in enumerate(denoiser.backbones):
        levels, shape = denoiser.levels[k], denoiser.latent_shape(k, data.size)
        lines.append(
            f"# stage {k}: levels {levels.start} to {levels.stop - 1} as {list(shape)}, "
            f"{type(backbone.network).__name__} of {parameters(backbone) / 1e6:.2f} M parameters"
        )
    return "\n".join(lines) + "\n" + describe_groups(data.train)
