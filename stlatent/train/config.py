"""Everything that defines a training run; its YAML file and its resumed state hold the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from ..geometry.cube import Axes
from ..geometry.field import FieldSettings
from ..losses.elbo import LossConfig, Share
from ..model.config import ModelConfig, Positive, Strict
from ..model.domain import Domain
from .extras import AdversarialConfig, AlignmentConfig, PerceptualConfig

Rate = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]


class HeldOut(Strict):
    """What is measured during training and never trained on.

    Attributes:
        names: file names in `data.root`.
        every: steps between two measurements.
    """

    names: tuple[str, ...] = ()
    every: Positive = 500


class ValidationConfig(HeldOut):
    """The same for clips: centre crop, first frames.

    Attributes:
        frames: of each clip.
        crop: side of the square, in pixels.
    """

    frames: Positive = 17
    crop: Positive = 256


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

    def size(self, domain: Domain) -> tuple[int, ...]:
        """Axes of one sample."""
        return (self.frames, self.crop, self.crop)[domain.causal is None :]

    @model_validator(mode="after")
    def _whole_reads(self) -> DataConfig:
        if self.batch % self.crops_per_read:
            raise ValueError(
                f"batch is {self.batch}; it must be a multiple of crops_per_read, "
                f"{self.crops_per_read}"
            )
        return self


class ShapeDataConfig(Strict):
    """Where shapes come from and how they are varied.

    Attributes:
        root: folder of meshes and of volumes (`.npy`, `.npz`, many shapes each), searched
            recursively.
        more: a second such folder; `more_share` is the part of the batches that come from it.
        volume_axes: the direction in a volume's asset along which each of its axes runs, such as
            `[x, -z, y]` where the last axis points up.
        fields: what a mesh is turned into; volumes are brought to the same resolution.
        variants: shapes made of each mesh, itself and others that are stretched, bent and turned.
        turned: whether each shape is shown in a random turn and reflection of the cube; false where
            all face the same way, and shapes that are drawn should too.
        upright: whether only those turns and reflections are shown that keep y up.
        batch: shapes per process and step.
        workers: processes that read; 0 reads in the training process itself.
        cache: folder that keeps the fields of meshes; `~` is the user's home.
    """

    root: Path
    more: Path | None = None
    more_share: Share = 0.2
    volume_axes: Axes = ("x", "y", "z")
    fields: FieldSettings = FieldSettings(resolution=64)
    variants: Positive = 8
    turned: bool = True
    upright: bool = False
    batch: Positive = 4
    workers: Count = 2
    cache: Path = Path("~/.cache/stlatent/fields")
    validation: HeldOut = HeldOut()

    def size(self, domain: Domain) -> tuple[int, ...]:
        """Axes of one sample."""
        return (self.fields.resolution,) * len(domain.axes)


class PlaneDataConfig(Strict):
    """Where planes come from.

    Attributes:
        root: folder of triplanes `[3, C, n, n]` (`.npy`, `.npz`), searched recursively.
        side: n, samples per edge of a plane.
        batch: assets per process and step.
        workers: processes that read; 0 reads in the training process itself.
    """

    root: Path
    side: Positive = 64
    batch: Positive = 4
    workers: Count = 2
    validation: HeldOut = HeldOut()

    def size(self, domain: Domain) -> tuple[int, ...]:
        """Axes of one sample."""
        return (3, self.side, self.side)


AnyDataConfig = DataConfig | ShapeDataConfig | PlaneDataConfig
# by what a model reads
DATA = {"clips": DataConfig, "shapes": ShapeDataConfig, "planes": PlaneDataConfig}


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


class Run(Strict):
    """A training run, whatever it trains: `stlatent train CONFIG.yaml key.sub=value ...`.

    Attributes:
        out: folder of the run; the same command resumes it.
        steps, minutes: the run ends at whichever comes first; the schedule follows it.
        precision: `fp32`, `bf16` or `fp16` (autocast; likelihoods and KL stay in float32).
        save_every: steps between checkpoints and measurements.
        tracker: any tracker of accelerate by name, besides `metrics.jsonl`.
    """

    out: Path
    seed: Count = 0
    steps: Positive = 100_000
    minutes: Rate | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    log_every: Positive = 20
    save_every: Positive = 500
    tracker: str | None = "tensorboard"


class RunConfig(Run):
    """Training of an autoencoder.

    Attributes:
        data: of the kind that the model's domain asks for.
        perceptual, adversarial, alignment: optional terms of the loss.
        start: weights to start from, a run folder or a model file, instead of random ones.
    """

    model: ModelConfig
    data: AnyDataConfig
    loss: LossConfig = LossConfig()
    perceptual: PerceptualConfig | None = None
    adversarial: AdversarialConfig | None = None
    alignment: AlignmentConfig | None = None
    optimiser: OptimiserConfig = OptimiserConfig()
    start: Path | None = None

    @model_validator(mode="after")
    def _terms_of_the_model(self) -> RunConfig:
        """Refuse terms of the loss that this model does not have."""
        pictures = [axis.name for axis in self.model.axes.axes][-2:] == ["h", "w"]
        for term in ("perceptual", "alignment"):
            if getattr(self, term) and not pictures:
                raise ValueError(
                    f"{term} compares features of pictures, and a model of domain "
                    f"'{self.model.domain}' has none; leave it out"
                )
        terms = {"adversarial": self.adversarial, "loss.equivariance": self.loss.equivariance}
        for term, given in terms.items():
            if given and self.model.field:
                raise ValueError(
                    f"{term} compares what is decoded with what was read, and a model with a "
                    f"`field` decodes to planes; leave it out"
                )
        return self

    @field_validator("data", mode="wrap")
    @classmethod
    def _of_the_domain(cls, value: Any, _: Any, info: ValidationInfo) -> AnyDataConfig:
        if "model" not in info.data:
            raise ValueError("cannot be read before `model` is right")
        domain, field = info.data["model"].domain, info.data["model"].field
        kind = DATA[info.data["model"].reads]
        given = value if isinstance(value, Mapping) else value.model_dump(exclude_defaults=True)
        others = set().union(*(other.model_fields for other in DATA.values()))
        if foreign := sorted((set(given) & others) - set(kind.model_fields)):
            raise ValueError(
                f"data.{foreign[0]} does not go with a model of domain '{domain}', "
                f"whose data have {', '.join(kind.model_fields)}"
            )
        data = kind.model_validate(value)
        if field and field.resolution != data.fields.resolution:
            raise ValueError(
                f"data.fields.resolution is {data.fields.resolution}; this model makes planes of "
                f"fields of {field.resolution}, its field.resolution"
            )
        return data
