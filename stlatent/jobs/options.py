"""What a job may be asked for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ..bits.quantise import STEP
from ..media.options import SourceOptions
from ..model.config import Positive, Strict


class StorageOptions(Strict):
    """How the latents of a data set are computed and stored.

    Attributes:
        dtype: of the stored latents: one for all levels, or one per level.
        std: also store the posteriors' standard deviations.
        entropy_code: store latents as bits, entropy-coded under the model's own priors.
        step: how wide a step of rounding is then, in deviations of the posterior: one for all
            levels, or one per level. The default makes as much noise as the posterior; twice as
            much saves a bit per number.
        precision: of the network, `fp32` or `bf16`; None is `bf16` where the device is made for it,
            and latents are not entropy-coded.
    """

    dtype: tuple[Literal["float16", "bfloat16", "float32", "int8"], ...] = ("float16",)
    std: bool = False
    entropy_code: bool = False
    step: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = (STEP,)
    precision: Literal["fp32", "bf16"] | None = None


class EncodeOptions(SourceOptions, StorageOptions):
    """What the latents of a data set depend on beside the model and the sources.

    Attributes:
        unit_files: sources per unit of work, at most.
    """

    unit_files: Positive = 64

    @model_validator(mode="after")
    def _coding_is_exact(self) -> EncodeOptions:
        if self.entropy_code and self.precision == "bf16":
            raise ValueError("entropy coding needs priors in fp32; leave out --precision bf16")
        if self.entropy_code and {*self.dtype} != {"float16"}:
            raise ValueError("entropy coding rounds to steps, not to a dtype; leave out --dtype")
        if not self.entropy_code and {*self.step} != {STEP}:
            raise ValueError("a step is for entropy coding; add --entropy-code")
        return self
