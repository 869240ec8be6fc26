"""Everything that defines a run of latent diffusion; its YAML file holds the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from ..losses.elbo import Share
from ..model.config import Positive, Strict, Stride
from ..model.domains import DOMAINS
from ..train.config import Count, OptimiserConfig, Rate, Run


class BackboneConfig(Strict):
    """A network of `diffusers`; see `backbones.py`.

    Attributes:
        kind: `unet` is UNet2DModel, for pictures; `transformer` is FluxTransformer2DModel, a
            transformer over tokens at any number of coordinates. By default a UNet where latents
            are a picture of more than one position, else a transformer.
        width: channels of the transformer, and of the UNet at its finest scale.
        depth: blocks of the transformer, residual blocks per scale of the UNet.
        head: channels per attention head.
        patch: positions per token of the transformer along each axis, such as [1, 2, 2]; one by
            default. Larger ones cost less and know less of what lies within.
    """

    kind: Literal["unet", "transformer"] | None = None
    width: Positive = 256
    depth: Positive = 6
    head: Annotated[int, Field(ge=8, multiple_of=8)] = 32
    patch: tuple[Positive, ...] = ()

    @model_validator(mode="after")
    def _whole_heads(self) -> BackboneConfig:
        if self.width % self.head:
            raise ValueError(f"width is {self.width}; it must be a multiple of head, {self.head}")
        return self

    @model_validator(mode="after")
    def _patch_of_tokens(self) -> BackboneConfig:
        if self.kind == "unet" and self.patch:
            raise ValueError("a UNet has no tokens; leave patch out, or set kind: transformer")
        return self


class StageConfig(BackboneConfig):
    """One denoiser: the next levels, on one grid.

    Attributes:
        levels: how many it makes, after those of the stages before it, which it is given.
        grid: `coarsest` or `finest` of these levels, one of them by its number, 0 for the coarsest,
            or a stride such as `4x16x16`; see `model/packing.py`. Finer grids have more positions
            of fewer channels.
    """

    levels: Positive
    grid: str = "coarsest"


class NoiseConfig(Strict):
    """How latents are corrupted, see `corruption.py`.

    Attributes:
        kind: `flow`, sampled with FlowMatchEulerDiscreteScheduler, or `ddpm`, with DDPMScheduler,
            which wants more steps and forgives more errors.
        prediction: what a `ddpm` denoiser says; one of `flow` says the velocity.
        shift: more than 1 spends more of training and sampling at high noise (`flow`).
        logit_std: spread of the training times of `flow` around the middle, before a sigmoid.
        augmentation: deviation of the noise added to given levels is drawn from 0 to this.
    """

    kind: Literal["flow", "ddpm"] = "flow"
    prediction: Literal["v_prediction", "epsilon", "sample"] = "v_prediction"
    shift: Rate = 1.0
    logit_std: Rate = 1.0
    augmentation: Share = 0.5


class ConditionConfig(Strict):
    """What a sample is asked to be; with neither, nothing.

    Attributes:
        classes: labels are whole numbers below it.
        names: of the classes, in the order of their numbers, by which samples can be asked for; by
            default those of the folders that items lie in.
        embedding: labels are vectors of so many numbers.
        encoder: labels are the captions of the data set, through this text encoder of
            `transformers`, a folder or a name on the hub; see `text.py`.
        dropout: part of the samples that are trained without their label, for guidance.
    """

    classes: Count = 0
    names: tuple[str, ...] = ()
    embedding: Count = 0
    encoder: str | None = None
    dropout: Share = 0.1

    @property
    def asked(self) -> bool:
        """Whether there are labels."""
        return bool(self.classes or self.embedding or self.encoder)

    @model_validator(mode="after")
    def _one_of_them(self) -> ConditionConfig:
        if self.classes and (self.embedding or self.encoder):
            raise ValueError("a condition has classes or an embedding, not both; set one to 0")
        return self

    @model_validator(mode="after")
    def _names_of_classes(self) -> ConditionConfig:
        if len({*self.names}) != len(self.names) or len(self.names) > self.classes:
            raise ValueError(
                f"{len(self.names)} names are given for {self.classes} classes; give at most one "
                f"for each, no two of them the same"
            )
        return self

    def numbers(self, names: Sequence[str]) -> list[int]:
        """Of classes by their names; ValueError for one that is not there."""
        if unknown := [name for name in names if name not in self.names]:
            raise ValueError(f"{unknown[0]!r} is no class; they are {', '.join(self.names)}")
        return [self.names.index(name) for name in names]


class SamplingConfig(Strict):
    """How samples are drawn where nothing else is asked for.

    Attributes:
        steps: evaluations of the denoiser per stage.
        guidance: how far to go beyond what the condition changes; 1 is the model itself.
        tries: draws of each sample, of which the likeliest is taken; windows have one.
    """

    steps: Positive = 25
    guidance: Rate = 1.0
    tries: Positive = 1


class DiffusionConfig(Strict):
    """Which levels are diffused, by which networks.

    Attributes:
        stages: coarse to fine. One stage of all levels diffuses them packed; one of the first
            level or levels leaves the others to the ladder's own prior; several are a cascade.
        noise: how latents are corrupted and denoised.
        condition: labels that samples are drawn for.
        sampling: how they are drawn; the pipeline remembers it.
        past: of each of these levels, how many of its own steps before a sample are shown to the
            denoisers, so that a video can go on for as long as one likes. Coarse levels are small:
            they can remember long. Samples are windows of `data.frames` frames then.
    """

    stages: Annotated[tuple[StageConfig, ...], Field(min_length=1)]
    noise: NoiseConfig = NoiseConfig()
    condition: ConditionConfig = ConditionConfig()
    sampling: SamplingConfig = SamplingConfig()
    past: tuple[Count, ...] = ()

    @property
    def levels(self) -> int:
        return sum(stage.levels for stage in self.stages)

    @model_validator(mode="after")
    def _past_of_every_level(self) -> DiffusionConfig:
        if self.past and len(self.past) != self.levels:
            raise ValueError(
                f"past is {list(self.past)}; give one number for each of {self.levels} levels"
            )
        return self


class DenoiserConfig(Strict):
    """What `config.json` says for the constructor of `LadderDenoiser`; see there.

    Attributes:
        domain: name of the ladder's domain.
        strides, channels: of the levels that are diffused, coarsest first.
        size: of the input's axes in training.
        stages: coarse to fine.
        condition: labels that samples are drawn for.
        past: as in `DiffusionConfig`.
    """

    domain: Literal[tuple(DOMAINS)]
    strides: tuple[Stride, ...]
    channels: tuple[Positive, ...]
    size: Annotated[tuple[Positive, ...], Field(min_length=1)]
    stages: tuple[StageConfig, ...]
    condition: ConditionConfig
    past: tuple[Count, ...] = ()


class LatentDataConfig(Strict):
    """Which latents a run sees.

    Attributes:
        root: a data set made by `stlatent encode`.
        frames: of a sample, where latents have time; by default whole items where all are of one
            length, else three steps of level 0. Items that are shorter are samples as they are.
        batch_size: samples per process and step, all of one size; fewer of larger ones than most
            are.
        workers: processes that read; 0 reads in the training process itself.
        held_out: part of the items that is measured and never trained on.
        labels: of the items, by name or source: a JSON file of their classes, numbers or names, or
            a safetensors file of their embeddings; by default classes are the folders that items
            lie in.
    """

    former: ClassVar[Mapping[str, str]] = {"batch": "batch_size"}

    root: Path
    frames: Positive | None = None
    batch_size: Positive = 64
    workers: Count = 2
    held_out: Share = 0.02
    labels: Path | None = None


class DiffusionRun(Run):
    """Training of latent diffusion; `out/pipeline` is what one loads.

    Attributes:
        diffusion: which levels are diffused, by which networks.
        data: latents to train on.
        optimiser: and its schedule.
        steps: the run ends after so many.
        model: the ladder that decodes, see `stlatent.load`; by default the one that encoded.
    """

    diffusion: DiffusionConfig
    data: LatentDataConfig
    model: str | None = None
    optimiser: OptimiserConfig = OptimiserConfig(lr=5e-4, warmup_steps=200)
    steps: Positive = 50_000
