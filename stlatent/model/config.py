"""What a model is, as a strict configuration.

Levels are data: a model is a domain, a list of levels and a likelihood, and the same JSON stands in
the config file, the checkpoint and everything exported from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ModelWrapValidatorHandler, PrivateAttr, model_validator

from .consistency import check_consistency
from .domain import Domain
from .domains import ALL_DOMAINS, DomainName
from .former import Ignored, is_former, migrate
from .kinds import (
    CellConfig,
    CodebookConfig,
    ConvNextCell,
    GaussianConfig,
    LikelihoodConfig,
    PlainLikelihood,
    PosteriorConfig,
)
from .rates import RateRange
from .strict import Positive, Strict, dump, load, parse, read
from .surroundings import Cube, FoundationConfig, Scaling, Stride

__all__ = [
    "DecoderConfig",
    "ExactLevel",
    "FieldConfig",
    "Level",
    "ModelConfig",
    "Positive",
    "RateRange",
    "Scaling",
    "Stage",
    "Strict",
    "Stride",
    "dump",
    "load",
    "parse",
    "read",
]

Units = Annotated[int, Field(ge=0, le=8)]
MOTION_LATENTS = 2  # of level 0: x and y


class Stage(Strict):
    """Features at one stride, without latents.

    Attributes:
        stride: input samples per feature and axis, absolute.
        width: channels.
        blocks: residual blocks, on the way up and on the way down each.
    """

    stride: Stride
    width: Positive
    blocks: Annotated[int, Field(ge=0)] = 1


class Level(Stage):
    """One scale of latents.

    Attributes:
        latent: channels of one group.
        groups: latent variables of this level, made one after the other.
        attention: whether each block stack of this level ends in attention over space.
        codebook: makes the latents codes instead of Gaussian variables.
    """

    latent: Positive
    groups: Positive = 1
    attention: bool = False
    codebook: CodebookConfig | None = None


class ExactLevel(Level):
    """The finest level of an exact ladder, see `exact.py`; no config lists it."""


class DecoderConfig(Strict):
    """Reads a field from planes at any point; see `triplane/fields.py`.

    Attributes:
        channels: of the field: 1, a signed distance; 4, red, green and blue as well.
        hidden: width of its layers.
        layers: how many of them.
        near, uniform: points per sample and step at which the field is judged in training: by the
            surface, and anywhere.
    """

    channels: Literal[1, 4] = 4
    hidden: Positive = 64
    layers: Annotated[int, Field(ge=1, le=64)] = 2
    near: Positive = 4096
    uniform: Positive = 2048


class FieldConfig(DecoderConfig):
    """Makes a triplane model an autoencoder of volumes; see `triplane/autoencoder.py`.

    Attributes:
        resolution: voxels per edge of the volumes that planes are made from.
        lift: the features between a volume and its planes; its stride is that of the planes, in
            voxels.
    """

    resolution: Annotated[int, Field(ge=1, le=1024)] = 64
    lift: Stage = Stage(stride=(1, 1, 1), width=64, blocks=1)


class ModelConfig(Strict):
    """A ladder: what it reads, its levels from coarse to fine, and how its output is judged.

    Attributes:
        domain: `image`, `video`, `audio`, `voxel`, `volumes` that move, `sparse`
            (voxels near a surface), or `triplane`.
        channels: of the input.
        levels: coarsest first; strides are absolute and divide each other.
        stem: the finest features, where input is folded to channels without loss; its stride
            divides that of the last level, and only decoding runs at it on the way down.
        likelihood: how the output is judged, see `likelihoods.py`.
        posterior: of levels without a codebook, see `posteriors.py`.
        cell: which residual blocks, see `blocks.py`.
        spread: kernel size along space of the layer that tells, from the coded features of a
            neighbourhood, the others of each position, so that blocks join smoothly; 1 is no such
            layer. See `spread.py`.
        recall: how many units of a stream, each one latent of level 0 in time, the prior of a level
            remembers of the level itself; 0 is none. One for all levels, or one per level,
            coarsest first. See `recall.py`.
        recall_threshold: a prior that remembers has the mean that the unit before held, unless it
            expects a change of more than so many of its deviations; 0 lets it drift.
        motion: whether the last two latents of level 0 say how frames of a video move, by which all
            levels hold them as they stand still; see `motion.py`.
        rate: makes λ, the price of the rate, an input; None is a model for one price alone.
        previews: whether each level has a head that predicts the input at the level's own stride,
            which training by `loss.prefix.preview` needs and nothing else does.
        drop_path: share of samples for which a block is left out in training.
        exact: whether one more level, the finest, holds all that is left over; see `exact.py`.
        factorised: convolve space and time one after the other, (2+1)D, and not jointly.
        checkpointing: recompute activations in the backward pass, to save memory.
        field: of a triplane model that makes its planes of volumes and is judged by the field that
            they stand for; `channels` are then those of the planes. None: planes are the data.
        scaling: of data that have no range of their own, such as planes; as measured in training.
        cube: of the shapes it was trained on.
        sample_rate: of the sound it was trained on, in samples per second.
        foundation: the frozen autoencoder whose latents the ladder reads in place of pixels;
            strides stay those in pixels, each a multiple of the foundation's.
        latents_of: fingerprint of the model whose latents these are, where its decoder alone was
            trained on (`only_decoder`).
    """

    domain: DomainName
    channels: Annotated[int, Field(ge=1, le=4096)] = 3
    levels: Annotated[tuple[Level, ...], Field(min_length=1)]
    stem: Stage
    likelihood: LikelihoodConfig = PlainLikelihood()
    posterior: PosteriorConfig = GaussianConfig()
    cell: CellConfig = ConvNextCell()
    spread: Annotated[int, Field(ge=1, le=15)] = 1
    recall: Units | tuple[Units, ...] = 0
    recall_threshold: Annotated[float, Field(ge=0, le=4)] = 0.0
    motion: bool = False
    rate: RateRange | None = None
    previews: bool = True
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    exact: bool = False
    factorised: bool = True
    checkpointing: bool = False
    field: FieldConfig | None = None
    scaling: Scaling | None = None
    cube: Cube | None = None
    sample_rate: Positive | None = None
    _ignored: Ignored = PrivateAttr(default_factory=dict)  # in a file of a former version
    foundation: FoundationConfig | None = None
    latents_of: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")] | None = None

    @property
    def axes(self) -> Domain:
        """The domain itself: what its axes mean."""
        return ALL_DOMAINS[self.domain]

    @property
    def all_levels(self) -> tuple[Level, ...]:
        """`levels`, and the one that they leave over where the ladder is exact."""
        if not self.exact:
            return self.levels
        stride = self.foundation.stride if self.foundation else (1,) * len(self.axes.axes)
        latent = len(self.foundation.mean) if self.foundation else self.channels
        return *self.levels, ExactLevel(stride=stride, width=self.stem.width, latent=latent)

    def pictures(self, level: Level) -> int:
        """Latents of one group of `level` that say how things look, not how they move."""
        return level.latent - (MOTION_LATENTS if self.motion and level is self.levels[0] else 0)

    @property
    def read_channels(self) -> int:
        """Of what the model reads: volumes, if it has a field, and else what its ladder reads."""
        return self.field.channels if self.field else self.channels

    @model_validator(mode="wrap")
    @classmethod
    def _of_any_version(cls, values: Any, validate: ModelWrapValidatorHandler) -> ModelConfig:
        """Also takes the form of former versions. What nothing reads is an error where a person
        wrote it; those versions wrote every setting down, and their fingerprints count it."""
        if not isinstance(values, Mapping):
            return validate(values)
        by_hand = not is_former(values)
        values, ignored = migrate(values)
        for path, value in ignored.items() if by_hand else ():
            name = ".".join(map(str, path))
            raise ValueError(f"{name} is {value!r:.60}, but nothing here reads it: leave it out")
        config = validate(values)
        config._ignored.update(ignored)
        return config

    def __eq__(self, other: object) -> bool:
        """Whether both say the same; what a former version ignored makes no difference."""
        return isinstance(other, ModelConfig) and dict(self) == dict(other)

    __hash__ = Strict.__hash__

    @model_validator(mode="after")
    def _options_fit(self) -> ModelConfig:
        check_consistency(self)
        return self
