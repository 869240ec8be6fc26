"""The folder of a run: whose it is, and that one training at a time works there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from accelerate import Accelerator

from ..files import alone, replace_text
from ..model.config import dump, load
from .config import Run

STATE, CONFIG, LOCK = "state.safetensors", "config.yaml", ".lock"
HEADER = "# what `stlatent train` was told, with every default; it is overwritten\n"
FREE = ("steps", "minutes", "log_every", "save_every", "tracker")  # may change in a run


@contextmanager
def claimed(config: Run, accelerator: Accelerator) -> Iterator[None]:
    """While it lasts, `out` is the folder of this run and of no other process.

    A run that stopped before its first checkpoint, such as for a wrong path, has nothing to lose:
    it may be started anew with other settings.

    Raises:
        ValueError: the folder holds something else, a run with other settings, or a training that
            is under way.
    """
    if not accelerator.is_main_process:
        accelerator.wait_for_everyone()
        yield
        return
    _check(config)
    config.out.mkdir(parents=True, exist_ok=True)
    busy = f"out={config.out}: another training is at work there; wait for it to end, or give"
    with alone(config.out / LOCK, f"{busy} another folder"):
        _check(config)  # again: it may have ended just now
        replace_text(config.out / CONFIG, HEADER + dump(config))
        accelerator.wait_for_everyone()
        yield


def ours(out: Path) -> bool:
    """Whether a run of this library began in the folder."""
    file = out / CONFIG
    if (out / STATE).is_file() and file.is_file():
        return True
    return file.is_file() and file.read_text(errors="replace").startswith(HEADER)


def _check(config: Run) -> None:
    """Raise ValueError unless the folder is new, or that of this run."""
    out = config.out
    if not ours(out):
        if out.exists() and any(path.name != LOCK for path in out.iterdir()):
            found = CONFIG if (out / CONFIG).exists() else next(out.iterdir()).name
            raise ValueError(
                f"out={out} holds {found}, which is of no run, and would be written over or mixed "
                f"up; give a folder that is new or empty"
            )
        return
    if not (out / STATE).exists():
        return
    before = load(type(config), out / CONFIG)
    for name in type(config).model_fields:
        if name not in FREE and getattr(before, name) != getattr(config, name):
            raise ValueError(
                f"out={out} holds a run with another `{name}`; give another folder, "
                f"or the same settings to resume (only {', '.join(FREE)} may change)"
            )
