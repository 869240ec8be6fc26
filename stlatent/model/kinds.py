"""Parts of a model of which there are several kinds, each with the settings that it has.

A part is written `{kind: convnext, kernel: 5}`, or `convnext` where nothing else is to be said.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from .strict import OneOf, Positive, Strict

__all__ = [
    "CellConfig",
    "CodebookConfig",
    "ConvNextCell",
    "EmaCodebook",
    "FsqCodebook",
    "GaussianConfig",
    "LfqCodebook",
    "LikelihoodConfig",
    "NvaeCell",
    "PlainLikelihood",
    "PosteriorConfig",
    "ScaledLikelihood",
    "VdvaeCell",
]

MOST_CODES = 2**16


class ConvNextCell(Strict):
    """Norm, depthwise neighbours, a wide pointwise layer (Liu et al. 2022, ConvNeXt).

    Attributes:
        kind: `convnext`.
        expand: width of the pointwise layers, relative to the block's own.
        kernel: kernel size along space, odd; a causal axis has 3.
    """

    kind: Literal["convnext"] = "convnext"
    expand: Positive = 2
    kernel: Annotated[int, Field(ge=1, le=63)] = 3

    @field_validator("kernel")
    @classmethod
    def _odd(cls, kernel: int) -> int:
        if kernel % 2 == 0:
            raise ValueError(f"it must be odd, such as {kernel + 1}")
        return kernel


class NvaeCell(Strict):
    """Batch norm and swish, depthwise-separable, squeeze-and-excitation (Vahdat & Kautz 2020).

    Attributes:
        kind: `nvae`.
    """

    kind: Literal["nvae"] = "nvae"


class VdvaeCell(Strict):
    """A bottleneck without norms, whose last layer starts small (Child 2021).

    Attributes:
        kind: `vdvae`.
    """

    kind: Literal["vdvae"] = "vdvae"


CellConfig = Annotated[ConvNextCell | NvaeCell | VdvaeCell, OneOf()]


class GaussianConfig(Strict):
    """How q(z | h, x) comes about, see `posteriors.py`.

    Attributes:
        kind: `residual`, an offset from the prior (NVAE); `precision`, evidence and prior
            multiplied (Ladder VAE); `joint`, from the same features, on its own (VDVAE);
            `bottom_up`, from the input alone; `rounded`, with the noise of rounding to steps of one
            width per channel and λ, which is what entropy coding does (QARV).
        log_noise: logarithm of the deviation that a new posterior has, relative to its prior's or
            (all others) to 1; `rounded` takes it from λ where the model has a range. The default
            begins as a code with little noise; where training counts every bit of the rate from the
            start, 0 begins far lower.
        log_std_limit: logarithms of deviations stay below it in size, softly (NVAE: 5); None lets
            them go.
    """

    kind: Literal["residual", "precision", "joint", "bottom_up", "rounded"] = "residual"
    log_noise: Annotated[float, Field(ge=-6, le=0)] = -3.0
    log_std_limit: Annotated[float, Field(gt=0)] | None = 6.0


PosteriorConfig = Annotated[GaussianConfig, OneOf()]


class PlainLikelihood(Strict):
    """A likelihood, or an error in place of one, without settings; see `likelihoods.py`.

    Attributes:
        kind: `mse`, `l1`, `charbonnier`, errors; `fitted`, a Gaussian of the best scale;
            `bernoulli`, of binary values; `logistic_mixture`, of 8-bit values; `sdf`, errors near a
            surface; `occupancy`, inside or outside.
    """

    kind: Literal[
        "mse",
        "l1",
        "charbonnier",
        "fitted",
        "bernoulli",
        "logistic_mixture",
        "sdf",
        "occupancy",
    ] = "fitted"


class ScaledLikelihood(Strict):
    """A density around the decoded sample, of one scale for all values.

    Attributes:
        kind: `gaussian` or `laplace`.
        scale: fixed, on the scale of the data; None learns it.
    """

    kind: Literal["gaussian", "laplace"] = "gaussian"
    scale: Annotated[float, Field(gt=0)] | None = None


LikelihoodConfig = Annotated[PlainLikelihood | ScaledLikelihood, OneOf()]


class EmaCodebook(Strict):
    """Vectors that follow the data (van den Oord et al. 2017).

    Attributes:
        kind: `ema`.
        size: vectors of a codebook.
        depth: codes per position, each for what the former left over (Lee et al. 2022).
        decay: of the moving averages.
        commitment: weight of the distance between evidence and code, relative to the distortion.
        restart_below: a code used less often per batch is replaced by a vector of the data.
    """

    kind: Literal["ema"] = "ema"
    size: Annotated[int, Field(ge=2, le=MOST_CODES)] = 512
    depth: Positive = 1
    decay: Annotated[float, Field(gt=0, lt=1)] = 0.99
    commitment: Annotated[float, Field(ge=0)] = 0.25
    restart_below: Annotated[float, Field(ge=0)] = 1.0


class FsqCodebook(Strict):
    """A grid of fixed steps (Mentzer et al. 2023).

    Attributes:
        kind: `fsq`.
        steps: values per dimension; the codes are their product.
    """

    kind: Literal["fsq"] = "fsq"
    steps: Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(min_length=1)] = (8, 5, 5, 5)


class LfqCodebook(Strict):
    """One bit per dimension (Yu et al. 2023).

    Attributes:
        kind: `lfq`.
        size: codes, a power of two.
        commitment: weight of the distance between evidence and code, relative to the distortion.
        entropy: weight of the entropy term.
    """

    kind: Literal["lfq"] = "lfq"
    size: Annotated[int, Field(ge=2, le=MOST_CODES)] = 512
    commitment: Annotated[float, Field(ge=0)] = 0.25
    entropy: Annotated[float, Field(ge=0)] = 0.1

    @model_validator(mode="after")
    def _bits(self) -> LfqCodebook:
        if self.size & (self.size - 1):
            nearest = 1 << (self.size.bit_length() - 1)
            raise ValueError(f"the size of an lfq codebook is a power of two, such as {nearest}")
        return self


CodebookConfig = Annotated[EmaCodebook | FsqCodebook | LfqCodebook, OneOf()]
