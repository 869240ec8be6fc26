"""Training of latent diffusion: the loop of `train`, on latents. Read `run` and `step`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator, PartialState
from torch import Tensor, nn

from ..export.folder import wrap
from ..model.config import dump, load
from ..store.windows import LatentWindow
from ..train import state
from ..train.log import Log
from ..train.loop import STATE, claim
from ..train.optimiser import (
    AveragedWeights,
    StepGuard,
    batch_noise,
    learning_rate,
    progress,
)
from ..train.plan import parameters
from .config import DiffusionRun, NoiseConfig
from .corruption import Scheduler, corrupt, make_scheduler
from .denoiser import LadderDenoiser
from .feed import LatentData, loader, open_data
from .groups import batches, describe_groups, in_turn
from .memory import Past
from .pipeline import LadderPipeline

PIPELINE = "pipeline"
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
    with PartialState().main_process_first():
        claim(config)
    trainer = DiffusionTrainer(config, data)
    trainer.accelerator.print(describe_groups(data.train), end="")
    feed = iter(trainer.batches())
    try:
        while not trainer.finished:
            parts = [next(feed) for _ in range(config.optimiser.accumulate)]
            metrics = trainer.step(parts)
            trainer.log.step(trainer.done, metrics)
            if trainer.finished or trainer.done % config.save_every == 0:
                trainer.validate()
                trainer.save()
            trainer.accelerator.wait_for_everyone()
    finally:
        trainer.log.close()
    return trainer.pipeline()


class StageLosses(nn.Module):
    """Mean squared error of every stage's denoiser on a batch, as one module to be prepared."""

    def __init__(self, denoiser: LadderDenoiser, scheduler: Scheduler, noise: NoiseConfig) -> None:
        super().__init__()
        self.denoiser, self.scheduler, self.noise = denoiser, scheduler, noise

    def forward(
        self,
        levels: Sequence[Tensor],
        condition: Tensor | None,
        past: Past | None,
        generator: torch.Generator,
        dropout: float = 0.0,
    ) -> Tensor:
        """Losses `[stages]` for whitened latents `[B, C_l, *grid_l]`.

        Args:
            generator: source of times, noise and of which conditions are left out.
            dropout: share of samples whose condition is left out.
        """
        losses, count, device = [], len(levels[0]), levels[0].device
        for stage in range(len(self.denoiser.stages)):
            chance = torch.rand(2, count, generator=generator, device=device)
            amount = chance[0] * self.noise.augmentation
            given = self.denoiser.given(stage, levels, amount, generator)
            x = self.denoiser.fold(stage, levels)
            noisy, timestep, target = corrupt(self.scheduler, x, self.noise.logit_std, generator)
            drop = None if condition is None else chance[1] < dropout
            said = self.denoiser(noisy, timestep, stage, given, condition, drop, past)
            losses.append(F.mse_loss(said.float(), target))
        return torch.stack(losses)


