"""What a run tells: progress, `metrics.jsonl`, any tracker of accelerate, unreadable files."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterable, Mapping, Sequence

from accelerate import Accelerator
from tqdm import tqdm

from ..files import replace_text
from .config import Run

FILE = "metrics.jsonl"
STRETCH = 10  # steps, at least, that are looked at for how many were left out
PAUSE = 60.0  # seconds between two lines of progress, where there is no bar


class Log:
    """A context, written to by the main process only.

    Resuming at `step` first drops what an interrupted run had logged after it, so that the file is
    the same as that of a run that never stopped. Times stand apart, under `seconds`.
    """

    def __init__(self, config: Run, accelerator: Accelerator, step: int) -> None:
        self.config, self.main = config, accelerator.is_main_process
        self.path = config.out / FILE
        self.began = self.told = time.monotonic()
        self.bar = tqdm(
            total=config.steps,
            initial=step,
            unit="step",
            disable=None if self.main else True,  # None: where no terminal shows it
        )
        self.unreadable: dict[str, str] = {}
        # a step, and how many were skipped until then; of a resumed run not known at once
        self.counted: tuple[int, int] | None = None if step else (0, 0)
        self.warned = False
        self.trackers: Accelerator | None = None
        if not self.main:
            return
        self._drop_after(step)
        self.file = self.path.open("a", buffering=1)
        if config.tracker:
            self.trackers = accelerator
            accelerator.init_trackers("tracker")

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()
        if not self.main:
            return
        self.file.close()
        if self.unreadable:
            text = json.dumps(self.unreadable, indent=1)
            replace_text(self.config.out / "unreadable.json", text)
        if self.trackers:
            self.trackers.end_training()

    def wants(self, step: int) -> bool:
        """Whether the metrics of a step are logged; moves the bar."""
        self.bar.update(step - self.bar.n)
        return step % self.config.log_every == 0

    def step(self, step: int, metrics: Mapping[str, object]) -> None:
        """Log a step."""
        if not self.main:
            return
        self._name_skipped(step, int(metrics["skipped"]))
        lists = ((name, own) for name, own in metrics.items() if isinstance(own, list))
        levels = [f"{name} {'/'.join(f'{v:.3f}' for v in own)}" for name, own in lists]
        now = time.monotonic()
        shown = " ".join([f"loss {metrics['loss']:.4f}", *levels])
        self.bar.set_postfix_str(shown, refresh=False)
        if self.bar.disable and now - self.told > PAUSE:
            self.told = now
            self.say([f"step {step} of {self.config.steps}: {shown}"])
        self._write({"step": step, **metrics, "seconds": round(now - self.began, 1)})

    def validation(self, step: int, figures: Mapping[str, Sequence[float]]) -> None:
        """Log a measurement on the held-out samples."""
        shown = [f"{name} {' '.join(f'{v:g}' for v in own)}" for name, own in figures.items()]
        self.say([f"step {step}: {', '.join(shown)}"])
        self._write({"step": step, **{f"validation_{k}": v for k, v in figures.items()}})

    def say(self, lines: Iterable[str]) -> None:
        """Print lines, above the bar."""
        for line in lines if self.main else ():
            self.bar.write(line)
            sys.stdout.flush()

    def skip_files(self, failed: Mapping[str, str]) -> None:
        """Name files that cannot be read, once each."""
        for name, reason in failed.items():
            if self.main and name not in self.unreadable:
                self.unreadable[name] = reason
                self.say([f"skipped {name}: {reason} ({len(self.unreadable)} so far)"])

    def _name_skipped(self, step: int, skipped: int) -> None:
        """Say, once, that most steps of a stretch were left out: such a run learns little."""
        self.counted = self.counted or (step, skipped)
        steps, left_out = step - self.counted[0], skipped - self.counted[1]
        if steps < STRETCH or self.warned:
            return
        self.counted, self.warned = (step, skipped), 2 * left_out > steps
        if self.warned:
            self.say([
                f"step {step}: {left_out} of the last {steps} steps were left out, since their "
                "gradients were not finite or far longer than before; if 'skipped' in "
                f"{FILE} goes on growing, lower optimiser.lr"
            ])  # fmt: skip

    def _write(self, entry: dict[str, object]) -> None:
        self.file.write(json.dumps(entry) + "\n")
        if self.trackers:
            self.trackers.log(dict(_scalars(entry)), step=entry["step"])

    def _drop_after(self, step: int) -> None:
        if not self.path.exists():
            return
        kept = []
        for line in self.path.read_text().splitlines(keepends=True):
            if line.endswith("\n") and json.loads(line)["step"] <= step:
                kept.append(line)
        replace_text(self.path, "".join(kept))


def _scalars(entry: Mapping[str, object]):
    """Numbers by name, one per level where there are several."""
    for name, value in entry.items():
        if isinstance(value, list):
            yield from ((f"{name}/{level}", v) for level, v in enumerate(value))
        elif isinstance(value, int | float) and math.isfinite(value):
            yield name, value
