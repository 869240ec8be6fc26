"""What one must know of entropy-coded latents to read them, as a record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, model_validator

from ..model.config import Strict

WIDTHS_PER_OCTAVE = 4  # of steps of rounding: a quarter octave is some 0.2 dB
WIDEST = 8 * WIDTHS_PER_OCTAVE

Above0 = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Bytes = Annotated[int, Field(ge=1, le=2**60)]


class Target(Strict):
    """What every chunk of an item is to reach; how many levels are told for it, how wide the steps
    of rounding are, and at which λ, is chosen chunk by chunk.

    Attributes:
        psnr_db: with as few bits as that takes, after rounding to 8 bits; decoded in fp32.
        bits_per_pixel: at most, of the streams of all levels from the beginning of the item up to
            the end of each chunk; as well as these allow.
        size_bytes: at most, of the files of all levels of a data set; every unit of work has a
            share, and its chunks as many bits per pixel as that gives.
    """

    psnr_db: Above0 | None = None
    bits_per_pixel: Above0 | None = None
    size_bytes: Bytes | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Target:
        if sum(value is not None for _, value in self) != 1:
            raise ValueError("a target is a PSNR, a number of bits per pixel, or a size")
        return self


@dataclass
class BitBudget:
    """Bits that chunks may take, one after the other; what one leaves, the next may take."""

    bits_per_pixel: float
    left_bits: float = 0.0


class Coding(Strict):
    """What the probabilities of entropy-coded latents depend on beside the model.

    Attributes:
        step: per level, how wide a step of rounding is, in deviations of the posterior.
        chunk_pixels: of all frames of a chunk, about: those that go through the network together.
        numerics: of the entropy coder, 8 hex digits, see `entropy.numerics`.
        steps_checked: whether the check of the first stream covers the steps before it, as it has
            not always done.
        priors: fingerprint of what the model's priors remember; None where they remember nothing,
            or did not when these were written.
        target: what was aimed at; with one, the streams of every chunk begin with a byte that says
            how much wider its steps are, see `scale_of`.
        rate_chosen: whether λ is chosen chunk by chunk as well; records say which.
        key_every: after so many units of the coarsest level, reading may begin anew: their priors
            remember nothing of what was before. None is never.
    """

    step: tuple[Above0, ...]
    chunk_pixels: Annotated[int, Field(ge=1, le=2**26)]
    numerics: Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]
    steps_checked: bool = False
    priors: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")] | None = None
    target: Target | None = None
    rate_chosen: bool = False
    key_every: Annotated[int, Field(ge=1, le=2**40)] | None = None

    @property
    def listed(self) -> bool:
        """Whether records say of every chunk how it is told."""
        return self.target is not None or self.key_every is not None


def scale_of(told: int) -> float | None:
    """How much wider the steps of a level are in a chunk that begins with this byte; None where the
    level is not told there, and its latents are the priors' means."""
    return 2 ** ((told - 1) / WIDTHS_PER_OCTAVE) if told else None
