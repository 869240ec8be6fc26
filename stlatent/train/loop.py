"""The training loop: read `train` from top to bottom."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from torch import Tensor

from .. import checkpoint
from ..losses.elbo import Objective
from ..model.config import dump, load
from ..model.passes import Pass
from . import state
from .config import RunConfig
from .data import Batch
from .extras import Extras
from .kinds import open_data, with_data
from .log import Log
from .loss import batch_loss
from .optimiser import (
    AveragedWeights,
    StepGuard,
    batch_noise,
    learning_rate,
    progress,
)
from .plan import describe

STATE = "state.safetensors"


def run(path: str | Path, overrides: Sequence[str] = (), dry_run: bool = False) -> Path | None:
    """Train as the config says, or go on where the run stopped; returns the run folder.

    Args:
        path: YAML file of a `RunConfig`.
        overrides: `key.sub=value` each.
        dry_run: only print the resolved config, sizes and the memory of one step.

    Raises:
        ValueError: the config is wrong, the data cannot be read, or `out` holds another run.
    """
    config = load(RunConfig, path, overrides)
    if dry_run:
        print(dump(config) + describe(config))
        return None
    config = with_data(config)
    with PartialState().main_process_first():
        claim(config)
    train(Trainer(config))
    return config.out


def train(trainer: Trainer) -> None:
    """The loop itself."""
    config, log = trainer.config, trainer.log
    batches = iter(trainer.batches())
    try:
        while not trainer.finished:
            parts = [next(batches) for _ in range(config.optimiser.accumulate)]
            metrics = trainer.step(parts)
            log.step(trainer.done, metrics)
            log.skip_files({name: why for part in parts for name, why in part.failed.items()})
            last = trainer.finished
            if last or trainer.done % config.data.validation.every == 0:
                trainer.validate()
            if last or trainer.done % config.save_every == 0:
                trainer.save()
            trainer.accelerator.wait_for_everyone()
    finally:
        log.close()


@dataclass
class Counters:
    """What a run must remember besides weights."""

    step: int = 0
    seconds: float = 0.0
    best: float = float("-inf")
    guard: dict[str, float | int | None] = field(default_factory=dict)
    scaler: dict[str, object] = field(default_factory=dict)


class Trainer:
    """A model, its optimiser, its data, and where they stand."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.accelerator = Accelerator(
            mixed_precision=config.precision.replace("fp32", "no"),
            log_with=config.tracker,
            project_dir=config.out,
        )
        torch.manual_seed(config.seed)
        model = checkpoint.build(config.model)
        if config.start:
            model.load_state_dict(_weights(config))
        model = model.to(self.accelerator.device)
        self.average = AveragedWeights(model, config.optimiser.ema)
        optimiser = torch.optim.AdamW(
            model.parameters(),
            lr=config.optimiser.lr,
            betas=config.optimiser.betas,
            weight_decay=config.optimiser.weight_decay,
        )
        self.model, self.optimiser = self.accelerator.prepare(model, optimiser)
        self.ladder: checkpoint.Model = self.accelerator.unwrap_model(self.model)
        self.extras = Extras(
            self.ladder,
            config.perceptual,
            config.adversarial,
            config.loss.spectral,
            config.alignment,
        ).to(self.accelerator.device)
        self.guard = StepGuard(config.optimiser.skip)
        self.data = open_data(config)
        self.counters = Counters()
        self._resume()
        self.began = time.monotonic() - self.counters.seconds
        self.progress = self._progress()
        self.log = Log(config, self.accelerator, self.counters.step, self.data.bad)

    # where the run stands ----------------------------------------------------------------------

    @property
    def done(self) -> int:
        return self.counters.step

    def _progress(self) -> float:
        return progress(self.config, self.done, self.began, self.accelerator.device)

    @property
    def finished(self) -> bool:
        return self.progress >= 1

    def batches(self) -> Iterable[Batch]:
        """Batches from where the run stands."""
        accelerator = self.accelerator
        return self.data.batches(self.done, accelerator.process_index, accelerator.num_processes)

    # one step ----------------------------------------------------------------------------------

    def step(self, batches: Sequence[Batch]) -> dict[str, object]:
        """One optimiser step over `batches`; returns its metrics."""
        config = self.config.optimiser
        lr = learning_rate(config, self.done, self.progress)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        self.optimiser.zero_grad()
        results = []
        for number, batch in enumerate(batches):
            x = self.data.enter(batch, self.accelerator.device)
            with self.accelerator.autocast():
                result, out = self._loss(x, number)
            self.accelerator.backward(result.total / len(batches))
            self.extras.learn(out.x[: len(x)].detach(), x, self.done)
            results.append(result)
        norm = float(self.accelerator.clip_grad_norm_(self.model.parameters(), config.clip))
        if self.guard.allows(norm):
            self.optimiser.step()
            self.average.update(self.ladder, self.done)
        self.counters.step += 1
        self.progress = self._progress()
        return _summary(results) | {
            "gradient_norm": norm,
            "lr": lr,
            "skipped": self.guard.skipped,
        }

    def _loss(self, x: Tensor, number: int) -> tuple[Objective, Pass]:
        """Of one batch."""
        loss, step = self.config.loss, self.done
        generator = batch_noise(self.config.seed, step, number, self.accelerator)
        warm = loss.rate.warm(step)
        return batch_loss(
            self.model,
            self.ladder,
            x,
            loss,
            step,
            self.progress,
            generator,
            lambda out: self.extras.penalty(out, x, step, warm),
        )

    # measuring, saving, resuming ---------------------------------------------------------------

    def validate(self) -> None:
        """Measure the averaged weights, write pictures, keep the best."""
        if not self.accelerator.is_main_process:
            return
        figures = self.data.measure(self.average.model, self.done)
        if figures is None:
            return
        self.log.validation(self.done, figures)
        if figures[self.data.quality][-1] > self.counters.best:
            self.counters.best = figures[self.data.quality][-1]
            self._keep("best", figures)

    def save(self) -> None:
        """Write the averaged model and the state of the run."""
        if not self.accelerator.is_main_process:
            return
        self._keep("last", {})
        scaler = self.accelerator.scaler
        self.counters.seconds = time.monotonic() - self.began
        self.counters.guard = {"log_mean": self.guard.log_mean, "skipped": self.guard.skipped}
        self.counters.scaler = scaler.state_dict() if scaler else {}
        state.save(self._state_file, *self._parts(), vars(self.counters))

    def _resume(self) -> None:
        if not self._state_file.exists():
            return
        self.counters = Counters(**state.load(self._state_file, *self._parts()))
        self.guard = StepGuard(self.config.optimiser.skip, **self.counters.guard)
        if self.counters.scaler and self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(self.counters.scaler)

    def _parts(self) -> tuple[dict[str, torch.nn.Module], dict[str, torch.optim.Optimizer]]:
        modules = {"model": self.ladder, "average": self.average.model}
        optimisers = {"optimiser": self.optimiser}
        if self.extras.critic is not None:
            modules["critic"] = self.extras.critic
            optimisers["critic_optimiser"] = self.extras.optimiser
        if self.extras.spectral is not None:
            modules["spectral"] = self.extras.spectral
        return modules, optimisers

    def _keep(self, place: str, figures: dict[str, object]) -> None:
        about = {"step": self.done, **figures}
        checkpoint.save(self.average.model, self.config.out / place / checkpoint.FILE, about)

    @property
    def _state_file(self) -> Path:
        return self.config.out / STATE