class DiffusionTrainer:
    """A denoiser, its optimiser, its latents, and where they stand."""

    def __init__(self, config: DiffusionRun, data: LatentData) -> None:
        self.config, self.data = config, data
        self.accelerator = Accelerator(
            mixed_precision=config.precision.replace("fp32", "no"),
            log_with=config.tracker,
            project_dir=config.out,
        )
        torch.manual_seed(config.seed)
        self.denoiser = make_denoiser(config, data).to(self.accelerator.device)
        self.scheduler = make_scheduler(config.diffusion.noise)
        self.average = AveragedWeights(self.denoiser, config.optimiser.ema)
        optimiser = torch.optim.AdamW(
            self.denoiser.parameters(),
            lr=config.optimiser.lr,
            betas=config.optimiser.betas,
            weight_decay=config.optimiser.weight_decay,
        )
        losses = StageLosses(self.denoiser, self.scheduler, config.diffusion.noise)
        self.losses, self.optimiser = self.accelerator.prepare(losses, optimiser)
        self.guard, self.done, self.seconds = StepGuard(config.optimiser.skip), 0, 0.0
        self._resume()
        self.began = time.monotonic() - self.seconds
        self.progress = self._progress()
        self.log = Log(config, self.accelerator, self.done, {})

    @property
    def finished(self) -> bool:
        return self.progress >= 1

    def batches(self) -> torch.utils.data.DataLoader:
        """Batches from where the run stands."""
        config, accelerator = self.config, self.accelerator
        first = self.done * config.optimiser.accumulate
        ranks = accelerator.process_index, accelerator.num_processes
        train = self.data.train
        order = batches(train, config.data.batch, config.seed, first, *ranks)
        return loader(train, order, config.data.workers)

    def step(self, batches: Sequence[LatentWindow]) -> dict[str, object]:
        """One optimiser step over `batches`; returns its metrics."""
        config, found = self.config.optimiser, []
        lr = learning_rate(config, self.done, self.progress)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        self.optimiser.zero_grad()
        for number, batch in enumerate(batches):
            generator = batch_noise(self.config.seed, self.done, number, self.accelerator)
            inputs = self._enter(batch)
            with self.accelerator.autocast():
                dropout = self.config.diffusion.condition.dropout
                losses = self.losses(*inputs, generator, dropout)
            self.accelerator.backward(losses.mean() / len(batches))
            found.append(losses.detach())
        norm = float(self.accelerator.clip_grad_norm_(self.losses.parameters(), config.clip))
        if self.guard.allows(norm):
            self.optimiser.step()
            self.average.update(self.denoiser, self.done)
        self.done += 1
        self.progress = self._progress()
        losses = torch.stack(found).mean(0)
        return {
            "loss": float(losses.mean()),
            "stage_loss": losses.tolist(),
            "gradient_norm": norm,
            "lr": lr,
            "skipped": self.guard.skipped,
        }

    @torch.no_grad()
    def validate(self) -> None:
        """Losses of the averaged weights on held-out latents, with the same noise every time."""
        held_out, batch = self.data.held_out, self.config.data.batch
        count = min(len(held_out), MEASURED)
        if not self.accelerator.is_main_process or not count:
            return
        losses = StageLosses(self.average.model, self.scheduler, self.config.diffusion.noise)
        generator = torch.Generator(self.accelerator.device).manual_seed(self.config.seed)
        total = torch.zeros(len(self.denoiser.stages))
        for part in loader(held_out, in_turn(held_out, batch, count), 0):
            inputs = self._enter(part)
            total += losses(*inputs, generator).cpu() * len(part.name) / count
        self.log.validation(self.done, {"stage_loss": total.tolist()})

    def pipeline(self) -> LadderPipeline:
        """The averaged denoiser, with all that it takes to sample and decode."""
        levels = self.config.diffusion.levels
        vae = wrap(self.data.ladder, levels, list(self.data.mean), list(self.data.std))
        scheduler = make_scheduler(self.config.diffusion.noise)
        return LadderPipeline(vae, self.average.model, scheduler).to(self.accelerator.device)

    def save(self) -> None:
        """Write the pipeline and the state of the run."""
        if not self.accelerator.is_main_process:
            return
        self.pipeline().write(self.config.out / PIPELINE)
        scaler = self.accelerator.scaler
        values = {
            "step": self.done,
            "seconds": time.monotonic() - self.began,
            "guard": {"log_mean": self.guard.log_mean, "skipped": self.guard.skipped},
            "scaler": scaler.state_dict() if scaler else {},
        }
        state.save(self.config.out / STATE, *self._parts(), values)

    def _resume(self) -> None:
        if not (self.config.out / STATE).exists():
            return
        values = state.load(self.config.out / STATE, *self._parts())
        self.done, self.seconds = values["step"], values["seconds"]
        self.guard = StepGuard(self.config.optimiser.skip, **values["guard"])
        if values["scaler"] and self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(values["scaler"])

    def _parts(self) -> tuple[Mapping[str, nn.Module], Mapping[str, torch.optim.Optimizer]]:
        modules = {"denoiser": self.denoiser, "average": self.average.model}
        return modules, {"optimiser": self.optimiser}

    def _enter(self, batch: LatentWindow) -> tuple[list[Tensor], Tensor | None, Past | None]:
        """Levels, condition and past of a batch, on the device."""
        device, diffusion = self.accelerator.device, self.config.diffusion
        asked = diffusion.condition.classes or diffusion.condition.embedding
        label, past = batch.label.to(device) if asked else None, None
        if diffusion.past:
            levels = [z.to(device, torch.float32) for z in batch.past]
            past = Past(levels, [known.to(device) for known in batch.past_mask])
        return [z.to(device, torch.float32) for z in batch.latents], label, past

    def _progress(self) -> float:
        return progress(self.config, self.done, self.began, self.accelerator.device)


def make_denoiser(config: DiffusionRun, data: LatentData) -> LadderDenoiser:
    """A new denoiser for the first levels of a ladder."""
    diffusion, model = config.diffusion, data.ladder
    levels = model.levels[: diffusion.levels]
    return LadderDenoiser(
        domain=model.domain.name,
        strides=[list(level.stride) for level in levels],
        channels=[level.latent * level.groups for level in levels],
        size=list(data.size),
        stages=[stage.model_dump() for stage in diffusion.stages],
        condition=diffusion.condition.model_dump(),
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
