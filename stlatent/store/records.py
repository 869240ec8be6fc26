"""What a unit of a data set holds, as records; FORMAT.md describes the files.

Whatever is read from a data set goes through these schemas first, so that nothing behind them has
to wonder: names stay inside their folder, numbers are finite and in range. Whether they also fit
each other, the header says: see `Header.check`.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, SerializerFunctionWrapHandler, model_serializer

from ..bits.coding import Above0
from ..files import safe_name
from ..geometry.whereabouts import Scan, Shape
from ..media.source import Kind
from ..model.config import Strict
from .tensors import Moments

RESERVED = "__metadata__"  # by safetensors
TENSOR_FILE = r"level_\d{1,3}(_std)?/\d{5,12}\.safetensors"


def item_name(name: str) -> str:
    """The name of an item, if it can be a key of tensors and the name of a file inside a folder.

    Raises:
        ValueError: it cannot.
    """
    if name == RESERVED:
        raise ValueError(f"'{RESERVED}' cannot be the name of an item; rename it")
    return safe_name(name)


Name = Annotated[str, AfterValidator(item_name)]
Count = Annotated[int, Field(ge=0, le=2**62)]
Length = Annotated[int, Field(ge=1, le=2**40)]  # of an axis
Finite = Annotated[float, Field(allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(ge=1e-6, le=1e6)]  # frames per second
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class FileRecord(Strict):
    """A file of tensors as it was written.

    Attributes:
        bytes: its size.
        sha256: of its content, in hexadecimal digits.
    """

    bytes: Count
    sha256: Digest


class Grown(Strict):
    """A record that says less where there is less to say: what was not there always, `later`, is
    left out where it is None."""

    later: ClassVar[frozenset[str]]

    @model_serializer(mode="wrap")
    def _said(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        missing = {name for name in self.later if getattr(self, name) is None}
        return {k: v for k, v in dump(self).items() if k not in missing}


class ChunkRecord(Grown):
    """How a chunk of an item was told.

    Attributes:
        step: per level, how wide steps of rounding are, in deviations of the posterior; None where
            the level is not told, and its latents are the priors' means.
        bits: per level, of its streams and what lies before them.
        psnr_db: of what it decodes to, in fp32; None where that is equal, or there is no target.
        rate_weight: λ, at which it was made and decodes; None where all of a data set has one.
    """

    later = frozenset({"rate_weight"})
    step: tuple[NotNegative | None, ...]
    bits: tuple[Count, ...]
    psnr_db: Finite | None
    rate_weight: Above0 | None = None


class Item(Grown):
    """The latents of one source, or of one clip or volume of it.

    Attributes:
        name: the key of its tensors: the path of the source below the encoded folder, with `/`,
            and, where sources were cut into clips or hold many volumes, the number of its first
            frame or of its volume.
        source: path of the source below the encoded folder, with `/`.
        start: first frame in the source, counted at `fps`, or number of the volume.
        kind: of the source, see `media.source`.
        size: of the input along the axes of the domain, such as `[T, H, W]`.
        fps: frames per second; None where the source has none.
        shape: of meshes and volumes only.
        scan: of scans only, or of volumes over time that have a range of their own.
        grids: sizes of its latents along the same axes, per level.
        caption: what is said of the source, if anything; see `jobs/captions.py`.
        chunks: how each is told, where a target was given or some begin anew.
        bits: the rate per level: KL of posterior against prior; of codes, and of what is
            entropy-coded, minus the binary logarithm of its probability under the prior.
    """

    later = frozenset({"caption", "scan", "chunks"})
    name: Name
    source: Name
    start: Count
    kind: Kind
    size: Annotated[tuple[Length, ...], Field(min_length=1)]
    fps: Rate | None
    shape: Shape | None = None
    scan: Scan | None = None
    grids: tuple[tuple[Length, ...], ...]
    bits: tuple[NotNegative, ...]
    caption: str | None = None
    chunks: tuple[ChunkRecord, ...] | None = None


class Failure(Strict):
    """A source that is not in the data set.

    Attributes:
        name: path of the source below the encoded folder.
        stage: at which it failed.
        reason: in words.
    """

    name: str
    stage: Literal["fetch", "open", "decode", "encode"]
    reason: str


class Statistics(Strict):
    """Over all positions of all items, per channel.

    Attributes:
        count: of positions.
        mean: per channel.
        std: per channel, that of the whole population.
    """

    count: Count
    mean: tuple[Finite, ...]
    std: tuple[NotNegative, ...]

    @staticmethod
    def of(moments: Moments) -> Statistics:
        mean, std = tuple(moments.mean.tolist()), tuple(moments.std.tolist())
        return Statistics(count=moments.count, mean=mean, std=std)


class MomentsRecord(Strict):
    """Moments that can be merged.

    Attributes:
        count: of positions.
        mean: per channel.
        m2: sum of squared deviations per channel.
    """

    count: Count
    mean: tuple[Finite, ...]
    m2: tuple[NotNegative, ...]


class UnitRecord(Strict):
    """A finished unit of work: with this file it is part of the data set.

    Attributes:
        items: in the order of the sources.
        failed: sources of the unit that are missing.
        files: of tensors, by name.
        moments: of the means, per level, merged over the items in their order.
        tolerance: by how much priors may differ where entropy-coded latents are read, in nats;
            the least of all items, per level.
    """

    items: tuple[Item, ...]
    failed: tuple[Failure, ...]
    files: dict[Annotated[str, Field(pattern=f"^{TENSOR_FILE}$")], FileRecord]
    moments: tuple[MomentsRecord, ...]
    tolerance: tuple[Annotated[float, Field(ge=0)], ...] | None = None
