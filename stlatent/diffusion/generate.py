"""Samples as files, from a pipeline of latent diffusion or from a ladder's own prior.

DIR/0000.mp4, ...    videos, or pictures, meshes, whatever the model is for
DIR/sheet.png        a picture of each
DIR/figures.json     of shapes: what is measured of them, see `evaluate/assets.py`
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ..checkpoint import Model, load
from ..evaluate.assets import Beside, measure_assets
from ..files import replace_text, writing
from ..geometry.preview import contact_sheet
from ..jobs.sample import TEMPERATURE, draw_samples, held_levels
from ..media.base import Medium
from ..media.options import Extent
from ..media.output import Output, check_outputs
from ..media.registry import medium_of
from ..model.choose import check_strength
from ..model.device import check_device
from ..shipped import locate_pipeline
from ..triplane.autoencoder import as_volume
from .likeliest import first_whole
from .pipeline import LadderPipeline

COLUMNS = 8  # of the sheet


@dataclass(frozen=True)
class Wish:
    """What is to be drawn.

    Attributes:
        count: how many samples.
        seed: of the first; the next ones count on.
        extent: of a sample; what is left open is as in training.
        temperature: of what the ladder's own prior makes; None is 0, its mean, for the levels below
            those of a pipeline, or of what is near something, 0.3 below a level 0 that is held, and
            1 else.
        classes: to ask a pipeline for, in turn, by number or name.
        prompts: texts to ask one for that knows words, in turn.
        steps: evaluations of the denoiser; one number, or one per stage. None is as the pipeline
            has it, as for guidance.
        guidance: towards the classes; 1 is the model itself.
        windows: of a video, one after the other.
        shape_of: a file whose level 0 is held, and the rest drawn from the ladder's own prior.
        similar_to: a file that samples are near to.
        levels: in so many levels, coarsest first; None is those of a pipeline's first stage, and 1
            else.
        strength: how far from it, from 0 to 1, a draw that knows nothing of it.
        tries: of a pipeline, draws of each sample, of which the likeliest is taken, and of shapes
            the likeliest that is whole; of a ladder's own prior, draws of a shape until one is, at
            most. None is as the pipeline has it, or 1.

    Raises:
        ValueError: these contradict each other, or the strength is not in [0, 1].
    """

    count: int = 8
    seed: int = 0
    extent: Extent = field(default_factory=Extent)
    temperature: float | None = None
    classes: Sequence[int | str] = ()
    prompts: Sequence[str] = ()
    steps: Sequence[int] | None = None
    guidance: float | None = None
    windows: int = 1
    shape_of: str | Path | None = None
    similar_to: str | Path | None = None
    levels: int | None = None
    strength: float = 0.5
    tries: int | None = None

    def __post_init__(self) -> None:
        check_strength(self.strength)
        if self.shape_of and (self.asked or self.windows > 1 or self.similar_to):
            raise ValueError(
                "--shape-of says what level 0 is: ask for no classes, nor windows, nor --similar-to"
            )
        if len(self.asked) > self.count:
            held = f"{len(self.asked)} classes or prompts are asked for, of {self.count} samples"
            raise ValueError(f"{held}; give -n {len(self.asked)} or more")
        if self.levels and not self.similar_to:
            raise ValueError("--levels are near a file; name it with --similar-to FILE")

    @property
    def asked(self) -> Sequence[int | str]:
        """Classes or texts."""
        return self.prompts or self.classes


class Drawn:
    """Samples `[1, C, *axes]` of a pipeline or a ladder, made one at a time.

    Args:
        reference: a shipped pipeline by name, the folder of one, or what `stlatent.load` takes.

    Attributes:
        model: that decodes.
        medium: that it is for.
        sample: what each is, beside its values.

    Raises:
        ValueError: it is neither, or does not draw what is wished for.
    """

    def __init__(self, reference: str | Path, wish: Wish, device: str = "cpu") -> None:
        self.wish, self.pipeline = wish, None
        if locate_pipeline(reference):
            check_device(device)
            self.pipeline = LadderPipeline.from_pretrained(reference).to(device)
            self.model: Model = self.pipeline.vae.ladder
            for asked in wish.classes:  # before anything is written
                self.pipeline.check_condition(asked)
        else:
            self.model = load(reference, device)
            if wish.asked or wish.windows > 1:
                raise ValueError(
                    "classes, prompts and windows are for pipelines of latent diffusion, and "
                    f"{reference} is none (it has no {LadderPipeline.config_name})"
                )
        self.medium, self.near = medium_of(self.model), None
        if wish.tries and not self.diffused:
            _check_shapes(self.medium, "--tries without diffusion")
        self.sample = self.medium.blank(wish.extent)
        if file := wish.shape_of or wish.similar_to:
            self.near = self._opened(file)

    def _opened(self, path: str | Path) -> Any:
        """A file as the model reads it; samples are like it in all that is no latent."""
        if self.pipeline:
            size = self._size(self.pipeline.denoiser.config.size)
            self.sample = dataclasses.replace(self.sample, size=size)
        x, self.sample = self.medium.open(Path(path), self.sample)
        return x

    @property
    def diffused(self) -> bool:
        """Whether a denoiser draws, and not the ladder's own prior."""
        return self.pipeline is not None and not self.wish.shape_of

    def __iter__(self) -> Iterator[Tensor]:
        yield from self._by_denoiser() if self.diffused else self._from_prior()

    def _by_denoiser(self) -> Iterator[Tensor]:
        wish, pipeline = self.wish, self.pipeline
        vae = pipeline.vae
        if vae.config.levels < len(vae.ladder.levels) and wish.temperature:
            vae.enable_prior_sampling(wish.temperature)
        if wish.windows > 1:
            vae.enable_tiling()  # decodes piece by piece in time
        pipeline.set_progress_bar_config(disable=None, leave=False)
        steps = wish.steps[0] if wish.steps and len(wish.steps) == 1 else wish.steps
        for k in range(wish.count):
            yield pipeline(
                wish.asked[k % len(wish.asked)] if wish.asked else None,
                size=self._size(pipeline.denoiser.config.size),
                windows=wish.windows,
                num_inference_steps=steps,
                guidance_scale=wish.guidance,
                tries=wish.tries,
                generator=torch.Generator().manual_seed(wish.seed + k),
                similar_to=self.near,
                levels=wish.levels,
                strength=wish.strength,
                output_type="pt",
            ).frames

    def _size(self, usual: Sequence[int]) -> tuple[int, ...]:
        """As in training, but for what is wished for."""
        if self.wish.extent.seconds:
            return self.sample.size
        frames, size = self.wish.extent.frames, self.wish.extent.size
        axes = self.medium.config.axes
        return axes.size(frames or axes.of_time(usual), size or axes.of_space(usual))

    def _from_prior(self) -> Iterator[Tensor]:
        """Of one stream of random numbers."""
        wish, size, tries = self.wish, self.sample.size, self.wish.tries or 1
        usual = 0.0 if wish.similar_to else TEMPERATURE if wish.shape_of else 1.0
        temperature = usual if wish.temperature is None else wish.temperature
        strength, held = wish.strength if wish.similar_to else 0.0, None
        if self.near is not None:
            held = held_levels(self.model, self.near, range(wish.levels or 1))
        most = wish.count * tries
        draws = draw_samples(self.model, size, most, held, temperature, wish.seed, strength)
        for _ in range(wish.count):
            some = itertools.islice(draws, tries)
            yield first_whole(self.model, some) if tries > 1 else next(some)


