"""What a run tells: progress, `metrics.jsonl`, any tracker of accelerate, unreadable files."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping, Sequence

from accelerate import Accelerator
from tqdm import tqdm

from .config import Run

FILE = "metrics.jsonl"


class Log:
    """Written by the main process only.

    Resuming at `step` first drops what an interrupted run had logged after it, so that the file is
    the same as that of a run that never stopped. Times stand apart, under `seconds`.
    """

    def __init__(
        self, config: Run, accelerator: Accelerator, step: int, bad: Mapping[str, str]
    ) -> None:
        self.config, self.main = config, accelerator.is_main_process
        self.path = config.out / FILE
        self.began = time.monotonic()
        self.bar = tqdm(
            total=config.steps, initial=step, unit="step", disable=not self.main, leave=True
        )
        self.unreadable: dict[str, str] = {}
        if not self.main:
            return
        self._drop_after(step)
        self.file = self.path.open("a", buffering=1)
        self.trackers = accelerator if config.tracker else None
        if config.tracker:
            accelerator.init_trackers("tracker")
        self.skip_files(bad)

    def step(self, step: int, metrics: Mapping[str, object]) -> None:
        """Log a step, every `log_every` of them."""
        if not self.main:
            return
        self.bar.update(step - self.bar.n)
        if step % self.config.log_every:
            return
        lists = ((name, own) for name, own in metrics.items() if isinstance(own, list))
        levels = [f"{name} {'/'.join(f'{v:.3f}' for v in own)}" for name, own in lists]
        spent = time.monotonic() - self.began
        self.bar.set_postfix_str(" ".join([f"loss {metrics['loss']:.4f}", *levels]), refresh=False)
        self._write({"step": step, **metrics, "seconds": round(spent, 1)})

    def validation(self, step: int, figures: Mapping[str, Sequence[float]]) -> None:
        """Log a measurement on the held-out samples."""
        shown = [f"{name} {' '.join(f'{v:g}' for v in own)}" for name, own in figures.items()]
        self.bar.write(f"step {step}: {', '.join(shown)}")
        self._write({"step": step, **{f"validation_{k}": v for k, v in figures.items()}})

    def skip_files(self, failed: Mapping[str, str]) -> None:
        """Name files that cannot be read, once each."""
        for name, reason in failed.items():
            if self.main and name not in self.unreadable:
                self.unreadable[name] = reason
                self.bar.write(f"skipped {name}: {reason} ({len(self.unreadable)} so far)")

    def close(self) -> None:
        self.bar.close()
        if not self.main:
            return
        self.file.close()
        if self.unreadable:
            text = json.dumps(self.unreadable, indent=1)
            (self.config.out / "unreadable.json").write_text(text)
        if self.trackers:
            self.trackers.end_training()

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
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text("".join(kept))
        os.replace(temporary, self.path)


def _scalars(entry: Mapping[str, object]):
    """Numbers by name, one per level where there are several."""
    for name, value in entry.items():
        if isinstance(value, list):
            yield from ((f"{name}/{level}", v) for level, v in enumerate(value))
        elif isinstance(value, int | float) and math.isfinite(value):
            yield name, value
