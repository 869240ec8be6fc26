"""The training loop, whatever is trained: read `Loop.run` from top to bottom."""

from __future__ import annotations

import atexit
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from pydantic import Field

from ..files import resumable
from ..media.training import Count, ReadBatch
from ..model.config import Strict, parse
from . import state
from .config import OptimiserConfig, Run
from .folder import STATE
from .interrupts import Interrupts
from .log import Log
from .optimiser import Guarded, StepGuard, batch_noise, seeded
from .order import plainly
from .steps import Steps, Taken
from .task import Moment, RunTask


def make_accelerator(config: Run) -> Accelerator:
    """The processes of a run: one, or as many as `torchrun` or `accelerate launch` have started,
    on CPUs too."""
    AcceleratorState._reset_state()  # a run before this one may have had another precision
    atexit.unregister(_part)
    atexit.register(_part)
    return Accelerator(
        cpu=not torch.accelerator.is_available(),
        mixed_precision=config.precision.replace("fp32", "no"),
        log_with=config.tracker,
        project_dir=config.out,
    )


def _part() -> None:
    """Leave the group of processes: torn down with the interpreter, it may abort."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


class Counters(Strict, frozen=False, allow_inf_nan=True):
    """What a run must remember besides weights.

    Attributes:
        step: how many have been taken.
        seconds: that they took.
        best: quality of the best weights so far.
        guard: what its `StepGuard` knows.
        scaler: state of the accelerator's scaler of gradients, if it has one.
        scalers: of those of the task, by name.
    """

    step: Count = 0
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    best: float = float("-inf")
    guard: Guarded = Guarded()
    scaler: dict[str, Any] = {}  # noqa: RUF012, pydantic copies it
    scalers: dict[str, dict[str, Any]] = {}  # noqa: RUF012


class Loop:
    """A task, its optimiser, and where they stand.

    Args:
        config: of the run.
        optimiser: its `optimiser`.
        task: what is trained.
        accelerator: see `make_accelerator`.
    """

    def __init__(
        self, config: Run, optimiser: OptimiserConfig, task: RunTask, accelerator: Accelerator
    ) -> None:
        self.config, self.task, self.accelerator = config, task, accelerator
        self.accumulate = optimiser.accumulate
        self.steps = Steps(task, optimiser, accelerator)
        self.average = self.steps.average.model
        self.counters = Counters()
        self._resume()
        self.saved = self.done  # the step that the same command goes on from
        self.began = time.monotonic() - self.counters.seconds
        self.progress, self.stopped = 0.0, False
        self._agreed: Sequence[float] | None = None  # minutes, and whether to stop

    # the loop ----------------------------------------------------------------------------------

    def run(self) -> None:
        """Train to the end. After SIGINT or SIGTERM the step under way is finished and saved; a
        second one does not wait for it.

        Raises:
            KeyboardInterrupt, SystemExit: the run was told to end before its end.
        """
        task, config = self.task, self.config
        told = resumable(lambda: [f"saved until step {self.saved}"])
        with Interrupts() as interrupts, told, Log(config, self.accelerator, self.done) as log:
            log.say(task.notices)
            log.skip_files(task.unreadable)
            self._agree(interrupts)
            batches = plainly(self._batches())
            while self.progress < 1 and not self.stopped:
                parts = [next(batches) for _ in range(self.accumulate)]
                taken = self.step(parts)
                self._agree(interrupts)
                if log.wants(self.done):
                    log.step(self.done, taken.read(self._mean))
                log.skip_files({name: why for part in parts for name, why in _failed(part)})
                last = self.progress >= 1
                if last or self.done % task.every == 0:
                    self.validate(log)
                if last or self.stopped or self.done % config.save_every == 0:
                    self.save()
                    self.saved = self.done
            self.accelerator.wait_for_everyone()  # the main one may still measure and save
            if self.stopped:
                log.say([f"stopped after step {self.done}, which is saved"])
                interrupts.end()
            more = "raise steps or minutes to go on"
            log.say([f"{config.out} is complete at step {self.done}; {more}"])

    @property
    def done(self) -> int:
        """Steps."""
        return self.counters.step

    def step(self, batches: Sequence[ReadBatch]) -> Taken:
        """One optimiser step over `batches`."""
        moments = [self._moment(self.done, number) for number in range(len(batches))]
        taken = self.steps.step(batches, moments)
        self.counters.step += 1
        return taken

    def _batches(self) -> Iterable[ReadBatch]:
        """From where the run stands."""
        accelerator = self.accelerator
        return self.task.batches(self.done, accelerator.process_index, accelerator.num_processes)

    def _moment(self, step: int, number: int) -> Moment:
        """Of one batch of a step."""
        accelerator = self.accelerator
        noise = batch_noise(self.config.seed, step, number, accelerator.device)
        ranks = accelerator.process_index, accelerator.num_processes
        return Moment(step, self.progress, noise, *ranks)

    def _agree(self, interrupts: Interrupts) -> None:
        """Find how far the run is, and whether it is told to end: the same in all processes, of
        which several ask each other as often as they log."""
        accelerator, alone = self.accelerator, self.accelerator.num_processes == 1
        if alone or not self.done % self.config.log_every or self._agreed is None:
            minutes = (time.monotonic() - self.began) / 60
            self._agreed = minutes, float(interrupts.noted is not None)
            if not alone:
                now = torch.tensor([self._agreed], device=accelerator.device)
                self._agreed = accelerator.gather(now).amax(0).tolist()
        minutes, stopped = self._agreed
        spent = minutes / self.config.minutes if self.config.minutes else 0.0
        self.progress, self.stopped = max(self.done / self.config.steps, spent), bool(stopped)

    def _mean(self, values: torch.Tensor) -> torch.Tensor:
        """Over processes."""
        return self.accelerator.reduce(values, "mean")

    # measuring, saving, resuming ---------------------------------------------------------------

    def validate(self, log: Log) -> None:
        """Measure the averaged weights, and keep the best."""
        if not self.accelerator.is_main_process:
            return
        last = self._moment(self.done - 1, self.accumulate - 1)
        with seeded(last.network_seed(), self.accelerator.device):
            figures = self.task.measure(self.average, self.done)
        if figures is None:
            return
        log.validation(self.done, figures)
        quality = self.task.quality(figures)
        if quality is not None and quality > self.counters.best:
            self.counters.best = quality
            self.task.keep(self.average, "best", {"step": self.done, **figures})

    def save(self) -> None:
        """Write the averaged model and the state of the run."""
        if not self.accelerator.is_main_process:
            return
        self.task.keep(self.average, "last", {"step": self.done})
        guard, scaler = self.steps.guard, self.accelerator.scaler
        self.counters.seconds = time.monotonic() - self.began
        self.counters.guard = Guarded(log_mean=guard.log_mean, skipped=guard.skipped)
        self.counters.scaler = scaler.state_dict() if scaler else {}
        self.counters.scalers = {k: s.state_dict() for k, s in self.task.scalers().items()}
        state.save(self._state_file, *self._parts(), self.counters.model_dump())

    def _resume(self) -> None:
        if not self._state_file.exists():
            return
        file = self._state_file
        self.counters = parse(Counters, state.load(file, *self._parts()), f"values of {file}")
        guard = self.counters.guard
        self.steps.guard = StepGuard(self.steps.config.skip, guard.log_mean, guard.skipped)
        scalers = {
            name: (s, self.counters.scalers.get(name)) for name, s in self.task.scalers().items()
        }
        if self.counters.scaler and self.accelerator.scaler:
            scalers["accelerator"] = self.accelerator.scaler, self.counters.scaler
        for name, (scaler, values) in scalers.items():
            try:
                scaler.load_state_dict(values or {})
            except (KeyError, RuntimeError, TypeError):
                raise ValueError(f"{file} holds no state of the {name}'s scaler") from None

    def _parts(self) -> tuple[dict[str, torch.nn.Module], dict[str, torch.optim.Optimizer]]:
        """Modules and optimisers by their names in the state."""
        modules = {self.task.name: self.task.model, "average": self.average, **self.task.modules()}
        return modules, {"optimiser": self.steps.optimiser, **self.task.optimisers()}

    @property
    def _state_file(self) -> Path:
        return self.config.out / STATE


def _failed(batch: Any) -> Iterator[tuple[str, str]]:
    yield from getattr(batch, "failed", {}).items()
