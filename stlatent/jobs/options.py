"""What a job may be asked for."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from ..bits.coding import Above0, Bytes, Target
from ..bits.quantise import STEP
from ..media.options import SourceOptions
from ..model.config import Positive, Strict

TARGETS = {
    "psnr_db": "--psnr",
    "bits_per_pixel": "--bits-per-pixel",
    "size_limit": "--size-limit",
}


class StorageOptions(Strict):
    """How the latents of a data set are computed and stored.

    Attributes:
        dtype: of the stored latents: one for all levels, or one per level.
        std: also store the posteriors' standard deviations.
        entropy_code: store latents as bits, entropy-coded under the model's own priors.
        step: how wide a step of rounding is then, in deviations of the posterior: one for all
            levels, or one per level; none is the usual, see `bits.bitstream.usual_steps`. Twice as
            much saves a bit per number.
        key_every: after so many units of the coarsest level, reading entropy-coded latents may
            begin anew; None is at the beginning of an item alone.
        psnr_db, bits_per_pixel, size_limit: what entropy-coded latents are to reach, in place of a
            `step`, see `bits.coding.Target`; a limit is in bytes.
        rate_weight: λ, the price of the rate, of a model that takes it as an input; None is what
            reaches the target, chunk by chunk, and else the middle of its range.
        precision: of the network, `fp32` or `bf16`; None is `bf16` where the device is made for it,
            and latents are not entropy-coded.
    """

    dtype: tuple[Literal["float16", "bfloat16", "float32", "int8"], ...] = ("float16",)
    std: bool = False
    entropy_code: bool = False
    step: tuple[Above0, ...] = ()
    key_every: Positive | None = None
    psnr_db: Above0 | None = None
    bits_per_pixel: Above0 | None = None
    size_limit: Bytes | None = None
    rate_weight: Above0 | None = None
    precision: Literal["fp32", "bf16"] | None = None

    @property
    def target(self) -> Target | None:
        """What is to be reached, if anything."""
        if all(getattr(self, name) is None for name in TARGETS):
            return None
        return Target(
            psnr_db=self.psnr_db, bits_per_pixel=self.bits_per_pixel, size_bytes=self.size_limit
        )


class EncodeOptions(SourceOptions, StorageOptions):
    """What the latents of a data set depend on beside the model and the sources.

    Attributes:
        unit_files: sources per unit of work, at most.
    """

    unit_files: Positive = 64

    @model_validator(mode="before")
    @classmethod
    def _targets_are_of_bits(cls, values: Any) -> Any:
        given = isinstance(values, dict) and any(values.get(name) is not None for name in TARGETS)
        return values | {"entropy_code": True} if given else values

    @model_validator(mode="after")
    def _coding_is_exact(self) -> EncodeOptions:
        if self.entropy_code and self.precision == "bf16":
            raise ValueError("entropy coding needs priors in fp32; leave out --precision bf16")
        if self.entropy_code and {*self.dtype} != {"float16"}:
            raise ValueError("entropy coding rounds to steps, not to a dtype; leave out --dtype")
        if self.entropy_code and self.refine:
            raise ValueError("bits are those of the encoder's own latents; leave out --refine")
        stepped = {*self.step} - {STEP}  # records of jobs may spell the usual step out
        if not self.entropy_code and stepped:
            raise ValueError("a step is for entropy coding; add --entropy-code")
        if not self.entropy_code and self.key_every:
            raise ValueError("keys are for entropy coding; add --entropy-code, or a target")
        words = [word for name, word in TARGETS.items() if getattr(self, name) is not None]
        words += ["--step"] if stepped else []
        if len(words) > 1:
            raise ValueError(f"{' and '.join(words)} all say how many bits there are; give one")
        return self


def typed(options: EncodeOptions) -> dict[str, str]:
    """What one would type for these options, by word of the command line. What is only settled by
    the model or in Python stands there without dashes."""
    values = options.model_dump()
    fields = values.pop("fields") or {}
    said = {
        "--resolution": fields.get("resolution"),
        "--axes of meshes": fields.get("axes"),
        "--axes of volumes": values.pop("volume_axes"),
        "band in voxels": fields.get("band_voxels"),
        "margin": fields.get("margin"),
        "--background": "#{:02x}{:02x}{:02x}".format(*values.pop("background")),
        "--size": (size := values.pop("size")) and "x".join(map(str, size)),
        "--buckets": (pixels := values.pop("buckets")) and f"{pixels} pixels",
    }
    said |= {TARGETS.get(n, f"--{n.replace('_', '-')}"): value for n, value in values.items()}
    return {word: _typed(value) for word, value in said.items()}


def _typed(value: Any) -> str:
    if value is True:
        return "given"
    if value is None or value is False or value == ():
        return "left out"
    if isinstance(value, tuple):
        return ",".join(map(_typed, value if len({*value}) > 1 else value[:1]))
    return str(value).removesuffix(".0")
