"""What one must know of entropy-coded latents to read them, as a record."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ..model.config import Strict


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
    """

    step: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...]
    chunk_pixels: Annotated[int, Field(ge=1, le=2**26)]
    numerics: Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]
    steps_checked: bool = False
    priors: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")] | None = None
