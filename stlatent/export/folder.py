"""A trained model -> a folder that `diffusers` loads."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers.utils import CONFIG_NAME
from torch import Tensor

from ..checkpoint import load
from ..files import writing
from ..foundation.autoencoder import FoundationAutoencoder
from ..model.around import ladder_in
from ..model.device import as_written
from ..model.ladder import Ladder
from ..model.layout import grid_of
from ..model.torch_modules import opened
from ..weights import write
from .autoencoder import AutoencoderLadder, Frames
from .statistics import Data, figures_of, trial
from .with_ladder import AutoencoderWithLadder, with_ladder

TOLERANCE = 1e-5  # in float32, relative to the largest value
Layout = Literal["packed", "coarse", "foundation"]
CLASSES = AutoencoderLadder, AutoencoderWithLadder


def export(
    model: Ladder | FoundationAutoencoder | str | Path,
    out: str | Path,
    levels: int | None = None,
    layout: Layout = "packed",
    data: Data = None,
    frames: Frames = "pad",
    grid: str = "coarsest",
    least_channels: int = 0,
    inside: bool = True,
    replace: bool = False,
) -> Path:
    """Write `model` as an `AutoencoderLadder` that `diffusers` loads, and check it.

    The folder is loaded in a fresh process, and must encode and decode a batch as the model does;
    only then it appears under its name.

    Args:
        model: a model, or what `stlatent.load` takes: a shipped model, a run folder, a file.
        levels: how many are packed, from the coarsest on; by default all if `packed`, one if
            `coarse`. On decoding, the prior supplies the others.
        layout: `packed`, or `coarse`, which leaves at least one level to the prior; `foundation`
            is an `AutoencoderWithLadder`, whose latents are those of the foundation of an exact
            ladder, which the options below have nothing to do with.
        data: to measure means and deviations on: a folder of videos or pictures, or batches
            `[B, C, *axes]` in [-1, 1]. By default those that lie in the model's file, or exported
            folder, are taken, or else it is what the run was trained on.
        frames: what becomes of those that fill no step of latents, see `AutoencoderLadder`.
        grid: on which levels are packed: `coarsest` or `finest`, that of a level by its number, or
            a stride such as `4x16x16`.
        least_channels: that the latents are to have; zeros fill them up.
        inside: of a ladder on a foundation, whether that lies in the folder as well; else it is
            looked for where the model found it.
        replace: put it in the place of a former export.

    Raises:
        ValueError: the model has not these levels, there is no data, something else lies at `out`,
            or what was written does not give back what the model gives.
    """
    out = Path(out)
    _check_free(out, replace)
    reference = model if isinstance(model, str | Path) else None
    ladder = load(model) if reference is not None else model
    if ladder.domain.sparse:
        raise ValueError(
            "a sparse model reads and gives what is there only in places, and pipelines of "
            "diffusers take whole grids: it cannot be exported (but diffused, see "
            "configs/diffusion/assets.yaml)"
        )
    if ladder.exported is not ladder:
        raise ValueError(
            "a model that makes its planes of volumes is no autoencoder of diffusers, which read "
            "planes: it cannot be exported (but diffused: `stlatent train diffusion/coarse` on its "
            "latents). In Python its ladder can: `export(model.ladder, out, data=batches)` "
            "with batches of `model.lift(volume)`"
        )
    if layout == "foundation":
        vae, x = with_ladder(ladder), trial(ladder)
    else:
        levels = _levels(ladder, levels, layout)
        figures, x = figures_of(ladder, levels, data, reference)
        grid = grid_of(grid, [level.stride for level in ladder.levels[:levels]])
        more = {"frames": frames, "grid": grid, "least_channels": least_channels, "inside": inside}
        vae = wrap(ladder, levels, *figures.first(levels), **more)
    with writing(out) as folder:
        vae.save_pretrained(folder)
        _compare(ladder, x, levels, folder)
    return out


def wrap(
    model: Ladder | FoundationAutoencoder,
    levels: int,
    mean: list[float],
    std: list[float],
    inside: bool = True,
    **more: Any,
) -> AutoencoderLadder:
    """An `AutoencoderLadder` with the weights of `model`, in memory; `inside` as for `export`,
    `more` of its arguments."""
    frozen = model.frozen
    below = frozen.teacher.module if frozen and inside else None
    vae = AutoencoderLadder(
        model=model.config.model_dump(mode="json"),
        levels=levels,
        measured_mean=mean,
        measured_std=std,
        **more,
        foundation=below and json.loads(below.to_json_string()),
    )
    inner = ladder_in(vae.ladder)
    inner.load_state_dict(opened(ladder_in(model).state_dict(), inner))
    if frozen and frozen.decoder is not None:
        vae.ladder.decoder.load_state_dict(frozen.decoder.state_dict())
    if below is not None:
        vae.frozen.load_state_dict(below.state_dict())
    return vae.to(next(model.parameters()).device).eval().requires_grad_(False)


def parse_levels(text: str) -> int:
    """`0..2`, the first and the last level -> how many they are.

    Raises:
        ValueError: it is not of this form.
    """
    found = re.fullmatch(r"0\.\.(\d+)", text)
    if not found:
        raise ValueError(f"levels are '{text}'; give the first and the last one, such as 0..1")
    return int(found[1]) + 1


def _levels(model: Ladder, levels: int | None, layout: str) -> int:
    count = len(model.levels)
    if layout not in ("packed", "coarse"):
        raise ValueError(f"layout is '{layout}'; give packed, coarse or foundation")
    most = count if layout == "packed" else count - 1
    levels = levels if levels is not None else (count if layout == "packed" else 1)
    if not 1 <= levels <= most:
        raise ValueError(
            f"{levels} of {count} levels are to be exported as '{layout}', which takes 1 to {most}"
        )
    return levels


def _check_free(out: Path, replace: bool) -> None:
    """ValueError unless an export may be put at `out`."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    config = out / CONFIG_NAME
    ours = config.is_file() and any(cls.__name__.encode() in config.read_bytes() for cls in CLASSES)
    if not ours:
        raise ValueError(f"{out} holds other things; give a new folder")
    if not replace:
        raise ValueError(
            f"{out} holds an exported model; give another folder, or --replace to put the new one "
            f"in its place"
        )