def claim(config: Any) -> None:
    """Make `out` the folder of this run, or find that it is already.

    A run that stopped before its first checkpoint, such as for a wrong path, has nothing to lose:
    it may be started anew with other settings.

    Args:
        config: of any kind of run, with a folder `out`.

    Raises:
        ValueError: the folder holds something else, or a run with other settings.
    """
    out, file = config.out, config.out / "config.yaml"
    if not file.exists():
        if out.exists() and any(out.iterdir()):
            raise ValueError(f"out={out} is not empty and holds no run; give another folder")
        out.mkdir(parents=True, exist_ok=True)
        checkpoint.replace_text(file, dump(config))
        return
    before = load(type(config), file) if (out / STATE).exists() else config
    free = ("steps", "minutes", "log_every", "save_every", "tracker")
    for name in type(config).model_fields:
        if name not in free and getattr(before, name) != getattr(config, name):
            raise ValueError(
                f"out={out} holds a run with another `{name}`; give another folder, "
                f"or the same settings to resume (only {', '.join(free)} may change)"
            )
    checkpoint.replace_text(file, dump(config))


def _weights(config: RunConfig) -> Mapping[str, Tensor]:
    """Of the model to start from: the same one, whatever the size of the shapes that it saw."""
    start, wanted = checkpoint.load(config.start), config.model
    found = start.config.model_copy(update={"cube": wanted.cube})
    differs = [name for name, value in wanted if getattr(found, name) != value]
    if differs:
        raise ValueError(
            f"the model in start={config.start} has another {' and '.join(differs)} than `model`; "
            "give `model` the same settings, or leave start away"
        )
    return start.state_dict()


def _summary(results: Sequence[Objective]) -> dict[str, object]:
    """Means over the batches of one step, as plain numbers."""

    def mean(values: Sequence[Tensor]) -> float:
        return float(sum(float(v) for v in values) / len(values))

    return {
        "loss": mean([r.total.detach() for r in results]),
        "distortion": mean([r.distortion for r in results]),
        "preview": mean([r.preview for r in results]),
        "rate_bits": [mean(bits) for bits in zip(*(r.rate_bits for r in results), strict=True)],
    }
