"""Everything that defines a training run; its YAML file and its resumed state hold the same."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ..config import ModelConfig, Positive, Strict
from ..losses.elbo import LossConfig, Share
from .extras import AdversarialConfig, AlignmentConfig, PerceptualConfig

Rate = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]


class ValidationConfig(Strict):
    """What is measured during training.

    Attributes:
        names: file names held out of `data.root` and measured, centre crop, first frames.
        frames: of each clip.
        crop: side of the square, in pixels.
        every: steps between two measurements.
    """

    names: tuple[str, ...] = ()
    frames: Positive = 17
    crop: Positive = 256
    every: Positive = 500


class DataConfig(Strict):
    """Where the samples come from and how they are cut.

    Attributes:
        root: folder of videos (or of images, for an image model), searched recursively.
        photos: folder of images that a video model also sees, as single frames.
        photo_share: part of the batches that are photos.
        frames: per clip. With a causal axis at least 1 + 2 strides of the coarsest level, or else
            convolutions never see their whole past in training, as they will in use.
        crop: side of the square, in pixels.
        batch: samples per process and step.
        frame_step: smallest and largest distance between the frames of a clip.
        scale: smallest and largest factor by which a frame is resized before it is cut.
        crops_per_read: samples cut from one decoded window of a file.
        workers: processes that read; 0 reads in the training process itself.
        cache: folder that keeps decoded frames, where training is short of processors, not of disk.
    """

    root: Path
    photos: Path | None = None
    photo_share: Share = 0.1
    frames: Positive = 9
    crop: Positive = 128
    batch: Positive = 4
    frame_step: tuple[Positive, Positive] = (1, 2)
    scale: tuple[Rate, Rate] = (0.5, 1.0)
    crops_per_read: Positive = 1
    workers: Count = 2
    cache: Path | None = None
    validation: ValidationConfig = ValidationConfig()

    @model_validator(mode="after")
    def _whole_reads(self) -> DataConfig:
        if self.batch % self.crops_per_read:
            raise ValueError(
                f"batch is {self.batch}; it must be a multiple of crops_per_read, "
                f"{self.crops_per_read}"
            )
        return self


class OptimiserConfig(Strict):
    """AdamW with a cosine schedule.

    Attributes:
        lr: peak learning rate.
        warmup_steps: of linear growth up to the peak.
        final: learning rate at the end, relative to the peak.
        betas, weight_decay: of AdamW.
        clip: largest gradient norm; longer gradients are shortened.
        skip: a step is skipped if its gradient norm is so many times the running mean, or not
            finite. The mean follows, so that training cannot lock itself out.
        ema: decay of the averaged weights, which are the ones that are kept and measured.
        accumulate: batches per step.
    """

    lr: Rate = 2e-3
    warmup_steps: Count = 100
    final: Share = 0.02
    betas: tuple[Share, Share] = (0.9, 0.95)
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    clip: Rate = 1.0
    skip: Annotated[float, Field(gt=1)] = 10.0
    ema: Share = 0.999
    accumulate: Positive = 1


class RunConfig(Strict):
    """A training run: `stlatent train CONFIG.yaml key.sub=value ...`.

    Attributes:
        perceptual, adversarial, alignment: optional terms of the loss.
        out: folder of the run; the same command resumes it.
        start: weights to start from, a run folder or a model file, instead of random ones.
        steps, minutes: the run ends at whichever comes first; the schedule follows it.
        precision: `fp32`, `bf16` or `fp16` (autocast; likelihoods and KL stay in float32).
        save_every: steps between checkpoints.
        tracker: any tracker of accelerate by name, besides `metrics.jsonl`.
    """

    model: ModelConfig
    data: DataConfig
    loss: LossConfig = LossConfig()
    perceptual: PerceptualConfig | None = None
    adversarial: AdversarialConfig | None = None
    alignment: AlignmentConfig | None = None
    optimiser: OptimiserConfig = OptimiserConfig()
    out: Path
    start: Path | None = None
    seed: Count = 0
    steps: Positive = 100_000
    minutes: Rate | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    log_every: Positive = 20
    save_every: Positive = 500
    tracker: str | None = "tensorboard"