@torch.no_grad()
def _compare(model: Ladder, x: Tensor, levels: int | None, folder: Path) -> None:
    """ValueError unless a fresh process gets from `folder` what `model` gives for `x`."""
    x = model.domain.pad(x[:1].to(next(model.parameters())), model.levels[0].stride)
    with as_written(x.device):  # a GPU would round to 10 bits, and the other process is on a CPU
        latents = model.encode(x)
        decoded = model.decode(latents, levels)
    expected = {f"level_{k}": z for k, z in enumerate(latents.levels[:levels])}
    expected |= {"x": x, "decoded": decoded}
    with tempfile.TemporaryDirectory() as scratch:
        probe = Path(scratch) / "probe.safetensors"
        write(probe, {k: v.contiguous().cpu() for k, v in expected.items()}, {})
        found = in_fresh_process(folder, probe)
    for name, difference in found.items():
        if not difference <= TOLERANCE:
            raise ValueError(
                f"what was written differs from the model in {name}, by {difference:.1e} of its "
                f"largest value"
            )


def in_fresh_process(folder: Path, probe: Path) -> dict[str, float]:
    """`check.differences` in a new interpreter, which leaves nothing in the user's caches."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "HF_MODULES_CACHE": str(probe.parent / "modules"),
        "HF_HUB_OFFLINE": "1",
    }
    command = [sys.executable, "-m", "stlatent.export.check", str(folder), str(probe)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ValueError(f"what was written cannot be loaded in a fresh process: {last}")
    return json.loads(done.stdout.splitlines()[-1])