@torch.inference_mode()
def generate(
    drawn: Drawn,
    out: Path,
    how: Output,
    fps: float | None = None,
    beside: str | Path | None = None,
    replace: bool = False,
) -> dict[str, object]:
    """Write samples and a sheet of them; what is measured, which is nothing but of shapes.

    Args:
        fps: of videos; None is the medium's choice.
        beside: a run folder, beside whose shapes those that are drawn are measured, see `Beside`.

    Raises:
        ValueError: a file exists, or samples cannot be written like this.
    """
    medium = drawn.medium
    medium.check_output(how)
    if beside:
        _check_shapes(medium, "--beside-data")
    data = Beside(beside) if beside else None
    ending = medium.ending(drawn.sample.kind, how)
    paths = [out / f"{k:04d}{ending}" for k in range(drawn.wish.count)]
    sheet, pictures, fields = out / "sheet.png", [], []
    check_outputs([sheet, *paths], replace)
    samples = tqdm(drawn, total=len(paths), unit="sample", disable=None)
    for path, x in zip(paths, samples, strict=True):
        rate = fps or drawn.sample.fps
        sample = dataclasses.replace(drawn.sample, size=tuple(x.shape[2:]), fps=rate)
        part = medium.take(drawn.model, x, sample)
        medium.write(path, [part], sample, how)
        pictures.append(medium.part_picture([part], sample))
        if (found := medium.solid(as_volume(drawn.model, x))) is not None:
            fields.append(found)
    image = contact_sheet(np.stack(pictures), min(COLUMNS, len(pictures)))
    with writing(sheet) as partial:
        Image.fromarray(image).save(partial, "png")
    if not fields:
        return {}
    found = measure_assets(fields) | (data.measure(fields) if data else {})
    replace_text(out / "figures.json", json.dumps(found, indent=1) + "\n")
    return found


def _check_shapes(medium: Medium, option: str) -> None:
    try:
        medium.check_solid()
    except ValueError as error:
        raise ValueError(f"{option} is for shapes: {error}; leave it out") from None
